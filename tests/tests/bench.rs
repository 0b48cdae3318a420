//! The measurements, as `cargo xtask bench --quick --runs 1` has them made.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::run::{self, Ran};
use portcullis_tests::{needs, programs, require};

/// How long it may take on a slow machine.
const PATIENCE: Duration = Duration::from_mins(3);
/// Parts of names of what a quick run must measure, whatever else it measures, and whether the
/// peer has the like.
const MEASURED: [(&str, bool); 9] = [
    ("'start' action", true),
    ("create and start", true),
    ("added by hardening to create and start", false),
    ("'ctr run --rm true'", true),
    ("exec of 'true', to its end", true),
    ("anonymous memory per pod, after three execs", true),
    ("agent's snapshot, 200 askers at once, p99 of each", false),
    ("hook process, whole", false),
    ("10 launches at once, until all run", true),
];

fn bench(scratch: &Path, more: &[&str]) -> Outcome<Ran> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portcullis-lab"));
    command.args(["bench", "--quick", "--runs", "1"]).args(more);
    command.arg("--scratch").arg(scratch);
    let programs = programs::find().ok_or_else(|| Failure::new("no programs"))?;
    run::with_input(command.arg("--programs").arg(programs), None, PATIENCE)
}

/// The measures, by their JSON.
fn measures(ran: Ran) -> Outcome<Vec<Value>> {
    let text = ran.success()?;
    let all: Value = serde_json::from_str(&text).doing("read the samples")?;
    let machine = all["machine"].as_array().map_or(0, Vec::len);
    assert!(machine > 3, "the machine is not described: {text}");
    let measures = all["measures"].as_array().cloned();
    measures.ok_or_else(|| Failure::new(format!("no measures in: {text}")))
}

/// The only sample of one side.
fn sample(measure: &Value, side: &str) -> Option<f64> {
    let samples = measure[side].as_array()?;
    assert_eq!(samples.len(), 1, "{measure}");
    samples[0].as_f64()
}

mod needs_containerd {
    use super::*;

    #[test]
    fn everything_is_measured_once_and_nothing_is_left() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, RuncShim, Cni, Swtpm, Programs
        );
        let folder = tempfile::tempdir().doing("make a scratch folder")?;
        let scratch = folder.path().join("bench");
        let measures = measures(bench(&scratch, &[])?)?;
        assert!(!scratch.exists(), "the bench left its folder");
        for measure in &measures {
            let ours = sample(measure, "ours").expect("a number");
            let added = measure["measure"]
                .as_str()
                .unwrap_or_default()
                .contains("added");
            let work = measure["measure"]
                .as_str()
                .unwrap_or_default()
                .contains("own work");
            // A difference may be less than nothing where the machine is busy.
            assert!(ours > 0.0 || added || work, "{measure}");
            assert!(measure["unit"].is_string(), "{measure}");
        }
        for (name, beside) in MEASURED {
            let found = measures.iter().find(|measure| measure["measure"] == name);
            let found = found.unwrap_or_else(|| panic!("'{name}' is not measured"));
            let peer = sample(found, "peer");
            assert_eq!(peer.is_some_and(|peer| peer > 0.0), beside, "{found}");
        }
        Ok(())
    }

    #[test]
    fn another_shim_can_be_the_peer() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, RuncShim, Cni, Swtpm, Programs
        );
        let folder = tempfile::tempdir().doing("make a scratch folder")?;
        let shim = require::find("containerd-shim-runc-v2").expect("containerd's own shim");
        let from = shim.display().to_string();
        let other = [
            "--peer-runtime",
            "io.containerd.other.v9",
            "--peer-from",
            &from,
        ];
        let named = ["--peer-shim", "containerd-shim-other-v9"];
        let only = ["--measure", "'start' action", "--measure", "threads"];
        let more = [&other[..], &named, &only].concat();
        let measures = measures(bench(&folder.path().join("bench"), &more)?)?;
        let names: Vec<&str> = measures
            .iter()
            .filter_map(|one| one["measure"].as_str())
            .collect();
        assert_eq!(names, ["'start' action", "threads per pod"]);
        // Ours has one; a Go program never does.
        let threads = (sample(&measures[1], "ours"), sample(&measures[1], "peer"));
        assert!(
            threads.0 == Some(1.0) && threads.1 > Some(1.0),
            "{threads:?}"
        );
        Ok(())
    }

    #[test]
    fn a_peer_that_does_not_work_is_a_failure_that_says_so() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, RuncShim, Cni, Swtpm, Programs
        );
        let folder = tempfile::tempdir().doing("make a scratch folder")?;
        let other = [
            "--peer-runtime",
            "io.containerd.other.v9",
            "--peer-from",
            "/bin/echo",
        ];
        let named = [
            "--peer-shim",
            "containerd-shim-other-v9",
            "--measure",
            "'start'",
        ];
        let ran = bench(&folder.path().join("bench"), &[&other[..], &named].concat())?;
        assert!(!ran.status.success());
        let expected = "cannot measure the action 'start': 'containerd-shim-other-v9 start'";
        assert!(ran.stderr.contains(expected), "{}", ran.stderr);
        Ok(())
    }
}
