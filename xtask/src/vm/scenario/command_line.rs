//! The same machine with another kernel command line: not what was approved.

use serde_json::Value;

use super::{BOOT_PCRS, Lab, Scenario, must_refuse};
use crate::step::{Failed, Outcome};
use crate::vm::disk::GRUB;
use crate::vm::report::Report;

/// What the guest does.
const SCRIPT: &str = include_str!("command_line.sh");
/// Where the command line is changed.
const BEFORE: &str = " quiet ";
/// What it becomes: a host without AppArmor.
const AFTER: &str = " quiet apparmor=0 ";
/// PCRs into which grub measures its settings: the command line, and the file.
const GRUB_PCRS: [u32; 2] = [8, 9];

/// Boots the enrolled machine with other boot loader settings.
pub(super) fn run(lab: &Lab, report: &mut Report) -> Outcome {
    let this = Scenario::CommandLine;
    let first = lab.results(Scenario::Trusted);
    let changed = GRUB.replace(BEFORE, AFTER);
    if changed == GRUB {
        let missing = format!("grub.cfg has no '{BEFORE}' to change");
        return Err(Failed::Missing(missing));
    }
    lab.prepare(this, SCRIPT, &[])?;
    lab.machine.set_grub(&changed)?;
    let results = lab.machine.boot(&lab.folder(this), 1)?;

    let line = results.text("cmdline.txt");
    report.check(
        this,
        "the machine boots, Secure Boot or not: nobody signs a command line",
        line.contains(AFTER.trim()),
        &line,
    );
    let (before, now) = (first.pcrs(&BOOT_PCRS), results.pcrs(&BOOT_PCRS));
    let moved: Vec<u32> = (before.iter().zip(&now))
        .filter_map(|(before, now)| (before != now).then_some(now.0))
        .collect();
    report.check(
        this,
        "it shows in PCRs 8 and 9 and in no other of the boot chain",
        moved == GRUB_PCRS,
        &format!("{moved:?}"),
    );
    let attest = results.step("attest");
    let reply = attest.json();
    let findings = reply.get("findings").cloned().unwrap_or_default();
    report.check(
        this,
        "the host is attested as contraindicated, and the TPM signs no verdict",
        attest.code == Some(1)
            && reply
                .get("status")
                .is_some_and(|tier| tier == "contraindicated")
            && reply.get("verdict").is_some_and(Value::is_null),
        &attest.summary(),
    );
    report.check(
        this,
        "the finding names the event: the command line, as it is now",
        named(&findings),
        &findings.to_string(),
    );
    must_refuse(
        report,
        this,
        "nothing starts",
        (&results.step("start"), "verdict-withheld"),
    );
    let status = results.step("status").json();
    let latch = status.pointer("/latch/failure/code");
    report.check(
        this,
        "the failure stands from now on",
        latch.is_some_and(|code| code == "event-unexpected"),
        &status.get("latch").cloned().unwrap_or_default().to_string(),
    );
    Ok(())
}

/// Whether a finding is about an event that no rule allows, and shows the new command line.
fn named(findings: &Value) -> bool {
    let mut findings = findings.as_array().into_iter().flatten();
    findings.any(|finding| {
        finding
            .get("code")
            .is_some_and(|code| code == "event-unexpected")
            && finding.to_string().contains(AFTER.trim())
    })
}
