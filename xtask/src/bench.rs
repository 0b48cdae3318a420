//! `cargo xtask bench`: our shim beside containerd's own, measured in a private world.

mod budget;
mod chart;
mod figure;
mod page;
mod peer;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use serde_json::Value;

use crate::demo::Output;
use crate::packages;
use crate::privilege;
use crate::programs;
use crate::screen;
use crate::step::{Failed, Outcome, timed};
use crate::workspace::Workspace;

use figure::Figure;
use page::Page;
use peer::Peer;

/// Folder of the documents, below the root of the workspace.
const DOCUMENTS: &str = "docs/benchmarks";
/// Names of the documents: page, picture, figures.
const PAGE: &str = "README.md";
const CHART: &str = "ratios.svg";
const FIGURES: &str = "figures.json";
/// How often each thing is measured, and in a quick run.
const RUNS: u16 = 30;
const QUICK_RUNS: u16 = 5;
/// Fewer than this are not for the documents.
const FEWEST: u16 = 10;

/// Options of the measurements.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Arguments {
    /// How often each thing is measured [default: 30, or 5 if quick]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    runs: Option<u16>,
    /// Take seconds instead of minutes: few runs, and no 50 or 200 launches at once
    #[arg(long)]
    quick: bool,
    /// Only what has this in its name; may be given more than once
    #[arg(long, value_name = "FILTER")]
    measure: Vec<String>,
    /// Measure beside this shim instead of containerd's own, for instance an earlier build of ours
    #[arg(long, value_name = "PATH")]
    against: Option<PathBuf>,
    /// containerd's name of the peer's runtime [default: as '--against' is named, or
    /// io.containerd.runc.v2]; without '--against' its shim must be installed
    #[arg(long, value_name = "NAME")]
    runtime: Option<String>,
    /// Folder with our programs, built as shipped; default: build them
    #[arg(long, value_name = "DIR")]
    programs: Option<PathBuf>,
    /// How to print the figures: tables, or a JSON array of
    /// `{measure, unit, ours, peer, ratio, runs, spread}`, where `spread` has the tenth and the
    /// ninetieth percentile of `ours`, `peer` and `ratio`
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Leave the documents in docs/benchmarks/ as they are
    #[arg(long)]
    no_write: bool,
}

/// What the lab has measured.
#[derive(Debug)]
struct Measured {
    figures: Vec<Figure>,
    machine: Vec<(String, String)>,
    /// Whether nothing is missing.
    whole: bool,
}

