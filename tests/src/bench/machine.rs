//! What the figures were taken on, without anything that tells one machine from its like.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};

use super::peer::Side;
use crate::failure::Outcome;
use crate::run;

/// `{label: text}`, in the order in which it is to be read.
pub(super) fn describe(peer: &Side) -> Outcome<Value> {
    let processor = file("/proc/cpuinfo");
    let model = after(&processor, "model name").unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = file("/proc/meminfo");
    let memory_kib: f64 = after(&memory, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let system = file("/etc/os-release");
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let load = file("/proc/loadavg");
    Ok(json!([
        ["processor", format!("{model}, {cores} cores")],
        [
            "memory",
            format!("{:.0} GiB", memory_kib / f64::from(1 << 20))
        ],
        [
            "system",
            format!(
                "{}, Linux {}",
                system.unwrap_or("unknown").trim_matches('"'),
                file("/proc/sys/kernel/osrelease").trim()
            )
        ],
        ["containerd", version("containerd", &["--version"])?],
        ["OCI runtime", version("runc", &["--version"])?],
        [
            "TPM",
            format!("{}, over TCP", version("swtpm", &["--version"])?)
        ],
        [
            "peer",
            format!("{} {}", peer.shim, shim_version(&peer.shim)?)
        ],
        [
            "load before the run",
            load.split_whitespace().next().unwrap_or_default()
        ],
    ]))
}

fn file(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The rest of the first line that begins with `label`, after its colon.
fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(label))?;
    line.split_once(':').map(|(_, rest)| rest.trim())
}

/// The first line that a program prints about its version, with its path of source left out.
fn version(program: &str, arguments: &[&str]) -> Outcome<String> {
    let said = run::to_end(Command::new(program).args(arguments))?.success()?;
    Ok(short(&said))
}

/// Samples: `containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3`,
/// `runc version 1.1.5+ds1`, `TPM emulator version 0.7.1, Copyright (c) 2014-2021 IBM Corp.`.
fn short(said: &str) -> String {
    let line = said.lines().next().unwrap_or_default();
    let line = line.split(',').next().unwrap_or_default();
    let words = line.split_whitespace().filter(|word| !word.contains('/'));
    words.take(4).collect::<Vec<_>>().join(" ")
}

/// Sample: `  Version:  1.6.20~ds1`.
fn shim_version(shim: &str) -> Outcome<String> {
    let said = run::to_end(Command::new(shim).arg("-v"))?.success()?;
    let version = said
        .lines()
        .find_map(|line| line.trim().strip_prefix("Version:"));
    Ok(version.unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::short;

    #[test]
    fn versions_are_short() {
        assert_eq!(
            short("containerd github.com/containerd/containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3\n"),
            "containerd 1.6.20~ds1 1.6.20~ds1-1+deb12u3"
        );
        assert_eq!(
            short("TPM emulator version 0.7.1, Copyright (c) 2014-2021 IBM Corp."),
            "TPM emulator version 0.7.1"
        );
    }
}
