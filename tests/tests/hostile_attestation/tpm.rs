//! Cases in which the TPM does not serve.

use std::net::{Ipv4Addr, TcpStream};
use std::time::Duration;

use portcullis_tests::carrier::Carrier;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::refusal::Refusal;
use portcullis_tests::tpm_proxy::{TpmProxy, Wire};

use super::table::{Case, Scene, nothing};

/// The drop-in that says how the TPM is reached.
const TPM: &str = "10-tpm";

/// What the TPM does.
pub(crate) const CASES: &[Case] = &[
    Case {
        name: "TPM hung (its process stopped)",
        expected: "undecided [tpm-timeout]",
        attack: |scene| {
            scene.node.tpm.freeze().doing("stop the TPM")?;
            let refused = scene.node.refuses(&[]);
            scene.node.tpm.thaw().doing("let the TPM go on")?;
            refused
        },
        mend: nothing,
    },
    Case {
        name: "TPM held by another client",
        expected: "undecided [tpm-timeout]",
        attack: |scene| {
            let held = TcpStream::connect((Ipv4Addr::LOCALHOST, scene.node.tpm.port()));
            let held = held.doing("connect to the TPM")?;
            let refused = scene.node.refuses(&[]);
            drop(held);
            refused
        },
        mend: nothing,
    },
    Case {
        name: "TPM busy with a command of 3 s",
        expected: "undecided [tpm-timeout]",
        attack: |scene| over(scene, Wire::Slow(Duration::from_secs(3))),
        mend: nothing,
    },
    Case {
        name: "TPM answer broken off",
        expected: "undecided [tpm-unreachable]",
        attack: |scene| over(scene, Wire::BreaksOff(20)),
        mend: nothing,
    },
    Case {
        name: "TPM answer truncated",
        expected: "undecided [tpm-error]",
        attack: |scene| over(scene, Wire::Shortens(20)),
        mend: nothing,
    },
    Case {
        name: "TPM in failure mode",
        expected: "undecided [tpm-error]",
        attack: |scene| over(scene, Wire::Answers(0x101)),
        mend: nothing,
    },
    Case {
        name: "TPM gone",
        expected: "undecided [tpm-unreachable]",
        attack: |scene| {
            scene.node.tpm.kill().doing("kill the TPM")?;
            let refused = scene.node.refuses(&[]);
            scene.node.tpm.start_again().doing("start the TPM again")?;
            refused
        },
        mend: |scene| scene.node.attest(),
    },
];

/// Puts a wire between agent and TPM, tries while it is like `wire`, and takes it away again.
fn over(scene: &mut Scene, wire: Wire) -> Outcome<Refusal> {
    let proxy = TpmProxy::start(&scene.node.tpm)?;
    reach(scene, &proxy.tcti())?;
    scene.node.starts()?;
    proxy.be(wire);
    let refused = scene.node.refuses(&[]);
    proxy.be(Wire::Sound);
    let back = scene.node.tpm.tcti();
    reach(scene, &back)?;
    refused
}

/// Restarts the agent with another way to the TPM.
fn reach(scene: &mut Scene, tcti: &str) -> Outcome {
    drop(scene.carrier.take());
    scene.node.stop_agent()?;
    scene
        .node
        .set(TPM, &format!("[agent]\ntcti = \"{tcti}\"\n"))?;
    scene.node.start_agent()?;
    scene.node.attest()?;
    scene.carrier = Some(Carrier::start()?);
    Ok(())
}
