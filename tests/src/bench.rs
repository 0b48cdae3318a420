//! What `cargo xtask bench` measures: our shim with all checks and hardening on, beside
//! containerd's own with none, in one run and in turn, so that a noisy machine is noisy for both.

mod launch;
mod measure;
mod memory;

use std::path::PathBuf;
use std::process::ExitCode;

use crate::failure::{Doing, Failure, Outcome};
use crate::world::{Plan, Shape, World};
use crate::{node, programs};

use measure::Measure;

/// What to measure and how to print it.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Folder for logs and for the mount point of the world.
    #[arg(long)]
    scratch: PathBuf,
    /// Folder of the built programs.
    #[arg(long)]
    programs: PathBuf,
    /// How often each thing is measured.
    #[arg(long, default_value_t = 30)]
    runs: usize,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
}

/// Makes a world and measures in it.
///
/// # Errors
///
/// When the world cannot be made.
pub fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let scratch = std::path::absolute(&arguments.scratch).doing("find the scratch folder")?;
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).doing(format!("clear '{}'", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).doing(format!("make '{}'", scratch.display()))?;
    let lab = std::env::current_exe().doing("find this program")?;
    let mut payload = vec![lab.clone().into_os_string(), "bench-inside".into()];
    payload.extend(["--scratch".into(), scratch.clone().into_os_string()]);
    payload.extend([
        "--programs".into(),
        arguments.programs.clone().into_os_string(),
    ]);
    payload.extend(["--runs".into(), arguments.runs.to_string().into()]);
    payload.extend(arguments.json.then(|| "--json".into()));
    let plan = Plan {
        scratch: scratch.clone(),
        shape: Shape::default(),
        root: None,
        keep: false,
        payload,
    };
    let mut command = plan.command(&lab);
    command.env(programs::FOLDER, &arguments.programs);
    let status = command.status().doing("start the keeper")?;
    if status.success() {
        std::fs::remove_dir_all(&scratch).doing("clear the scratch folder")?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("logs are in {}", scratch.join("log").display());
    Ok(ExitCode::FAILURE)
}

/// The measurements inside their world.
///
/// # Errors
///
/// When the host cannot be set up, or something that is measured does not work.
pub fn run_inside(arguments: &Arguments) -> Outcome<ExitCode> {
    let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
    eprintln!("setting up: software TPM, agent, keys, reference values, asset tag, containerd");
    let node = node::Node::provision(&world)?;
    let mut measures = Vec::new();
    eprintln!("measuring the action 'start'");
    measures.push(launch::start_action(arguments.runs)?);
    eprintln!("measuring 'ctr run --rm true'");
    measures.push(launch::whole_run(&node, arguments.runs)?);
    eprintln!("measuring 'ctr task exec true'");
    measures.push(launch::exec(&node, arguments.runs)?);
    eprintln!("measuring memory per pod");
    measures.extend(memory::per_pod(&node)?);
    node.finish()?;
    if arguments.json {
        let all: Vec<_> = measures.iter().map(Measure::to_json).collect();
        println!("{}", serde_json::Value::Array(all));
    } else {
        println!("{}", measure::table(&measures));
    }
    Ok(ExitCode::SUCCESS)
}