/// Measures; success means that everything could be, not that the budgets are met.
pub(crate) fn run(arguments: &Arguments) -> Outcome<ExitCode> {
    let peer = Peer::chosen(arguments.against.as_deref(), arguments.runtime.as_deref())?;
    let workspace = Workspace::find()?;
    timed("Debian packages", packages::provide_for_tests)?;
    let folder = match &arguments.programs {
        Some(folder) => std::path::absolute(folder).map_err(|source| Failed::File {
            deed: format!("find '{}'", folder.display()),
            source,
        })?,
        None => timed("programs, as shipped", || programs::build(&workspace))?,
    };
    let lab = timed("the bench itself", || programs::build_lab(&workspace))?;
    let measured = timed("measurements", || {
        measure(arguments, &peer, &workspace, &lab, &folder)
    })?;
    let judged = budget::judge(&measured.figures, peer.is_own());
    let verdicts = budget::table(&judged);
    if arguments.output == Output::Json {
        let all: Vec<Value> = measured.figures.iter().map(Figure::json).collect();
        screen::print(&Value::Array(all).to_string());
        screen::say(&format!("\n{verdicts}"));
    } else {
        screen::print(&page::tables(&measured.figures, &peer.shim));
        screen::print(&verdicts);
    }
    match arguments.why_not_written(&peer, &measured) {
        Some(reason) => screen::say(&format!("{DOCUMENTS}/ is left as it is: {reason}")),
        None => write(&workspace, &arguments.line(), &peer, &measured, &judged)?,
    }
    Ok(if measured.whole {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the lab, which prints all samples.
fn measure(
    arguments: &Arguments,
    peer: &Peer,
    workspace: &Workspace,
    lab: &Path,
    programs: &Path,
) -> Outcome<Measured> {
    let mut bench = privilege::as_root(lab);
    bench.arg("bench").arg("--scratch");
    bench.arg(workspace.target.join("bench"));
    bench.arg("--programs").arg(programs);
    bench.arg("--runs").arg(arguments.runs().to_string());
    if arguments.quick {
        bench.arg("--quick");
    }
    bench.args(
        arguments
            .measure
            .iter()
            .map(|filter| format!("--measure={filter}")),
    );
    bench.args(["--peer-runtime", &peer.runtime, "--peer-shim", &peer.shim]);
    if let Some(from) = &peer.from {
        bench.arg("--peer-from").arg(from);
    }
    bench.stdin(Stdio::null()).stderr(Stdio::inherit());
    let output = bench.output().map_err(|source| Failed::Run {
        line: lab.display().to_string(),
        source,
    })?;
    let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let Some(samples) = said.get("measures").and_then(Value::as_array) else {
        // It has said why.
        return Err(Failed::Ended {
            line: "portcullis-lab bench".to_owned(),
            status: output.status,
        });
    };
    let figures: Vec<Figure> = samples.iter().filter_map(Figure::read).collect();
    Ok(Measured {
        whole: output.status.success() && !figures.is_empty() && figures.len() == samples.len(),
        figures,
        machine: pairs(said.get("machine")),
    })
}

/// Reads `[[label, text], …]`.
fn pairs(list: Option<&Value>) -> Vec<(String, String)> {
    let pair = |value: &Value| {
        let text = |index: usize| value.get(index)?.as_str().map(str::to_owned);
        Some((text(0)?, text(1)?))
    };
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(pair).collect()
}

/// Writes page, picture and figures.
fn write(
    workspace: &Workspace,
    command: &str,
    peer: &Peer,
    measured: &Measured,
    judged: &[budget::Judged],
) -> Outcome {
    let page = Page {
        command,
        source: source(workspace).as_deref(),
        machine: &measured.machine,
        figures: &measured.figures,
        judged,
        peer: &peer.shim,
        files: [CHART, FIGURES],
    }
    .text();
    let lines: Vec<String> = measured
        .figures
        .iter()
        .map(|figure| figure.json().to_string())
        .collect();
    let json = format!("[\n{}\n]\n", lines.join(",\n"));
    let picture = chart::svg(&measured.figures, judged, &peer.shim);
    let folder = workspace.root.join(DOCUMENTS);
    fs::create_dir_all(&folder).map_err(|source| Failed::File {
        deed: format!("make '{}'", folder.display()),
        source,
    })?;
    for (name, text) in [(PAGE, page), (CHART, picture), (FIGURES, json)] {
        let path = folder.join(name);
        fs::write(&path, text).map_err(|source| Failed::File {
            deed: format!("write '{}'", path.display()),
            source,
        })?;
        screen::say(&format!("written: {DOCUMENTS}/{name}"));
    }
    Ok(())
}

/// The commit that is measured, as git names it; nothing outside a repository.
fn source(workspace: &Workspace) -> Option<String> {
    let mut git = Command::new("git");
    git.current_dir(&workspace.root);
    git.args(["describe", "--always", "--dirty", "--exclude", "*"]);
    let output = git.stderr(Stdio::null()).output().ok()?;
    let name = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !name.is_empty()).then(|| format!("commit {name}"))
}

// === impl Arguments ===

impl Arguments {
    fn runs(&self) -> u16 {
        let usual = if self.quick { QUICK_RUNS } else { RUNS };
        self.runs.unwrap_or(usual)
    }

    /// The command that takes the figures of the documents.
    fn line(&self) -> String {
        match self.runs {
            Some(runs) => format!("cargo xtask bench --runs {runs}"),
            None => "cargo xtask bench".to_owned(),
        }
    }

    /// Documents are written by a whole run beside containerd's own shim.
    fn why_not_written(&self, peer: &Peer, measured: &Measured) -> Option<&'static str> {
        if self.no_write {
            Some("'--no-write'")
        } else if !measured.whole {
            Some("something could not be measured")
        } else if self.quick {
            Some("a quick run does not measure everything")
        } else if !self.measure.is_empty() {
            Some("not everything was measured")
        } else if !peer.is_own() {
            Some("it is about containerd's own shim")
        } else if self.runs() < FEWEST {
            Some("too few runs")
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments() -> Arguments {
        Arguments {
            runs: None,
            quick: false,
            measure: Vec::new(),
            against: None,
            runtime: None,
            programs: None,
            output: Output::Text,
            no_write: false,
        }
    }

    fn measured(whole: bool) -> Measured {
        let samples = [
            serde_json::json!({"measure": "'ctr run --rm true'", "unit": "ms", "ours": [8.0, 9.0], "peer": [10.0, 10.0]}),
            serde_json::json!({"measure": "hook process, whole", "unit": "ms", "ours": [4.0], "peer": null}),
        ];
        Measured {
            figures: samples.iter().filter_map(Figure::read).collect(),
            machine: vec![("processor".to_owned(), "one, 2 cores".to_owned())],
            whole,
        }
    }

    #[test]
    fn only_a_whole_run_beside_containerds_own_shim_is_written() {
        let own = Peer::chosen(None, None).unwrap();
        let other = Peer {
            from: Some(PathBuf::from("/opt/containerd-shim-runc-v2")),
            ..own.clone()
        };
        let plain = arguments();
        assert_eq!(plain.why_not_written(&own, &measured(true)), None);
        assert!(plain.why_not_written(&own, &measured(false)).is_some());
        assert!(plain.why_not_written(&other, &measured(true)).is_some());
        let filter = vec!["x".to_owned()];
        for changed in [
            Arguments {
                no_write: true,
                ..arguments()
            },
            Arguments {
                quick: true,
                ..arguments()
            },
            Arguments {
                measure: filter,
                ..arguments()
            },
            Arguments {
                runs: Some(FEWEST - 1),
                ..arguments()
            },
        ] {
            assert!(
                changed.why_not_written(&own, &measured(true)).is_some(),
                "{changed:?}"
            );
        }
        let enough = Arguments {
            runs: Some(FEWEST),
            ..arguments()
        };
        assert_eq!(enough.why_not_written(&own, &measured(true)), None);
    }

    #[test]
    fn the_documents_are_written_from_the_figures() {
        let root = tempfile::tempdir().unwrap();
        let workspace = Workspace {
            root: root.path().to_owned(),
            target: root.path().join("target"),
        };
        let (own, measured) = (Peer::chosen(None, None).unwrap(), measured(true));
        let judged = budget::judge(&measured.figures, true);
        write(
            &workspace,
            "cargo xtask bench --runs 60",
            &own,
            &measured,
            &judged,
        )
        .unwrap();
        let read = |name: &str| fs::read_to_string(root.path().join(DOCUMENTS).join(name)).unwrap();
        let page = read(PAGE);
        for part in [
            "cargo xtask bench --runs 60\n",
            "| processor | one, 2 cores |",
            "| 'ctr run --rm true', over containerd's own shim | 0.85 | 0.850 (0.810–0.890) | met |",
            "| hook process, whole | 3 ms | 4.00 (4.00–4.00) ms | **not met** |",
            "| threads per pod | 1 | – | not measured |",
            "| 'ctr run --rm true' | ms | 8.50 (8.10–8.90) | 10.0 (10.0–10.0) | 0.850 (0.810–0.890) | 2 |",
            "| hook process, whole | ms | 4.00 (4.00–4.00) | 1 |",
            "](ratios.svg)",
            "](figures.json)",
        ] {
            assert!(page.contains(part), "{part}:\n{page}");
        }
        let json: Value = serde_json::from_str(&read(FIGURES)).unwrap();
        assert_eq!(json[0]["ratio"], 0.85);
        assert_eq!(json.as_array().unwrap().len(), 2);
        assert!(read(CHART).starts_with("<svg "));
    }

    #[test]
    fn a_description_is_read_pair_by_pair() {
        let list = serde_json::json!([["a", "b"], ["c"], ["d", "e"]]);
        let found = pairs(Some(&list));
        assert_eq!(
            found,
            [
                ("a".to_owned(), "b".to_owned()),
                ("d".to_owned(), "e".to_owned())
            ]
        );
        assert!(pairs(None).is_empty());
    }
}
