//! What `cargo xtask bench` measures: our shim with all checks and hardening on, beside a peer with
//! none, in one run and in turn, so that a noisy machine is noisy for both.
//!
//! Prints all samples as JSON; what they come to, and how it is shown, is the business of xtask.

mod crowd;
mod gate;
mod inside;
mod launch;
mod ledger;
mod machine;
mod measure;
mod peer;
mod pod;
mod process;
mod start;
mod task;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use serde_json::json;

use crate::daemon::Daemon;
use crate::failure::{Doing, Failure, Outcome};
use crate::node::Node;
use crate::programs;
use crate::world::{Plan, Shape, World};

use measure::Measure;
use peer::Side;

/// Drop-in with the settings of one sample.
const SETTINGS: &str = "50-bench";

/// What to measure, and beside what.
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
    /// Leave out what takes longest: 50 and 200 launches at once.
    #[arg(long)]
    quick: bool,
    /// Only what has one of these in its name.
    #[arg(long)]
    measure: Vec<String>,
    /// containerd's name of the peer.
    #[arg(long, default_value = crate::containerd::RUNC)]
    peer_runtime: String,
    /// Name of the peer's program.
    #[arg(long, default_value = "containerd-shim-runc-v2")]
    peer_shim: String,
    /// The peer's program, if it is not installed.
    #[arg(long)]
    peer_from: Option<PathBuf>,
}

/// A set-up host and what is compared on it.
#[derive(Debug)]
struct Bench<'a> {
    node: &'a Node,
    sides: [Side; 2],
    runs: usize,
}

/// What is measured together.
struct Group {
    /// For the person who waits.
    what: &'static str,
    names: &'static [&'static str],
    /// Left out of a quick run.
    slow: bool,
    take: fn(&Bench<'_>) -> Outcome<Vec<Measure>>,
}

const GROUPS: [Group; 12] = [
    group("the action 'start'", &start::NAMES, start::action),
    group(
        "create and start, in four ways",
        &launch::STEPS,
        launch::steps,
    ),
    group(
        "hardening and the look at execve",
        &inside::NAMES,
        inside::steps,
    ),
    group("'ctr run --rm true'", &launch::WHOLE, launch::whole),
    group("execs", &launch::EXEC, launch::exec),
    group("pods at rest", &pod::NAMES, pod::costs),
    group(
        "the agent, alone and in a crowd",
        &gate::READINGS,
        gate::readings,
    ),
    group("the hook, alone and in a crowd", &gate::HOOKS, gate::hooks),
    group("1 launch at once", crowd::ONE.names, |bench| {
        crowd::ONE.measure(bench)
    }),
    group("10 launches at once", crowd::TEN.names, |bench| {
        crowd::TEN.measure(bench)
    }),
    slow("50 launches at once", crowd::FIFTY.names, |bench| {
        crowd::FIFTY.measure(bench)
    }),
    slow("200 launches at once", crowd::MANY.names, |bench| {
        crowd::MANY.measure(bench)
    }),
];

