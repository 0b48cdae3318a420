//! Cases in which the TPM does not serve.

use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::Duration;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::refusal::Refusal;
use portcullis_tests::tpm_proxy::{TpmProxy, Wire};
use portcullis_tests::tpm_sessions::HeldSessions;
use portcullis_tests::wait::{self, PATIENCE};

use super::table::{Case, Scene, attest, nothing};

/// The drop-in that says how the TPM is reached.
const TPM: &str = "10-tpm";
/// The drop-in with which a verdict is soon too old.
const AGED: &str = "20-aged";
/// Longer than a launch waits for the TPM.
const LONG: Duration = Duration::from_secs(6);

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
        name: "TPM that takes 3 s for a command",
        expected: "undecided [tpm-timeout]",
        attack: |scene| over(scene, Wire::Slow(Duration::from_secs(3))),
        mend: nothing,
    },
    Case {
        name: "TPM busy with a long command of the agent",
        expected: "undecided [tpm-busy]",
        attack: |scene| through(scene, busy_for_the_agent),
        mend: attest,
    },
    Case {
        name: "TPM that asks to be asked again (TPM_RC_RETRY)",
        expected: "undecided [tpm-busy]",
        attack: |scene| over(scene, Wire::Answers(0x922)),
        mend: nothing,
    },
    Case {
        name: "TPM whose sessions are all taken",
        expected: "undecided [tpm-sessions-exhausted]",
        attack: |scene| {
            let held = HeldSessions::take_all(&scene.node.tpm)?;
            let refused = starved(&scene.node);
            held.give_back(&scene.node.tpm)?;
            refused
        },
        mend: attest,
    },
    Case {
        name: "TPM answer broken off",
        expected: "undecided [tpm-unreachable]",
        attack: |scene| over(scene, Wire::BreaksOff(20)),
        mend: nothing,
    },
    Case {
        name: "TPM answer truncated",
        expected: "undecided [tpm-answer-malformed]",
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
        mend: attest,
    },
];

/// Tries while the wire between agent and TPM is like `wire`.
fn over(scene: &mut Scene, wire: Wire) -> Outcome<Refusal> {
    through(scene, |node, proxy| {
        proxy.be(wire);
        node.refuses(&[])
    })
}

/// Puts a wire between agent and TPM, tries, and takes it away again.
fn through(
    scene: &mut Scene,
    attempt: impl FnOnce(&Node, &TpmProxy) -> Outcome<Refusal>,
) -> Outcome<Refusal> {
    let proxy = TpmProxy::start(&scene.node.tpm)?;
    reach(scene, &proxy.tcti())?;
    scene.node.starts()?;
    let refused = attempt(&scene.node, &proxy);
    proxy.be(Wire::Sound);
    let back = scene.node.tpm.tcti();
    reach(scene, &back)?;
    refused
}

/// Tries while the agent attests, and the TPM takes longer for one command than a launch waits.
fn busy_for_the_agent(node: &Node, proxy: &TpmProxy) -> Outcome<Refusal> {
    proxy.be(Wire::Slow(LONG));
    let before = proxy.commands();
    thread::scope(|scope| {
        let attesting = scope.spawn(|| node.portcullis(&["attest"]));
        let begun = wait::until_true("the agent's first command", PATIENCE, || {
            proxy.commands() > before
        });
        let refused = begun.and_then(|()| node.refuses(&[]));
        proxy.be(Wire::Sound);
        // Whether it succeeds depends on its own patience with the TPM.
        let attested = attesting.join();
        attested.map_err(|_panic| Failure::new("an attestation panicked"))??;
        refused
    })
}

/// Launches go on while there is a verdict, for they need no session; its successor is not signed,
/// so they end with it.
fn starved(node: &Node) -> Outcome<Refusal> {
    node.starts()?;
    let attested = node.portcullis(&["attest"])?;
    if attested.status.success() {
        return Err(Failure::new("a verdict was signed without a session"));
    }
    node.starts()?;
    node.let_verdict_expire(AGED)?;
    let refused = node.refuses(&[]);
    node.unset(AGED)?;
    refused
}

/// Restarts the agent with another way to the TPM.
fn reach(scene: &mut Scene, tcti: &str) -> Outcome {
    scene.without_carrier(|node| {
        node.stop_agent()?;
        node.set(TPM, &format!("[agent]\ntcti = \"{tcti}\"\n"))?;
        node.start_agent()?;
        node.attest()
    })
}
