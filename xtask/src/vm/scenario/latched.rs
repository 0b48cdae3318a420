//! The approved boot state once more, after one that was not: the failure stands until an operator
//! acts, for to boot the approved state does not undo what ran before.

use super::{BOOT_PCRS, Lab, Scenario, must_refuse, must_succeed};
use crate::step::Outcome;
use crate::vm::report::Report;

/// What the guest does.
const SCRIPT: &str = include_str!("latched.sh");

/// Boots the machine as it was approved.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::Latched;
    let first = lab.results(Scenario::Trusted);
    let results = lab.boot(this, SCRIPT, &[])?;

    let (approved, now) = (first.pcrs(&BOOT_PCRS), results.pcrs(&BOOT_PCRS));
    report.check(
        this,
        "with its own command line back, the machine is in the approved state",
        now.len() == BOOT_PCRS.len() && now == approved,
        &format!("{now:?}"),
    );
    must_refuse(
        report,
        this,
        "and nothing starts: the boot before failed",
        (&results.step("start"), "verdict-latched"),
    );
    let again = results.step("again");
    report.check(
        this,
        "to attest again does not help",
        again.code == Some(1) && again.out.contains("verdict-latched"),
        &again.summary(),
    );
    must_succeed(
        report,
        this,
        "the operator clears the failure",
        &results.step("clear"),
    );
    let start = results.step("afterwards");
    report.check(
        this,
        "and containers start again",
        start.succeeded() && start.out.trim() == "cleared",
        &start.summary(),
    );
    let (noted, verified) = (results.step("ledger"), results.step("verify"));
    report.check(
        this,
        "the ledger of all these boots is whole, and keeps the failure and the reason",
        verified.succeeded() && noted.out.contains("boot loader settings put back by hand"),
        &format!("{}; {}", verified.summary(), noted.summary()),
    );
    Ok(())
}
