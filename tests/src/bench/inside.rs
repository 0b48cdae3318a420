//! What hardening, and the look at a container before its program runs, take of a launch: by the
//! shim's own clock, as it says in its log when it is asked to.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::Bench;
use super::measure::{Measure, in_turn};
use super::peer::Side;
use super::task;
use crate::failure::{Doing, Failure, Outcome};

/// What is measured.
pub(super) const NAMES: [&str; 2] = [
    "hardening of one configuration",
    "look at a container at its execve",
];

/// Our shim, as a containerd that logs at level `debug` would run it.
const ALOUD: &str = "containerd-shim-portcullisaloud-v1";
/// containerd's name of it.
const RUNTIME: &str = "io.containerd.portcullisaloud.v1";

/// Both, of the same launches.
pub(super) fn steps(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let program = Path::new("/usr/bin").join(ALOUD);
    let script = "#!/bin/sh\nexec containerd-shim-portcullis-v1 -debug \"$@\"\n";
    fs::write(&program, script).doing(format!("write '{}'", program.display()))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).doing("make it a program")?;
    let aloud = Side {
        runtime: RUNTIME.to_owned(),
        shim: ALOUD.to_owned(),
        ..Side::ours()
    };
    let subjects = task::prepare(bench.node, &aloud, "inside", 1)?;
    let subject = subjects
        .first()
        .ok_or_else(|| Failure::new("no container"))?;
    let [_launches] = in_turn(bench.runs, |_, _| {
        subject.launch()?;
        subject.end()
    })?;
    let log = bench.node.containerd.log();
    let id = &subject.id;
    let hardening = took(&log, &format!("hardening of '{id}' took "));
    let look = took(&log, &format!("look at '{id}' at its execve took "));
    task::discard(&subjects)?;
    fs::remove_file(&program).doing(format!("remove '{}'", program.display()))?;
    // The first did not count.
    for said in [&hardening, &look] {
        if said.len() != bench.runs + 1 {
            return Err(Failure::new(format!(
                "of {} launches the shim said what {} took",
                bench.runs + 1,
                said.len()
            )));
        }
    }
    let counted = |said: Vec<f64>| said.into_iter().skip(1).collect();
    Ok(vec![
        Measure::alone(NAMES[0], "ms", counted(hardening)),
        Measure::alone(NAMES[1], "ms", counted(look)),
    ])
}

/// The numbers of microseconds behind `what`, as milliseconds.
fn took(log: &str, what: &str) -> Vec<f64> {
    log.lines()
        .filter_map(|line| {
            let (_, number) = line.split_once(what)?;
            let microseconds: f64 = number.split(' ').next()?.parse().ok()?;
            Some(microseconds / 1000.0)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::took;

    #[test]
    fn reads_what_the_shim_says() {
        let log = "level=debug msg=\"portcullis: look at 'a' at its execve took 812 µs\"\n\
                   level=debug msg=\"portcullis: look at 'b' at its execve took 9 µs\"\n\
                   level=info msg=\"other\"\n";
        assert_eq!(took(log, "look at 'a' at its execve took "), [0.812]);
    }
}
