//! The harness as a program: keeps worlds, and runs the demo in one.
#![forbid(unsafe_code)]

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use clap::{Args, Parser, Subcommand};
use portcullis_tests::failure::Doing;
use portcullis_tests::node::Node;
use portcullis_tests::world::{Plan, Root, Shape, World};
use portcullis_tests::{Failure, bench, compat, demo, image};

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
    /// Provision the host of a world, run a program there, clear up. For suites of others.
    Host(HostArguments),
    /// Show the gate at work, in a world of its own.
    Demo(demo::Arguments),
    /// The demo's part inside its world; started by `demo`.
    #[command(hide = true)]
    DemoInside(demo::Arguments),
    /// Write an archive with the container images of the suites.
    Images {
        /// The file to write.
        to: PathBuf,
    },
    /// Measure our shim beside containerd's own, in a world of its own.
    Bench(bench::Arguments),
    /// The measurements inside their world; started by `bench`.
    #[command(hide = true)]
    BenchInside(bench::Arguments),
    /// Run real programs under each hardening profile, in a world of its own.
    Compat(compat::Arguments),
    /// The programs inside their world; started by `compat`.
    #[command(hide = true)]
    CompatInside(compat::Arguments),
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

#[derive(Debug, Args)]
struct HostArguments {
    /// Further settings, for `portcullis.d`.
    #[arg(long)]
    settings: Option<PathBuf>,
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
        Deed::Host(arguments) => arguments.run(),
        Deed::Demo(arguments) => demo::run(&arguments),
        Deed::DemoInside(arguments) => demo::run_inside(&arguments),
        Deed::Images { to } => image::write_archive(&to).map(|()| ExitCode::SUCCESS),
        Deed::Bench(arguments) => bench::run(&arguments),
        Deed::BenchInside(arguments) => bench::run_inside(&arguments),
        Deed::Compat(arguments) => compat::run(&arguments),
        Deed::CompatInside(arguments) => compat::run_inside(&arguments),
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

// === impl HostArguments ===

impl HostArguments {
    /// Leaves out the check for remains: what a foreign suite leaves is not ours to judge.
    fn run(self) -> Result<ExitCode, Failure> {
        let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
        let node = Node::provision(&world)?;
        if let Some(settings) = &self.settings {
            let toml = std::fs::read_to_string(settings).doing("read the settings")?;
            node.set("90-suite", &toml)?;
        }
        let mut words = self.payload.iter();
        let program = words.next().ok_or_else(|| Failure::new("no program"))?;
        let status = Command::new(program)
            .args(words)
            .status()
            .doing(format!("run '{}'", program.display()))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(ExitCode::from(code.unwrap_or(u8::MAX)))
    }
}
