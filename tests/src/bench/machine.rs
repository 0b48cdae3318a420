//! What the figures were taken on, without anything that tells one machine from its like.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

use super::peer::Side;
use crate::failure::{Failure, Outcome};
use crate::run;

/// How long to look whether others use the machine.
const LOOK: Duration = Duration::from_secs(1);
/// Percent of the processors that may be in use by others.
const QUIET: f64 = 10.0;

/// `[[label, text], …]`, in the order in which it is to be read.
pub(super) fn describe(peer: &Side) -> Outcome<Value> {
    let processor = file("/proc/cpuinfo");
    let model = after(&processor, "model name").unwrap_or("unknown");
    let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = file("/proc/meminfo");
    let memory_kib: f64 = after(&memory, "MemTotal")
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or_default();
    let system = file("/etc/os-release");
    let system = system
        .lines()
        .find_map(|line| line.strip_prefix("PRETTY_NAME="));
    let busy = busy_before()?;
    if busy > QUIET {
        eprintln!("others use {busy:.0} % of this machine: good for trying the bench out only");
    }
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
                // Without what the builder of the kernel has added.
                file("/proc/sys/kernel/osrelease")
                    .trim()
                    .split('-')
                    .next()
                    .unwrap_or_default()
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
            "in use before the run",
            format!("{busy:.0} % of the processors")
        ],
    ]))
}

/// How much of the processors is in use while nothing is measured, in percent.
fn busy_before() -> Outcome<f64> {
    let before = Ticks::of(&file("/proc/stat"))?;
    thread::park_timeout(LOOK);
    let after = Ticks::of(&file("/proc/stat"))?;
    Ok(before.busy_until(after))
}

/// Time of all processors since the system's start.
#[derive(Debug, Clone, Copy)]
struct Ticks {
    all: f64,
    idle: f64,
}

// === impl Ticks ===

impl Ticks {
    /// Sample: `cpu  10132153 290696 3084719 46828483 16683 0 25195 0 175628 0`: user, nice, system,
    /// idle, waiting for a disk, interrupts, soft interrupts, stolen, and two that user has in it.
    fn of(stat: &str) -> Outcome<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "));
        let numbers = line.unwrap_or_default().split_whitespace().take(8);
        let numbers: Vec<f64> = numbers.filter_map(|word| word.parse().ok()).collect();
        match numbers.as_slice() {
            [_, _, _, idle, waiting, ..] => Ok(Self {
                all: numbers.iter().sum(),
                idle: idle + waiting,
            }),
            _ => Err(Failure::new("no line 'cpu' in '/proc/stat'")),
        }
    }

    /// Percent of the time from here to `later` that was not idle.
    fn busy_until(self, later: Self) -> f64 {
        let all = (later.all - self.all).max(1.0);
        100.0 * (1.0 - (later.idle - self.idle) / all).clamp(0.0, 1.0)
    }
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
    use super::{Ticks, short};

    #[test]
    fn what_is_not_idle_is_in_use() {
        let before = Ticks::of("cpu  10 0 10 100 20 0 0 0 5 5\ncpu0 1 1\n").unwrap();
        let after = Ticks::of("cpu  20 0 15 150 30 0 0 5 9 9\n").unwrap();
        assert_eq!(before.busy_until(after), 25.0);
        assert_eq!(before.busy_until(before), 100.0);
        assert!(Ticks::of("intr 1\n").is_err());
    }

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
