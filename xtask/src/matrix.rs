//! `cargo xtask matrix`: the end-to-end suites on each containerd that Debian ships.
//!
//! The tests are built once, here, and run in worlds whose root file system is that of another
//! Debian release; so this machine's libraries must be no newer than the oldest of them.

pub(crate) mod release;
pub(crate) mod results;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::compatibility;
use crate::packages;
use crate::privilege;
use crate::programs;
use crate::screen;
use crate::step::{self, Failed, Outcome, timed};
use crate::test::{NEEDS, PROMISED};
use crate::workspace::Workspace;

use release::Release;
use results::{Column, Results};

/// The suites all of whose tests run in worlds; others would run on this machine's own programs.
pub(crate) const SUITES: [&str; 12] = [
    "shim_bootstrap",
    "runtime_calls",
    "task_execs",
    "shim_lifecycle",
    "streams",
    "cri_pod",
    "gate_launch",
    "gate_moments",
    "exec_clamp",
    "hook_refusal",
    "mounts",
    "user_namespace",
];

/// Options of the matrix.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only these Debian releases; the document is written only when all have run
    #[arg(long, value_enum)]
    release: Vec<Release>,
    /// Leave out containerd's own shim; the document is not written then
    #[arg(long)]
    ours: bool,
    /// Folder with our programs, built as shipped; default: build them
    #[arg(long)]
    programs: Option<PathBuf>,
    /// Only the tests whose path has this in it; the document is not written then
    filter: Option<String>,
}

/// Runs the suites; success means that nothing failed.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let workspace = Workspace::find()?;
    timed("Debian packages", packages::provide_for_matrix)?;
    let programs = match &arguments.programs {
        Some(folder) => std::path::absolute(folder).map_err(|source| Failed::File {
            deed: format!("find '{}'", folder.display()),
            source,
        })?,
        None => timed("programs, as shipped", || programs::build(&workspace))?,
    };
    let all = arguments.release.is_empty();
    let releases = if all {
        &Release::ALL[..]
    } else {
        &arguments.release
    };
    let mut columns = Vec::new();
    for release in releases {
        let folder = timed(&format!("root folder of Debian {release}"), || {
            release.provide(&workspace.target.join("matrix"))
        })?;
        let results = timed(&format!("suites on Debian {release}"), || {
            suites(&workspace, &folder, &programs, arguments)
        })?;
        columns.push(Column {
            release: release.to_string(),
            versions: release::versions(&folder)?,
            results,
        });
    }
    let table = results::table(&columns);
    screen::print(&table);
    if all && !arguments.ours && arguments.filter.is_none() {
        compatibility::write_matrix(&workspace.root, &results::document(&table))?;
    }
    let counts = columns.iter().map(|column| column.results.counts());
    let (passed, failed) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    screen::print(&format!("{passed} passed, {failed} failed"));
    let good = columns.iter().all(|column| column.results.all_passed());
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the suites in worlds with the root file system in `folder`.
fn suites(
    workspace: &Workspace,
    folder: &Path,
    programs: &Path,
    arguments: &Arguments,
) -> Outcome<Results> {
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--no-fail-fast"]);
    command.args(["--package", "portcullis-tests"]);
    command.args(SUITES.iter().flat_map(|suite| ["--test", suite]));
    command.args(["--", arguments.filter.as_deref().unwrap_or(NEEDS)]);
    if arguments.ours {
        command.args(["--skip", "stock_shim"]);
    }
    let settings: [(&str, &OsStr); 3] = [
        ("PORTCULLIS_TEST_ROOT", folder.as_ref()),
        ("PORTCULLIS_TEST_REQUIRE", PROMISED.as_ref()),
        ("PORTCULLIS_PROGRAMS", programs.as_ref()),
    ];
    command.envs(settings);
    privilege::run_tests_as_root(&mut command, &programs::host_triple()?);
    let mut results = Results::default();
    match step::run_watched(&mut command, |line| results.read(line)) {
        // Failed tests are in the table.
        Err(Failed::Ended { .. }) if results.has_failed() => Ok(results),
        Err(failed) => Err(failed),
        Ok(()) if results.is_empty() => Err(Failed::Missing("no test was run".to_owned())),
        Ok(()) => Ok(results),
    }
}
