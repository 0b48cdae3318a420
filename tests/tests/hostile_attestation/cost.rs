//! What a launch asks of the TPM: readings, and nothing that a chip takes long for.

use std::collections::BTreeSet;

use portcullis_tests::failure::Outcome;
use portcullis_tests::node::Node;
use portcullis_tests::tpm_proxy::TpmProxy;
use portcullis_tests::world::{World, measured};

/// Drop-in of this test: the wire to the TPM, and no anchor of the ledger meanwhile, which the agent
/// writes beside launches.
const SETTINGS: &str = "20-cost";
/// Launches, one after the other.
const LAUNCHES: usize = 5;
/// `TPM2_NV_Read`, `TPM2_NV_ReadPublic`, `TPM2_PCR_Read` and `TPM2_ReadClock`: TPM 2.0 Library part 2,
/// 6.5.2. No session is started, no key loaded and nothing signed.
const READINGS: [u32; 4] = [0x14e, 0x169, 0x17e, 0x181];
/// As `docs/design.md` says of one reading.
const COMMANDS_AT_MOST: usize = 6;

/// Watches the wire while containers start on a trusted host.
pub(crate) fn play(world: &World) -> Outcome {
    let mut node = Node::provision(world)?;
    let proxy = TpmProxy::start(&node.tpm)?;
    node.stop_agent()?;
    let settings = format!(
        "[agent]\ntcti = \"{}\"\nledger_anchor_interval = \"24h\"\n",
        proxy.tcti()
    );
    node.set(SETTINGS, &settings)?;
    node.start_agent()?;
    node.attest()?;
    node.starts()?;

    let before = proxy.commands();
    for _ in 0..LAUNCHES {
        node.starts()?;
    }
    let codes = proxy.codes_after(before);
    let kinds: BTreeSet<u32> = codes.iter().copied().collect();
    measured(&format!(
        "{LAUNCHES} launches, Create and Start: {} TPM commands, of kinds {kinds:x?}",
        codes.len()
    ));
    assert!(!codes.is_empty(), "no launch without a reading");
    assert!(
        kinds.iter().all(|code| READINGS.contains(code)),
        "{codes:x?}"
    );
    assert!(
        codes.len() <= LAUNCHES * 2 * COMMANDS_AT_MOST,
        "{}",
        codes.len()
    );
    node.finish()
}
