//! Figures that the kernel keeps of a process.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::time::clock_getcpuclockid;
use nix::unistd::Pid;

use super::measure::milliseconds;
use crate::failure::{Doing, Failure, Outcome};

/// Processor time of all threads of process `pid` since its start, those that have ended included,
/// in milliseconds. Holds for a process that has ended and was not waited for, too.
pub(super) fn processor_ms(pid: u32) -> Outcome<f64> {
    let clock = clock_getcpuclockid(Pid::from_raw(pid.cast_signed()))
        .doing(format!("find the processor clock of process {pid}"))?;
    let time = clock
        .now()
        .doing(format!("read the processor clock of process {pid}"))?;
    Ok(milliseconds(Duration::from(time)))
}

/// The first process whose program is `program` and that has `word` among its arguments.
pub(super) fn find(program: &str, word: &str) -> Outcome<u32> {
    for entry in fs::read_dir("/proc").doing("list processes")?.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let mut words = line.split(|&byte| byte == 0);
        let path = String::from_utf8_lossy(words.next().unwrap_or_default()).into_owned();
        let named = Path::new(&path)
            .file_name()
            .is_some_and(|name| name == program);
        if named && words.any(|found| found == word.as_bytes()) {
            return Ok(pid);
        }
    }
    Err(Failure::new(format!(
        "no process of '{program}' serves '{word}'"
    )))
}

/// The number in the line `field:` of `text`, as `status` and `smaps_rollup` in `/proc` have it.
pub(super) fn field(text: &str, field: &str) -> Outcome<f64> {
    // Sample: `Anonymous:           312 kB`.
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| Failure::new(format!("no '{field}:' with a number")))
}

#[cfg(test)]
mod tests {
    use super::{field, find, processor_ms};

    #[test]
    fn reads_a_line_of_proc() {
        let text = "Rss:                2944 kB\nAnonymous:           312 kB\n";
        assert_eq!(field(text, "Anonymous").unwrap(), 312.0);
        assert!(field(text, "Anon").is_err());
    }

    #[test]
    fn work_shows_on_the_processor_clock() {
        let this = std::process::id();
        let before = processor_ms(this).unwrap();
        let mut sum = 0_u64;
        while processor_ms(this).unwrap() < before + 2.0 {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        assert!(find("no-such-program", "x").is_err());
    }
}
