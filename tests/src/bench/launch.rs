//! One launch after the other, and what the gate and the hardening each add to one.

use std::process::Command;
use std::time::Instant;

use super::measure::{Measure, in_turn, since};
use super::task::{self, Launchable, Launched};
use super::{Bench, SETTINGS, ledger};
use crate::failure::{Doing, Failure, Outcome};
use crate::image;

/// What [`steps`] measures.
pub(super) const STEPS: [&str; 7] = [
    "create and start",
    "create",
    "start",
    "create and start, audit mode",
    "added by hardening to create and start",
    "added by profile 'restricted' over 'baseline'",
    "request to ledger record",
];
/// What [`whole`] measures.
pub(super) const WHOLE: [&str; 1] = ["'ctr run --rm true'"];
/// What [`exec`] measures.
pub(super) const EXEC: [&str; 3] = [
    "exec of 'true', to its end",
    "added by the live reading to an exec",
    "'ctr task exec true'",
];

/// Settings of the three ways in which our shim is measured, beside the peer, which is first.
const WAYS: [(&str, &str); 4] = [
    ("peer", ""),
    ("audit", "mode = \"audit\"\n"),
    ("baseline", "[profile]\ndefault = \"baseline\"\n"),
    ("restricted", "[profile]\ndefault = \"restricted\"\n"),
];
/// Settings of the two ways to gate an exec, beside the peer, which is first.
const GATES: [&str; 3] = [
    "",
    "[exec]\ngate = \"full\"\n",
    "[exec]\ngate = \"fresh\"\n",
];

/// Create and Start, without `ctr` in between.
pub(super) fn steps(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let [ours, peer] = bench.sides();
    let mut subjects = Vec::new();
    for (way, _) in WAYS {
        let side = if way == "peer" { peer } else { ours };
        subjects.extend(task::prepare(bench.node, side, &format!("steps-{way}"), 1)?);
    }
    let ledger = ledger::Place::now()?;
    let taken: Outcome<[Vec<Launched>; 4]> = in_turn(bench.runs, |way, _| {
        bench.node.set(SETTINGS, WAYS[way].1)?;
        let launched = subjects[way].launch()?;
        subjects[way].end()?;
        Ok(launched)
    });
    bench.node.unset(SETTINGS)?;
    let [peer, audit, baseline, restricted] = taken?;
    // The first did not count.
    let recorded = ledger.creates(&subjects[3].id)?.split_off(1);
    task::discard(&subjects)?;

    let both = |all: &[Launched]| all.iter().map(|one| one.create + one.start).collect();
    let create = |all: &[Launched]| all.iter().map(|one| one.create).collect();
    let start = |all: &[Launched]| all.iter().map(|one| one.start).collect();
    let (whole, audited): (Vec<f64>, Vec<f64>) = (both(&restricted), both(&audit));
    let loose: Vec<f64> = both(&baseline);
    Ok(vec![
        Measure::beside(STEPS[0], "ms", whole.clone(), both(&peer)),
        Measure::beside(STEPS[1], "ms", create(&restricted), create(&peer)),
        Measure::beside(STEPS[2], "ms", start(&restricted), start(&peer)),
        Measure::beside(STEPS[3], "ms", audited.clone(), both(&peer)),
        Measure::added(STEPS[4], "ms", &whole, &audited),
        Measure::added(STEPS[5], "ms", &whole, &loose),
        Measure::alone(STEPS[6], "ms", recorded),
    ])
}

/// `ctr run --rm … true`.
pub(super) fn whole(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let sides = bench.sides();
    let [ours, peer] = in_turn(bench.runs, |side, round| {
        let runtime = sides[side].runtime.as_str();
        let id = format!("run-{round}");
        let run = [
            "run",
            "--rm",
            "--runtime",
            runtime,
            image::BUSYBOX,
            &id,
            "true",
        ];
        timed(bench.node.containerd.ctr(&run))
    })?;
    Ok(vec![Measure::beside(WHOLE[0], "ms", ours, peer)])
}

/// A further process in a running container.
pub(super) fn exec(bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
    let mut subjects: Vec<Launchable> = Vec::new();
    for side in bench.sides() {
        subjects.extend(task::prepare(bench.node, side, "exec", 1)?);
    }
    for subject in &subjects {
        subject.launch()?;
    }
    let (ours, peer) = (&subjects[0], &subjects[1]);
    let taken = in_turn(bench.runs, |gate, round| {
        bench.node.set(SETTINGS, GATES[gate])?;
        let subject = if gate == 0 { peer } else { ours };
        subject.exec(&format!("e-{gate}-{round}"))
    });
    bench.node.unset(SETTINGS)?;
    let [by_peer, full, fresh] = taken?;
    let by_ctr = in_turn(bench.runs, |side, round| {
        let id = format!("c-{round}");
        let exec = ["task", "exec", "--exec-id", &id, &subjects[side].id, "true"];
        timed(bench.node.containerd.ctr(&exec))
    });
    let [ours_by_ctr, peer_by_ctr] = by_ctr?;
    for subject in &subjects {
        subject.end()?;
    }
    task::discard(&subjects)?;
    Ok(vec![
        Measure::beside(EXEC[0], "ms", full.clone(), by_peer),
        Measure::added(EXEC[1], "ms", &full, &fresh),
        Measure::beside(EXEC[2], "ms", ours_by_ctr, peer_by_ctr),
    ])
}

/// Runs to the end without looking in between, as the harness elsewhere does at intervals.
fn timed(mut command: Command) -> Outcome<f64> {
    let begun = Instant::now();
    let output = command.output().doing("run ctr")?;
    let took = since(begun);
    if output.status.success() {
        return Ok(took);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(format!(
        "{} ended with {}: {}",
        crate::run::line_of(&command),
        output.status,
        said.trim()
    )))
}
