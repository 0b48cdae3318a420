//! `cargo xtask compat`: real programs under each hardening profile, as pods.
//!
//! The programs are Debian's, all in one image archive; the host is a Debian release whose
//! containerd makes user namespaces, which profile `strict` demands.

mod archive;
mod table;

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};

use serde_json::Value;

use crate::compatibility;
use crate::demo::Output;
use crate::matrix::release::{self, Release};
use crate::packages;
use crate::privilege;
use crate::programs;
use crate::screen;
use crate::step::{Failed, Outcome, timed};
use crate::workspace::Workspace;

use archive::Archive;
use table::Finding;

/// The host's release.
const HOST: Release = Release::Forky;

/// Options of the trials.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only this program, by its name in the table; may be given more than once; the document is
    /// not written then
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Folder with our programs, built as shipped; default: build them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// How to print the outcome: a table, or a JSON array of
    /// `{program, package, work, profile, outcome, relaxations, error}`, where `outcome` is "passes",
    /// "relaxed" or "fails", and `relaxations` has each that suffices alone
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Tries the programs; success means that each works under the default profile with at most one
/// relaxation.
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
    let lab = timed("the trials themselves", || programs::build_lab(&workspace))?;
    let root = timed(&format!("root folder of Debian {HOST}"), || {
        HOST.provide(&workspace.target.join("matrix"))
    })?;
    let archive = timed("archive with the programs", || {
        Archive::provide(&workspace.target.join("compat"))
    })?;
    let text = timed("real programs", || {
        try_all(
            arguments,
            &workspace,
            &lab,
            [&programs, &root, archive.path()],
        )
    })?;
    let findings = Finding::parse(&text).map_err(|error| {
        Failed::Missing(format!("the trials printed what is not expected: {error}"))
    })?;
    if arguments.output == Output::Json {
        screen::print(text.trim());
    } else {
        screen::print(&table::of(&findings));
    }
    if arguments.only.is_empty() {
        let host = release::versions(&root)?;
        let host = format!("Debian {HOST}, {host}");
        let as_shipped = arguments.programs.is_none();
        let text = table::document(&findings, &archive.versions()?, &host, as_shipped);
        compatibility::write_programs(&workspace.root, &text)?;
    }
    Ok(if findings.iter().all(Finding::is_good) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the lab, which prints what it found, as JSON.
fn try_all(
    arguments: &Arguments,
    workspace: &Workspace,
    lab: &Path,
    [programs, root, layer]: [&Path; 3],
) -> Outcome<String> {
    let mut trials = privilege::as_root(lab);
    trials.arg("compat").arg("--scratch");
    trials.arg(workspace.target.join("compat/world"));
    trials.arg("--programs").arg(programs);
    trials.arg("--root").arg(root).arg("--layer").arg(layer);
    trials.args(arguments.only.iter().map(|name| format!("--only={name}")));
    let line = format!("{} compat", lab.display());
    let run = trials.stderr(Stdio::inherit()).output();
    let output = run.map_err(|source| Failed::Run {
        line: line.clone(),
        source,
    })?;
    if !output.status.success() {
        let status = output.status;
        return Err(Failed::Ended { line, status });
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let whole = text
        .lines()
        .rfind(|line| serde_json::from_str::<Value>(line).is_ok());
    whole
        .map(str::to_owned)
        .ok_or_else(|| Failed::Missing("the trials ended without an outcome".to_owned()))
}
