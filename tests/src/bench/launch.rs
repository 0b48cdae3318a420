//! How long launches take.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::measure::Measure;
use crate::containerd::{PORTCULLIS, RUNC};
use crate::failure::{Doing, Failure, Outcome};
use crate::image;
use crate::node::Node;
use crate::run;

/// Our program and the peer's.
const SHIMS: [&str; 2] = ["containerd-shim-portcullis-v1", "containerd-shim-runc-v2"];
/// Where containerd would keep the bundles.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/bench";

/// The action `start`: from running the program until its answer is complete.
pub(super) fn start_action(runs: usize) -> Outcome<Measure> {
    let mut samples = [Vec::new(), Vec::new()];
    for number in 0..=runs {
        for (shim, samples) in SHIMS.iter().zip(&mut samples) {
            let id = format!("{shim}-{number}");
            let bundle = Path::new(BUNDLES).join(&id);
            fs::create_dir_all(&bundle).doing("make a bundle")?;
            fs::write(bundle.join("config.json"), "{}").doing("write a configuration")?;
            let mut start = Command::new(shim);
            start.args([
                "-namespace",
                "bench",
                "-id",
                &id,
                "-publish-binary",
                "/bin/true",
            ]);
            start.args(["-address", "/run/containerd/containerd.sock", "start"]);
            start
                .current_dir(&bundle)
                .stdin(Stdio::null())
                .stderr(Stdio::null());
            let begun = Instant::now();
            let output = start.output().doing(format!("run {shim}"))?;
            let took = begun.elapsed();
            if !output.status.success() || !output.stdout.starts_with(b"unix://") {
                return Err(Failure::new(format!(
                    "{shim} start ended with {}",
                    output.status
                )));
            }
            end_server(&id)?;
            fs::remove_dir_all(&bundle).doing("remove a bundle")?;
            // The first of each fills the caches.
            if number > 0 {
                samples.push(milliseconds(took));
            }
        }
    }
    let [ours, peer] = samples;
    Ok(Measure::new("'start' action", "ms", ours, peer))
}

/// `ctr run --rm … true`, ours with gate and hardening, the peer's with neither.
pub(super) fn whole_run(node: &Node, runs: usize) -> Outcome<Measure> {
    let (ours, peer) = in_turn(runs, |runtime, number| {
        let id = format!("run-{number}");
        let command = [
            "run",
            "--rm",
            "--runtime",
            runtime,
            image::BUSYBOX,
            &id,
            "true",
        ];
        timed(node.containerd.ctr(&command))
    })?;
    Ok(Measure::new("'ctr run --rm true'", "ms", ours, peer))
}

/// `ctr task exec … true` in a running container.
pub(super) fn exec(node: &Node, runs: usize) -> Outcome<Measure> {
    for (runtime, id) in [(PORTCULLIS, "exec-ours"), (RUNC, "exec-peer")] {
        let command = [
            "run",
            "--detach",
            "--runtime",
            runtime,
            image::BUSYBOX,
            id,
            "sleep",
            "600",
        ];
        node.containerd.run_ctr(&command)?.success()?;
    }
    let (ours, peer) = in_turn(runs, |runtime, number| {
        let id = if runtime == PORTCULLIS {
            "exec-ours"
        } else {
            "exec-peer"
        };
        let exec_id = format!("e{number}");
        let command = ["task", "exec", "--exec-id", &exec_id, id, "true"];
        timed(node.containerd.ctr(&command))
    })?;
    node.remove("exec-ours")?;
    node.remove("exec-peer")?;
    Ok(Measure::new("'ctr task exec true'", "ms", ours, peer))
}

/// Takes `runs` samples of each runtime, one after the other, after one that does not count.
fn in_turn(
    runs: usize,
    sample: impl Fn(&str, usize) -> Outcome<f64>,
) -> Outcome<(Vec<f64>, Vec<f64>)> {
    let (mut ours, mut peer) = (Vec::new(), Vec::new());
    for number in 0..=runs {
        let (one, other) = (sample(PORTCULLIS, number)?, sample(RUNC, number)?);
        if number > 0 {
            ours.push(one);
            peer.push(other);
        }
    }
    Ok((ours, peer))
}

/// Runs to the end without looking in between, as the harness elsewhere does at intervals.
fn timed(mut command: Command) -> Outcome<f64> {
    let begun = Instant::now();
    let output = command.output().doing("run ctr")?;
    let took = begun.elapsed();
    if output.status.success() {
        return Ok(milliseconds(took));
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "ctr ended with {}: {}",
        output.status,
        said.trim()
    )))
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// Kills the server that `start` left for `id`.
fn end_server(id: &str) -> Outcome {
    for entry in fs::read_dir("/proc").doing("list processes")?.flatten() {
        let name = entry.file_name();
        let is_ours = fs::read(entry.path().join("cmdline")).is_ok_and(|line| {
            line.split(|&byte| byte == 0)
                .any(|word| word == id.as_bytes())
        });
        if is_ours {
            // It may be gone by now: the peer's first process ends when its server runs.
            run::to_end(Command::new("kill").arg("-KILL").arg(name))?;
        }
    }
    Ok(())
}
