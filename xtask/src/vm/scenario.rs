//! What is done with the guest: each scenario is one boot.

mod cgroups;
mod command_line;
mod drift;
mod latched;
mod reboot;
mod suites;
mod trusted;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::disk::GRUB;
use super::machine::Machine;
use super::product::Product;
use super::report::Report;
use super::results::{Results, Step};
use super::root::{remove, write};
use super::suites as suites_of;
use crate::step::{Failed, Outcome};
use crate::workspace::Workspace;

/// One boot, and what it is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Enroll the host as the README says; then containers start.
    Trusted,
    /// The same machine, booted again: a verdict of the first boot is worth nothing.
    Reboot,
    /// Containers of runc and crun under systemd, cgroup v2 and AppArmor.
    Cgroups,
    /// The same machine with AppArmor off on the kernel's command line: nothing starts.
    CommandLine,
    /// Its own command line again: the failure stands until an operator clears it.
    Latched,
    /// Drift while containers run: the responder, in its unit's sandbox, pauses and stops them.
    Drift,
    /// End-to-end suites: what a real kernel, cgroup v2, systemd and AppArmor can change; with
    /// `--all-suites` all of them.
    Suites,
}

/// The machine of the scenarios, and where their files go.
#[derive(Debug)]
pub(super) struct Lab {
    /// The machine.
    pub(super) machine: Machine,
    /// Archive with the container images.
    pub(super) images: PathBuf,
    /// Folder with one folder for each boot.
    pub(super) boots: PathBuf,
    /// What it is all built from.
    pub(super) workspace: Workspace,
    /// What is installed on it.
    pub(super) product: Product,
    /// Which tests of the suites are run.
    pub(super) suites: suites_of::Extent,
}

// === impl Scenario ===

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Trusted => "trusted",
            Self::Reboot => "reboot",
            Self::Cgroups => "cgroups",
            Self::CommandLine => "command-line",
            Self::Latched => "latched",
            Self::Drift => "drift",
            Self::Suites => "suites",
        })
    }
}

impl Scenario {
    /// All of them, in the order of the boots.
    pub(super) const ALL: [Self; 7] = [
        Self::Trusted,
        Self::Reboot,
        Self::Cgroups,
        Self::CommandLine,
        Self::Latched,
        Self::Drift,
        Self::Suites,
    ];

    /// Those to run if `chosen` were asked for; none means all. The boots after the first need
    /// the host that the first enrolled, and one a failure before it, unless that host is `there`.
    pub(super) fn plan(chosen: &[Self], there: bool) -> Vec<Self> {
        let enrolled = [
            Self::Reboot,
            Self::Cgroups,
            Self::CommandLine,
            Self::Latched,
            Self::Drift,
        ];
        let needs_first = !there && enrolled.iter().any(|one| chosen.contains(one));
        let needs_failure = !there && chosen.contains(&Self::Latched);
        Self::ALL
            .into_iter()
            .filter(|one| {
                chosen.is_empty()
                    || chosen.contains(one)
                    || (*one == Self::Trusted && needs_first)
                    || (*one == Self::CommandLine && needs_failure)
            })
            .collect()
    }

    /// Whether `plan` takes the machine through all its boots; the suites, which need no host that
    /// is enrolled, may be missing.
    pub(super) fn is_whole_machine(plan: &[Self]) -> bool {
        Self::ALL
            .iter()
            .all(|one| *one == Self::Suites || plan.contains(one))
    }

    /// Carries it out and notes what held.
    pub(super) fn run(self, lab: &Lab, report: &mut Report) -> Outcome {
        match self {
            Self::Trusted => trusted::run(lab, report),
            Self::Reboot => reboot::run(lab, report),
            Self::Cgroups => cgroups::run(lab, report),
            Self::CommandLine => command_line::run(lab, report),
            Self::Latched => latched::run(lab, report),
            Self::Drift => drift::run(lab, report),
            Self::Suites => suites::run(lab, report),
        }
    }
}

// === impl Lab ===

impl Lab {
    /// Folder of a scenario's boot.
    fn folder(&self, scenario: Scenario) -> PathBuf {
        self.boots.join(scenario.to_string())
    }

    /// What an earlier boot has handed back.
    fn results(&self, scenario: Scenario) -> Results {
        Results::of(self.folder(scenario).join("results"))
    }

    /// Boots the machine, as it was built, with `script` and `files` as its job.
    fn boot(&self, scenario: Scenario, script: &str, files: &[&Path]) -> Outcome<Results> {
        self.prepare(scenario, script, files)?;
        // A scenario that was broken off may have left another.
        self.machine.set_grub(GRUB)?;
        self.machine.boot(&self.folder(scenario), 1)
    }

    /// Makes the folder of a boot; returns that of its job's files.
    fn prepare(&self, scenario: Scenario, script: &str, files: &[&Path]) -> Outcome<PathBuf> {
        let folder = self.folder(scenario);
        remove(&[&folder])?;
        let inside = folder.join("files");
        fs::create_dir_all(&inside).map_err(|source| Failed::File {
            deed: format!("make '{}'", inside.display()),
            source,
        })?;
        write(&inside.join("run.sh"), script)?;
        for file in files.iter().chain([&self.images.as_path()]) {
            let to = inside.join(file.file_name().unwrap_or_default());
            fs::copy(file, &to).map_err(|source| Failed::File {
                deed: format!("copy '{}'", file.display()),
                source,
            })?;
        }
        Ok(inside)
    }
}

/// PCRs that the boot chain determines; 10, of IMA, moves while the machine runs.
const BOOT_PCRS: [u32; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14];

/// Notes that a step had to end well.
fn must_succeed(report: &mut Report, scenario: Scenario, claim: &str, step: &Step) {
    report.check(scenario, claim, step.succeeded(), &step.summary());
}

/// Notes that a container had to be refused with `code`.
fn must_refuse(report: &mut Report, scenario: Scenario, claim: &str, (step, code): (&Step, &str)) {
    report.check(
        scenario,
        claim,
        step.refusal() == Some(code),
        &step.summary(),
    );
}

#[cfg(test)]
mod tests {
    use super::Scenario;

    #[test]
    fn the_host_is_as_a_scenario_needs_it() {
        let plan = |chosen: &[Scenario]| Scenario::plan(chosen, false);
        assert_eq!(plan(&[]), Scenario::ALL);
        assert_eq!(
            plan(&[Scenario::Reboot]),
            [Scenario::Trusted, Scenario::Reboot]
        );
        assert_eq!(
            plan(&[Scenario::Latched]),
            [Scenario::Trusted, Scenario::CommandLine, Scenario::Latched]
        );
        assert_eq!(
            plan(&[Scenario::Drift]),
            [Scenario::Trusted, Scenario::Drift]
        );
        assert_eq!(plan(&[Scenario::Suites]), [Scenario::Suites]);
        assert!(Scenario::is_whole_machine(&Scenario::ALL[..6]));
        assert!(!Scenario::is_whole_machine(&Scenario::ALL[1..]));
        assert_eq!(
            Scenario::plan(&[Scenario::Reboot], true),
            [Scenario::Reboot]
        );
    }
}
