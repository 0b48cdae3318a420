//! Cases in which the host is no longer what it was when it was attested.

use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::swtpm::PowerCycle;

use super::table::{Case, Scene, attest, reboot};
use super::tokens::{genuine_token, serve};

/// A PCR that the reference values cover and no firmware of a software TPM uses.
const PCR: u32 = 11;

/// What is done to the host.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a PCR extended after the verdict",
        expected: "refused [pcr-drift]",
        attack: |scene| {
            scene
                .node
                .tpm
                .extend(PCR, [0x5a; 32])
                .doing("extend a PCR")?;
            scene.node.refuses(&[])
        },
        mend: reboot,
    },
    Case {
        name: "verdict of an earlier boot",
        expected: "refused [host-rebooted]",
        attack: of_an_earlier_boot,
        mend: attest,
    },
    Case {
        name: "TPM restarted, and its PCRs with it",
        expected: "refused [host-resumed]",
        attack: |scene| cycled(scene, PowerCycle::Restart),
        mend: reboot,
    },
    Case {
        name: "TPM resumed from suspend",
        expected: "refused [host-resumed]",
        attack: |scene| cycled(scene, PowerCycle::Resume),
        mend: attest,
    },
    Case {
        name: "verdict of an earlier run of the agent",
        expected: "refused [verdict-replayed]",
        attack: of_an_earlier_run,
        mend: attest,
    },
];

fn cycled(scene: &mut Scene, cycle: PowerCycle) -> Outcome<Refusal> {
    scene.node.tpm.power_cycle(cycle).doing("restart the TPM")?;
    scene.node.refuses(&[])
}

/// The host is attested anew after a reboot; then the carrier serves what was issued before.
fn of_an_earlier_boot(scene: &mut Scene) -> Outcome<Refusal> {
    let before = genuine_token(scene)?;
    scene.node.reboot_and_attest()?;
    serve(scene, before)
}

/// A launch has seen the verdict of a new run; then the carrier serves that of the run before.
fn of_an_earlier_run(scene: &mut Scene) -> Outcome<Refusal> {
    let before = genuine_token(scene)?;
    scene.without_carrier(|node| {
        node.stop_agent()?;
        node.start_agent()?;
        node.attest()
    })?;
    scene.node.starts()?;
    serve(scene, before)
}
