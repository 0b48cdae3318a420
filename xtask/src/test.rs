//! `cargo xtask test`: all that must pass, in the order in which it fails fastest.

use std::fs;
use std::process::{Command, ExitCode};
use std::time::Instant;

use crate::ear;
use crate::keylime;
use crate::layout;
use crate::packages::{self, find};
use crate::privilege;
use crate::programs;
use crate::screen;
use crate::step::{self, Failed, Outcome, timed};
use crate::tally::Tally;
use crate::workspace::Workspace;

/// What our commands promise the tests to have; see `tests/src/require.rs`.
pub(crate) const PROMISED: &str =
    "root,swtpm,tpm-tools,containerd,runc,crun,busybox,cni,runc-shim,programs";
/// Part of the path of every test that needs more than a compiler.
pub(crate) const NEEDS: &str = "needs_";

/// Options of the test run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only the tests whose path has this in it; formatting, sizes and lints are left out
    filter: Option<String>,
    /// Also verdicts beside the `ear` crate, whose first build takes some three minutes
    #[arg(long, conflicts_with = "filter")]
    ear: bool,
}

/// Runs everything; success means that nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let start = Instant::now();
    let workspace = Workspace::find()?;
    let mut tally = Tally::default();
    let outcome = steps(&workspace, arguments, &mut tally);
    let minutes = start.elapsed().as_secs_f64() / 60.0;
    screen::say(&format!("\nall steps: {minutes:.1} min"));
    if let Err(failed) = &outcome {
        screen::say(&format!("xtask: {failed}"));
        // A step that is no test, say formatting, counts as one failure.
        tally.failed = tally.failed.max(1);
    }
    screen::print(&format!("{} passed, {} failed", tally.passed, tally.failed));
    Ok(if outcome.is_ok() && tally.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn steps(workspace: &Workspace, arguments: &Arguments, tally: &mut Tally) -> Outcome {
    let filter = arguments.filter.as_deref();
    timed("Debian packages", packages::provide_for_tests)?;
    if filter.is_none() {
        timed("formatting", || {
            step::run(workspace.cargo().args(["fmt", "--all", "--", "--check"]))
        })?;
        timed("sizes and names of files", || {
            layout::check(&workspace.root)
        })?;
        timed("lints", || {
            let mut clippy = workspace.cargo();
            clippy.args(["clippy", "--locked", "--workspace", "--all-targets"]);
            step::run(clippy.args(["--", "--deny", "warnings"]))
        })?;
    }
    let folder = timed("programs, as shipped", || programs::build(workspace))?;
    let run = Run {
        keylime: keylime::provide(workspace),
        workspace,
        nextest: has_nextest(workspace),
        filter,
        programs: folder,
    };
    if !run.nextest {
        screen::say("cargo-nextest is not installed; using 'cargo test'");
    }
    // Go on after a failure: one run shows all of them.
    let plain = timed("unit, property and crate tests", || run.plain(tally));
    let documents = match filter {
        None => timed("documentation tests", || run.documents(tally)),
        Some(_) => Ok(()),
    };
    let privileged = timed("suites with root, TPM and containerd", || {
        run.privileged(tally)
    });
    let licences = match filter {
        None => timed("licences and sources", || licences(workspace)),
        Some(_) => Ok(()),
    };
    let differential = if arguments.ear {
        timed("verdicts beside the ear crate", || {
            ear::test(workspace, tally)
        })
    } else {
        Ok(())
    };
    plain
        .and(documents)
        .and(privileged)
        .and(licences)
        .and(differential)
}

/// One way to run the tests.
struct Run<'a> {
    workspace: &'a Workspace,
    nextest: bool,
    filter: Option<&'a str>,
    programs: std::path::PathBuf,
    keylime: Option<std::path::PathBuf>,
}

// === impl Run ===

impl Run<'_> {
    fn plain(&self, tally: &mut Tally) -> Outcome {
        let mut command = self.command(&[]);
        if !self.nextest {
            command.args(["--", "--skip", NEEDS]).args(self.filter);
        }
        step::run_watched(&mut command, |line| tally.read(line))
    }

    fn documents(&self, tally: &mut Tally) -> Outcome {
        let mut command = self.workspace.cargo();
        command.args(["test", "--locked", "--workspace", "--doc"]);
        step::run_watched(&mut command, |line| tally.read(line))
    }

    fn privileged(&self, tally: &mut Tally) -> Outcome {
        let skipped = self.workspace.target.join("skipped-tests");
        fs::write(&skipped, "").map_err(|source| Failed::File {
            deed: format!("write '{}'", skipped.display()),
            source,
        })?;
        let mut command = self.command(&["--profile", "privileged"]);
        if !self.nextest {
            // Without nextest a filter would have to match as well as the prefix; run them all.
            command.args(["--", NEEDS]);
        }
        command
            .env("PORTCULLIS_TEST_REQUIRE", PROMISED)
            .env("PORTCULLIS_TEST_SKIPPED", &skipped)
            .env("PORTCULLIS_PROGRAMS", &self.programs);
        if let Some(keylime) = &self.keylime {
            command.env(keylime::HOME, keylime);
        }
        privilege::run_tests_as_root(&mut command, &programs::host_triple()?);
        let ran = step::run_watched(&mut command, |line| tally.read(line));
        report_skipped(&fs::read_to_string(&skipped).unwrap_or_default());
        ran
    }

    fn command(&self, nextest: &[&str]) -> Command {
        let mut command = self.workspace.cargo();
        if self.nextest {
            command.args([
                "nextest",
                "run",
                "--locked",
                "--workspace",
                "--no-fail-fast",
            ]);
            command
                .args(["--no-tests", "pass"])
                .args(nextest)
                .args(self.filter);
        } else {
            command.args([
                "test",
                "--locked",
                "--workspace",
                "--all-targets",
                "--no-fail-fast",
            ]);
        }
        command
    }
}

fn has_nextest(workspace: &Workspace) -> bool {
    let mut question = workspace.cargo();
    question.args(["nextest", "--version"]);
    question
        .output()
        .is_ok_and(|output| output.status.success())
}

fn licences(workspace: &Workspace) -> Outcome {
    if find("cargo-deny").is_none() {
        screen::say("skipped: cargo-deny is not installed ('cargo install cargo-deny')");
        return Ok(());
    }
    let mut deny = workspace.cargo();
    step::run(deny.args(["deny", "check", "bans", "licenses", "sources"]))
}

fn report_skipped(notes: &str) {
    let mut names: Vec<&str> = notes.lines().collect();
    names.sort_unstable();
    screen::say(&format!("skipped tests: {}", names.len()));
    names.dedup();
    for name in names {
        screen::say(&format!("  for want of {name}"));
    }
}
