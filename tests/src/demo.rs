//! What `cargo xtask demo` shows.

use std::process::ExitCode;

use crate::failure::Outcome;

/// What to show and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Leave the world running.
    #[arg(long)]
    pub keep: bool,
}

/// Makes a world and runs the demo in it.
///
/// # Errors
///
/// When the world cannot be made.
pub fn run(_arguments: &Arguments) -> Outcome<ExitCode> {
    Ok(ExitCode::SUCCESS)
}

/// The demo inside its world.
///
/// # Errors
///
/// When a step cannot be carried out.
pub fn run_inside(_arguments: &Arguments) -> Outcome<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
