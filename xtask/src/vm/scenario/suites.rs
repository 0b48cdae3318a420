//! The end-to-end suites in the guest.

use super::{Lab, Scenario};
use crate::matrix::results;
use crate::screen;
use crate::step::Outcome;
use crate::vm::disk::GRUB;
use crate::vm::failures;
use crate::vm::report::Report;
use crate::vm::suites;

/// What the guest does.
const SCRIPT: &str = include_str!("suites.sh");
/// How many times as long as another boot this one may take.
const PATIENCE: u32 = 24;
/// The same with all tests.
const PATIENCE_FOR_ALL: u32 = 120;

/// Boots the machine with the suites on its third disk.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::Suites;
    // An earlier boot may have changed it.
    lab.machine.set_grub(GRUB)?;
    let files = lab.prepare(this, SCRIPT, &[])?;
    suites::pack(&lab.workspace, &lab.product, &lab.suites, &files)?;
    let patience = if lab.suites.all {
        PATIENCE_FOR_ALL
    } else {
        PATIENCE
    };
    let back = lab.machine.boot(&lab.folder(this), patience)?;
    let failed_tests = failures::of(&back.path("failed"))?;
    for failure in &failed_tests {
        screen::say(&failure.text());
    }
    let mut ran = results::Results::default();
    for line in back.text("suites.txt").lines() {
        ran.read(line);
    }
    for (group, passed, failed) in ran.groups() {
        let all = passed + failed.len();
        let reasons: Vec<String> = failed
            .iter()
            .map(|test| failures::reason(&failed_tests, test))
            .collect();
        report.check(
            this,
            &format!("{group}: {all} tests pass"),
            failed.is_empty() && passed > 0,
            &format!("{passed} passed; failed: {}", reasons.join(", ")),
        );
    }
    if ran.is_empty() {
        report.check(this, "tests are run", false, "none was");
    }
    Ok(())
}
