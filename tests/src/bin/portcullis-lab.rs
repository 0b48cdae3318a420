//! The harness as a program: keeps worlds, and runs the demo in one.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use portcullis_tests::world::{Plan, Root, Shape};
use portcullis_tests::{Failure, bench, demo};

/// Private worlds for tests and for the demo.
#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    deed: Deed,
}

#[derive(Debug, Subcommand)]
enum Deed {
    /// Make a world, run a program in it, clear up.
    World(WorldArguments),
    /// The first process of a world; started by `world`.
    #[command(hide = true)]
    WorldInside(WorldArguments),
    /// Show the gate at work, in a world of its own.
    Demo(demo::Arguments),
    /// The demo's part inside its world; started by `demo`.
    #[command(hide = true)]
    DemoInside(demo::Arguments),
    /// Measure our shim beside containerd's own, in a world of its own.
    Bench(bench::Arguments),
    /// The measurements inside their world; started by `bench`.
    #[command(hide = true)]
    BenchInside(bench::Arguments),
}

#[derive(Debug, Args)]
struct WorldArguments {
    /// Folder for logs and for the mount point of the world.
    #[arg(long)]
    scratch: PathBuf,
    /// Leave cgroup version 2 out where the machine has both versions.
    #[arg(long)]
    without_unified: bool,
    /// Folder with the root file system; default: this machine's.
    #[arg(long)]
    root: Option<PathBuf>,
    /// Folder of this machine to be seen below another root, at the same path.
    #[arg(long, requires = "root")]
    show: Vec<PathBuf>,
    /// Go on when the program has ended, until this process is told to end.
    #[arg(long)]
    keep: bool,
    /// Program and arguments.
    #[arg(last = true, required = true)]
    payload: Vec<OsString>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().deed) {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("portcullis-lab: {failure}");
            ExitCode::from(70)
        }
    }
}

fn run(deed: Deed) -> Result<ExitCode, Failure> {
    match deed {
        Deed::World(arguments) => arguments.plan().keep_world(),
        Deed::WorldInside(arguments) => arguments.plan().run_inside(),
        Deed::Demo(arguments) => demo::run(&arguments),
        Deed::DemoInside(arguments) => demo::run_inside(&arguments),
        Deed::Bench(arguments) => bench::run(&arguments),
        Deed::BenchInside(arguments) => bench::run_inside(&arguments),
    }
}

// === impl WorldArguments ===

impl WorldArguments {
    fn plan(self) -> Plan {
        Plan {
            scratch: self.scratch,
            shape: Shape {
                unified: !self.without_unified,
            },
            root: self.root.map(|folder| Root {
                folder,
                shown: self.show,
            }),
            keep: self.keep,
            payload: self.payload,
        }
    }
}
