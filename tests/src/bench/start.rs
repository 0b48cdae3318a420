//! The action `start` of a shim, as containerd runs it.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::Bench;
use super::measure::{Measure, in_turn, since};
use super::process;
use crate::failure::{Doing, Failure, Outcome};
use crate::run;
use crate::wait::{self, PATIENCE};

/// Where containerd would keep the bundles.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/bench";
/// What is measured.
pub(super) const NAMES: [&str; 1] = ["'start' action"];

/// From running the program until its answer is complete.
pub(super) fn action(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let sides = bench.sides();
    let [ours, peer] = in_turn(bench.runs, |side, round| {
        let shim = sides[side].shim.as_str();
        once(shim, &format!("{shim}-{round}"))
    })?;
    Ok(vec![Measure::beside(NAMES[0], "ms", ours, peer)])
}

fn once(shim: &str, id: &str) -> Outcome<f64> {
    let bundle = Path::new(BUNDLES).join(id);
    fs::create_dir_all(&bundle).doing("make a bundle")?;
    fs::write(bundle.join("config.json"), "{}").doing("write a configuration")?;
    let mut start = Command::new(shim);
    start.args([
        "-namespace",
        "bench",
        "-id",
        id,
        "-publish-binary",
        "/bin/true",
    ]);
    start.args(["-address", "/run/containerd/containerd.sock", "start"]);
    start.current_dir(&bundle).stdin(Stdio::null());
    let begun = Instant::now();
    let output = start.output().doing(format!("run '{shim} start'"))?;
    let took = since(begun);
    // Text, or JSON or protobuf with the text in it.
    let answer = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() || !answer.contains("unix://") {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "'{shim} start' ended with {} and answered '{}', no address: {}",
            output.status,
            answer.trim().escape_default(),
            said.trim()
        )));
    }
    end_server(shim, id)?;
    fs::remove_dir_all(&bundle).doing("remove a bundle")?;
    Ok(took)
}

/// Kills the server that `start` left.
fn end_server(shim: &str, id: &str) -> Outcome {
    wait::until_true(&format!("the end of '{shim}'"), PATIENCE, || {
        // The peer's first process may still be ending beside its server.
        let Ok(pid) = process::find(shim, id) else {
            return true;
        };
        // A failure shows in that it does not end.
        let _tried = run::to_end(Command::new("kill").args(["-KILL", &pid.to_string()]));
        false
    })
}
