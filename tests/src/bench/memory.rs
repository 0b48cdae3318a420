//! How much memory a pod costs.

use std::fs;

use super::measure::Measure;
use crate::containerd::{PORTCULLIS, RUNC};
use crate::failure::{Doing, Failure, Outcome};
use crate::image;
use crate::node::Node;

/// Execs before the figure is taken.
const EXECS: usize = 3;

/// Anonymous and resident memory and threads of one shim, after [`EXECS`] execs; size on disk.
pub(super) fn per_pod(node: &Node) -> Outcome<Vec<Measure>> {
    let ours = figures(node, PORTCULLIS, "containerd-shim-portcullis-v1")?;
    let peer = figures(node, RUNC, "containerd-shim-runc-v2")?;
    let names = [
        ("anonymous memory per pod, after three execs", "KiB"),
        ("resident memory per pod, after three execs", "KiB"),
        ("threads per pod", ""),
        ("size of the program", "KiB"),
    ];
    Ok(names
        .into_iter()
        .zip(ours.into_iter().zip(peer))
        .map(|((name, unit), (ours, peer))| Measure::new(name, unit, vec![ours], vec![peer]))
        .collect())
}

fn figures(node: &Node, runtime: &str, program: &str) -> Outcome<[f64; 4]> {
    let id = "memory";
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
    for number in 0..EXECS {
        let exec_id = format!("m{number}");
        node.containerd
            .run_ctr(&["task", "exec", "--exec-id", &exec_id, id, "true"])?
            .success()?;
    }
    let (status, path) = shim_of(id, program)?;
    let size = fs::metadata(&path)
        .doing(format!("look at '{path}'"))?
        .len();
    let value = |field: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        number.ok_or_else(|| Failure::new(format!("no '{field}' in the status of {program}")))
    };
    #[expect(clippy::cast_precision_loss, reason = "a few megabytes")]
    let figures = [
        value("RssAnon:")?,
        value("VmRSS:")?,
        value("Threads:")?,
        size as f64 / 1024.0,
    ];
    node.remove(id)?;
    Ok(figures)
}

/// The status of the shim that serves `id`, and the path of its program.
fn shim_of(id: &str, program: &str) -> Outcome<(String, String)> {
    for entry in fs::read_dir("/proc").doing("list processes")?.flatten() {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        let first = words.next().unwrap_or_default();
        if first.ends_with(program.as_bytes()) && words.any(|word| word == id.as_bytes()) {
            let status = fs::read_to_string(entry.path().join("status")).doing("read a status")?;
            let path = fs::read_link(entry.path().join("exe")).doing("find a program")?;
            return Ok((status, path.display().to_string()));
        }
    }
    Err(Failure::new(format!(
        "no process of {program} serves '{id}'"
    )))
}
