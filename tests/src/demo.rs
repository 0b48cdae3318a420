//! What `cargo xtask demo` shows: a trusted host that starts containers, and every way in which
//! it stops doing so.

mod report;
mod scenes;

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait;
use crate::world::{FIRST_PROCESS, Plan, Shape, World};
use crate::{node, programs};

use report::Report;

/// File in the scratch folder with the exit code of a kept demo.
const OUTCOME: &str = "outcome";
/// File in the scratch folder with the process id of the keeper of a kept demo.
const KEEPER: &str = "keeper";
/// How long the show may take.
const PATIENCE: Duration = Duration::from_mins(10);

/// What to show and how.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder for logs and for the mount point of the world.
    #[arg(long)]
    scratch: PathBuf,
    /// Folder of the built programs.
    #[arg(long)]
    programs: PathBuf,
    /// Form of the outcome on standard output.
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Leave everything running.
    #[arg(long)]
    keep: bool,
}

/// Form of the outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Output {
    /// A table.
    Text,
    /// A JSON array.
    Json,
}

/// Makes a world and runs the demo in it.
///
/// # Errors
///
/// When the world cannot be made.
pub fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let scratch = &arguments.scratch;
    if let Some(keeper) = running_keeper(scratch) {
        return Err(Failure::new(format!(
            "an earlier demo is still running; end it with 'kill {keeper}'"
        )));
    }
    if scratch.exists() {
        std::fs::remove_dir_all(scratch).doing(format!("clear '{}'", scratch.display()))?;
    }
    std::fs::create_dir_all(scratch).doing(format!("make '{}'", scratch.display()))?;
    let scratch = std::path::absolute(scratch).doing("find the scratch folder")?;
    let lab = std::env::current_exe().doing("find this program")?;
    let mut payload = vec![lab.clone().into_os_string(), "demo-inside".into()];
    payload.extend(arguments.words(&scratch));
    let plan = Plan {
        scratch: scratch.clone(),
        shape: Shape::default(),
        root: None,
        keep: arguments.keep,
        payload,
    };
    let mut command = plan.command(&lab);
    command.env(programs::FOLDER, &arguments.programs);
    if arguments.keep {
        return keep(command, &scratch);
    }
    let status = command.status().doing("start the keeper")?;
    if status.success() {
        std::fs::remove_dir_all(&scratch).doing("clear the scratch folder")?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("logs are in {}", scratch.join("log").display());
    Ok(ExitCode::FAILURE)
}

/// The demo inside its world.
///
/// # Errors
///
/// When the host cannot be set up.
pub fn run_inside(arguments: &Arguments) -> Outcome<ExitCode> {
    let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
    let mut report = Report::default();
    eprintln!("setting up: software TPM, agent, keys, reference values, asset tag, containerd");
    let mut node = node::Node::provision(&world)?;
    scenes::play(&mut node, &mut report);
    if arguments.keep {
        node.release();
    } else {
        scenes::leave(node, &mut report);
    }
    match arguments.output {
        Output::Text => println!("{}", report.table()),
        Output::Json => println!("{}", report.json()),
    }
    let ok = report.is_ok();
    if arguments.keep {
        let path = arguments.scratch.join(OUTCOME);
        std::fs::write(&path, if ok { "0" } else { "1" }).doing("note the outcome")?;
    }
    Ok(if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Starts the keeper on its own and comes back when the show is over.
fn keep(mut command: Command, scratch: &Path) -> Outcome<ExitCode> {
    let mut keeper = command.process_group(0).spawn().doing("start the keeper")?;
    std::fs::write(scratch.join(KEEPER), keeper.id().to_string()).doing("note the keeper")?;
    let code = wait::until("the end of the show", PATIENCE, || {
        outcome(&mut keeper, scratch)
    })??;
    let first = std::fs::read_to_string(scratch.join(FIRST_PROCESS))
        .doing("read the process id of the world")?;
    eprintln!("\n{}", instructions(&first, keeper.id()));
    Ok(ExitCode::from(code))
}

/// The code the show ended with, once it has; a failure if the keeper has ended.
fn outcome(keeper: &mut Child, scratch: &Path) -> Option<Outcome<u8>> {
    if let Ok(text) = std::fs::read_to_string(scratch.join(OUTCOME))
        && !text.is_empty()
    {
        return Some(text.parse().doing("read the outcome"));
    }
    match keeper.try_wait() {
        Ok(None) => None,
        Ok(Some(status)) => Some(Err(Failure::new(format!("the demo ended with {status}")))),
        Err(error) => Some(Err(error).doing("look after the keeper")),
    }
}

fn instructions(first: &str, keeper: u32) -> String {
    let enter = format!("nsenter --target {first} --all --");
    format!(
        "Everything is left running. As root, enter its world with

  {enter} bash

and try there, or each with '{enter}' in front:

  portcullis status
  ctr run --rm --runtime io.containerd.portcullis.v1 docker.io/library/busybox:latest one id
  ctr run --rm --runtime io.containerd.portcullis.v1 --privileged \\
      docker.io/library/busybox:latest two id
  portcullis explain REF          (REF is at the end of each refusal)
  vi /etc/portcullis/portcullis.toml

End it, as root, with

  kill {keeper}"
    )
}

/// The keeper of a kept demo, if it still runs.
fn running_keeper(scratch: &Path) -> Option<u32> {
    let keeper: u32 = std::fs::read_to_string(scratch.join(KEEPER))
        .ok()?
        .parse()
        .ok()?;
    let line = std::fs::read(format!("/proc/{keeper}/cmdline")).ok()?;
    let ours = String::from_utf8_lossy(&line).contains("portcullis-lab");
    ours.then_some(keeper)
}

// === impl Arguments ===

impl Arguments {
    /// The words of the command line that give these arguments.
    fn words(&self, scratch: &Path) -> Vec<std::ffi::OsString> {
        let mut words = vec!["--scratch".into(), scratch.into()];
        words.extend(["--programs".into(), self.programs.clone().into()]);
        if self.output == Output::Json {
            words.extend(["--output".into(), "json".into()]);
        }
        if self.keep {
            words.push("--keep".into());
        }
        words
    }
}
