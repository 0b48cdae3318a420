//! `cargo xtask fuzz`: whatever reads what it does not trust, under libFuzzer.
//!
//! The targets are a workspace of their own (`fuzz/`). They are built by the toolchain of the project
//! with LLVM's coverage, which needs no nightly compiler; for a sanitizer take `cargo +nightly fuzz`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use crate::screen;
use crate::step::{self, Failed, Outcome, timed};
use crate::workspace::Workspace;

/// Where programs are built for: with a target named, build scripts are left as they are.
const TRIPLE: &str = "x86_64-unknown-linux-gnu";
/// What libFuzzer needs of a program: counters of edges, where they are, and what is compared.
const COVERAGE: &str = "-Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    --cfg=fuzzing";
/// Where recorded boots are.
const BOOTS: &str = "tests/data/measured-boot";

/// Each target, the folders of its seeds, and what their files begin with; an empty text is any.
const TARGETS: [(&str, &[(&str, &str)]); 9] = [
    ("event_log", &[(BOOTS, "binary_bios_")]),
    ("ima_list", &[(BOOTS, "binary_runtime_")]),
    ("verdict", &[("fuzz/seeds/verdict", "")]),
    ("reference", &[("fuzz/seeds/reference", "")]),
    (
        "attest",
        &[
            (BOOTS, "quote_ecc"),
            (BOOTS, "nvcertify_"),
            (BOOTS, "ak_ecc"),
        ],
    ),
    ("oci_config", &[("crates/hardening/tests/data", "")]),
    ("corim", &[("fuzz/seeds/corim", "")]),
    ("ledger", &[("fuzz/seeds/ledger", "")]),
    ("requirement", &[("fuzz/seeds/requirement", "")]),
];

/// Options of the fuzzing.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// Only this target
    #[arg(value_parser = TARGETS.map(|(name, _)| name))]
    target: Option<String>,
    /// How long each target runs
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u32,
}

/// What came of a target.
struct Run {
    name: &'static str,
    executions: Option<u64>,
    failed: Option<Failed>,
}

/// Builds the targets and runs them, one after another.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let workspace = Workspace::find()?;
    let folder = workspace.target.join("fuzz");
    timed("fuzz targets", || build(&workspace, &folder))?;
    let mut runs = Vec::new();
    for (name, seeds) in TARGETS {
        if arguments.target.as_deref().is_none_or(|only| only == name) {
            let place = Place::make(&workspace.root, &folder, name, seeds)?;
            runs.push(place.run(arguments.seconds));
        }
    }
    let mut all_well = true;
    for run in &runs {
        let executions = run.executions.map_or("?".to_owned(), |it| it.to_string());
        let outcome = match &run.failed {
            None => "no finding".to_owned(),
            Some(failed) => format!("FINDING: {failed}"),
        };
        all_well &= run.failed.is_none();
        screen::print(&format!(
            "{:<12} {executions:>12} executions, {outcome}",
            run.name
        ));
    }
    Ok(if all_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn build(workspace: &Workspace, folder: &Path) -> Outcome {
    let mut command = workspace.cargo();
    command.args(["build", "--locked", "--release", "--manifest-path"]);
    command.arg(workspace.root.join("fuzz/Cargo.toml"));
    command.args(["--target", TRIPLE, "--target-dir"]);
    step::run(command.arg(folder).env("RUSTFLAGS", COVERAGE))
}

/// A target's program and its folders.
struct Place {
    name: &'static str,
    program: PathBuf,
    corpus: PathBuf,
    seeds: PathBuf,
    findings: PathBuf,
}

// === impl Place ===

impl Place {
    fn make(
        root: &Path,
        folder: &Path,
        name: &'static str,
        seeds: &[(&str, &str)],
    ) -> Outcome<Self> {
        let place = Self {
            name,
            program: folder.join(TRIPLE).join("release").join(name),
            corpus: folder.join("corpus").join(name),
            seeds: folder.join("seeds").join(name),
            findings: folder.join("findings").join(name),
        };
        for folder in [&place.corpus, &place.seeds, &place.findings] {
            fs::create_dir_all(folder).map_err(using(folder))?;
        }
        let mut count = 0;
        for (folder, prefix) in seeds {
            place.sow(&root.join(folder), prefix, &mut count)?;
        }
        if count == 0 {
            return Err(Failed::Missing(format!("there is no seed for '{name}'")));
        }
        Ok(place)
    }

    /// Copies the files of `folder`, and of the folders in it, whose names begin with `prefix`.
    fn sow(&self, folder: &Path, prefix: &str, count: &mut u32) -> Outcome {
        for entry in fs::read_dir(folder).map_err(using(folder))? {
            let path = entry.map_err(using(folder))?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                self.sow(&path, prefix, count)?;
            } else if name.starts_with(prefix) {
                *count += 1;
                let to = self.seeds.join(format!("{count}-{name}"));
                fs::copy(&path, &to).map_err(using(&to))?;
            }
        }
        Ok(())
    }

    fn run(&self, seconds: u32) -> Run {
        screen::say(&format!("--- {} for {seconds} s", self.name));
        let mut executions = None;
        let mut command = Command::new(&self.program);
        command.arg(&self.corpus).arg(&self.seeds);
        command.arg(format!("-max_total_time={seconds}"));
        command.arg(format!("-artifact_prefix={}/", self.findings.display()));
        command.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
        let done = step::run_watched(&mut command, |line| {
            if let Some(number) = line.strip_prefix("stat::number_of_executed_units:") {
                executions = number.trim().parse().ok();
            }
        });
        Run {
            name: self.name,
            executions,
            failed: done.err(),
        }
    }
}

fn using(path: &Path) -> impl FnOnce(std::io::Error) -> Failed + use<> {
    let deed = format!("use '{}'", path.display());
    move |source| Failed::File { deed, source }
}

#[cfg(test)]
mod tests {
    use super::TARGETS;
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_target_of_the_folder_is_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/targets");
        let mut there: Vec<String> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        there.sort();
        let mut run: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        run.sort_unstable();
        assert_eq!(there, run);
    }
}