type Take = fn(&Bench<'_>) -> Outcome<Vec<Measure>>;

const fn group(what: &'static str, names: &'static [&'static str], take: Take) -> Group {
    Group {
        what,
        names,
        slow: false,
        take,
    }
}

const fn slow(what: &'static str, names: &'static [&'static str], take: Take) -> Group {
    Group {
        what,
        names,
        slow: true,
        take,
    }
}

/// Makes a world and measures in it.
///
/// # Errors
///
/// When the filter leaves nothing to measure, or the world cannot be made.
pub fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    arguments.chosen()?;
    let scratch = std::path::absolute(&arguments.scratch).doing("find the scratch folder")?;
    if scratch.exists() {
        std::fs::remove_dir_all(&scratch).doing(format!("clear '{}'", scratch.display()))?;
    }
    std::fs::create_dir_all(&scratch).doing(format!("make '{}'", scratch.display()))?;
    let lab = std::env::current_exe().doing("find this program")?;
    let mut payload = vec![lab.clone().into_os_string(), "bench-inside".into()];
    payload.extend(arguments.words(&scratch));
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

/// The measurements inside their world. What cannot be measured is said on standard error, makes
/// the whole a failure, and does not keep the rest from being measured.
///
/// # Errors
///
/// When the host cannot be set up or taken down.
pub fn run_inside(arguments: &Arguments) -> Outcome<ExitCode> {
    let world = World::current().ok_or_else(|| Failure::new("this is not a world"))?;
    eprintln!("setting up: software TPM, agent, keys, reference values, asset tag, containerd");
    let mut node = Node::provision(&world)?;
    let peer = Side::peer(
        &arguments.peer_runtime,
        &arguments.peer_shim,
        arguments.peer_from.as_ref(),
        (&mut node, &world),
    )?;
    let machine = machine::describe(&peer)?;
    let bench = Bench {
        node: &node,
        sides: [Side::ours(), peer],
        runs: arguments.runs,
    };
    let groups = arguments.chosen()?;
    let mut measures = Vec::new();
    let mut whole = true;
    for (number, group) in groups.iter().enumerate() {
        let begun = Instant::now();
        let (number, all, what) = (number + 1, groups.len(), group.what);
        eprintln!("{number} of {all}: {what}");
        match (group.take)(&bench) {
            Ok(taken) => measures.extend(taken),
            Err(failure) => {
                whole = false;
                eprintln!("cannot measure {what}: {failure}");
            }
        }
        eprintln!("  {:.1} s", begun.elapsed().as_secs_f64());
    }
    measures.retain(|measure| arguments.wants(measure.name));
    let measures: Vec<_> = measures.iter().map(Measure::to_json).collect();
    println!("{}", json!({"machine": machine, "measures": measures}));
    if whole {
        node.finish()?;
        return Ok(ExitCode::SUCCESS);
    }
    Ok(ExitCode::FAILURE)
}

// === impl Bench ===

impl Bench<'_> {
    /// Ours and the peer.
    fn sides(&self) -> [&Side; 2] {
        self.sides.each_ref()
    }

    /// The agent's process.
    fn agent(&self) -> Outcome<u32> {
        let agent = self.node.agent().and_then(Daemon::pid);
        agent.ok_or_else(|| Failure::new("the agent is not running"))
    }
}

// === impl Arguments ===

impl Arguments {
    /// The groups in which something is to be measured.
    fn chosen(&self) -> Outcome<Vec<&'static Group>> {
        let fit = GROUPS
            .iter()
            .filter(|group| !(self.quick && group.slow))
            .filter(|group| group.names.iter().any(|name| self.wants(name)));
        let fit: Vec<&'static Group> = fit.collect();
        if !fit.is_empty() {
            return Ok(fit);
        }
        let names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.names)
            .copied()
            .collect();
        Err(Failure::new(format!(
            "nothing is named so; there are:\n  {}",
            names.join("\n  ")
        )))
    }

    fn wants(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let mut filters = self.measure.iter();
        self.measure.is_empty() || filters.any(|filter| name.contains(&filter.to_lowercase()))
    }

    /// The words of the command line that give these arguments.
    fn words(&self, scratch: &Path) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--scratch".into(), scratch.into()];
        words.extend(["--programs".into(), self.programs.clone().into()]);
        words.extend(["--runs".into(), self.runs.to_string().into()]);
        words.extend(self.quick.then(|| "--quick".into()));
        for filter in &self.measure {
            words.push(format!("--measure={filter}").into());
        }
        words.extend(["--peer-runtime".into(), self.peer_runtime.clone().into()]);
        words.extend(["--peer-shim".into(), self.peer_shim.clone().into()]);
        if let Some(from) = &self.peer_from {
            words.extend(["--peer-from".into(), from.into()]);
        }
        words
    }
}

#[cfg(test)]
mod tests {
    use super::{Arguments, GROUPS};
    use clap::Parser;
    use std::collections::BTreeSet;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn parsed(more: &[&str]) -> Arguments {
        let mut line = vec!["bench", "--scratch", "s", "--programs", "p"];
        line.extend(more);
        Line::parse_from(line).arguments
    }

    #[test]
    fn every_measure_has_its_own_name() {
        let names: Vec<&str> = GROUPS
            .iter()
            .flat_map(|group| group.names)
            .copied()
            .collect();
        let different: BTreeSet<&str> = names.iter().copied().collect();
        assert_eq!(names.len(), different.len());
    }

    #[test]
    fn a_filter_chooses_by_name_and_one_that_fits_nothing_lists_the_names() {
        let chosen = |more: &[&str]| parsed(more).chosen().map(|groups| groups.len());
        assert_eq!(chosen(&[]), Ok(GROUPS.len()));
        assert_eq!(chosen(&["--measure", "CTR RUN"]), Ok(1));
        assert_eq!(
            chosen(&["--measure", "hook", "--measure", "snapshot"]),
            Ok(2)
        );
        assert_eq!(chosen(&["--quick"]), Ok(GROUPS.len() - 2));
        let failure = chosen(&["--measure", "ctr runs"]).unwrap_err().to_string();
        assert!(failure.contains("'ctr run --rm true'"), "{failure}");
    }

    #[test]
    fn the_words_for_the_inside_say_the_same() {
        let more = ["--runs", "3", "--quick", "--measure=-x", "--peer-from", "f"];
        let arguments = parsed(&[&more[..], &["--peer-runtime", "a.b.v1"]].concat());
        let words = arguments.words("s".as_ref());
        let again = Line::parse_from(std::iter::once("bench".into()).chain(words)).arguments;
        assert_eq!(format!("{again:?}"), format!("{arguments:?}"));
    }
}
