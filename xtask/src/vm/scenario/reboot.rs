//! The same machine once more: trusted again after it has attested, and never by an old verdict.

use std::path::Path;

use super::{BOOT_PCRS, Lab, Scenario, must_refuse, must_succeed};
use crate::step::Outcome;
use crate::vm::report::Report;

/// What the guest does.
const SCRIPT: &str = include_str!("reboot.sh");

/// Boots the enrolled machine, nothing changed.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::Reboot;
    let first = lab.results(Scenario::Trusted);
    let verdict = first.path("verdict.jwt");
    let files: &[&Path] = if verdict.is_file() { &[&verdict] } else { &[] };
    let results = lab.boot(this, SCRIPT, files)?;

    let (before, now) = (first.pcrs(&BOOT_PCRS), results.pcrs(&BOOT_PCRS));
    let moved: Vec<u32> = (before.iter().zip(&now))
        .filter_map(|(before, now)| (before != now).then_some(now.0))
        .collect();
    report.check(
        this,
        "all PCRs of the boot chain are as at the first boot",
        now.len() == BOOT_PCRS.len() && before.len() == now.len() && moved.is_empty(),
        &format!("{} PCRs, other values in {moved:?}", now.len()),
    );
    must_succeed(
        report,
        this,
        "the agent attests by itself",
        &results.step("attested"),
    );
    let start = results.step("start");
    report.check(
        this,
        "a container starts, with nothing done by the operator",
        start.succeeded() && start.out.trim() == "again",
        &start.summary(),
    );
    let carried = results.step("status").json();
    let sequence = carried.pointer("/verdict/sequence");
    let of_first = first.step("status").json();
    report.check(
        this,
        "an intruder makes the agent carry the verdict of the first boot",
        sequence.is_some() && sequence == of_first.pointer("/verdict/sequence"),
        &carried.to_string(),
    );
    for (name, claim, code) in [
        (
            "replayed",
            "with it nothing starts: a newer one was seen",
            "verdict-replayed",
        ),
        (
            "forgotten",
            "nor when that is forgotten: it is about another boot",
            "host-rebooted",
        ),
    ] {
        must_refuse(report, this, claim, (&results.step(name), code));
    }
    must_succeed(
        report,
        this,
        "attested anew, the host is trusted",
        &results.step("attest"),
    );
    must_succeed(
        report,
        this,
        "and containers start again",
        &results.step("afterwards"),
    );
    Ok(())
}
