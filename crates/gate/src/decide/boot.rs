//! Whether the verdict is about the boot that is running.

use portcullis_attestation::verdict::HostVerdict;

use crate::snapshot::LiveState;
use crate::{Code, Moment, Refusal, quote};

/// Compares boot id and TPM counters with the verdict; `None` if it is the same boot.
///
/// The boot id is compared twice: as the relying party read it, because that reading trusts only
/// the kernel, and as the agent read it, because counters and PCRs come with that one.
pub(super) fn refusal(
    node: &str,
    verdict: &HostVerdict,
    live: &LiveState,
    moment: &Moment,
) -> Option<Refusal> {
    if moment.boot_id.seed() != verdict.boot_seed {
        return Some(Refusal::new(
            Code::HostRebooted,
            format!("boot id of node {}", quote(node)),
            "the one that was attested",
            "another one",
        ));
    }
    live_refusal(node, verdict, live)
}

/// The same of what the agent read alone.
pub(super) fn live_refusal(node: &str, verdict: &HostVerdict, live: &LiveState) -> Option<Refusal> {
    let node = quote(node);
    if live.boot_id.seed() != verdict.boot_seed {
        return Some(Refusal::new(
            Code::HostRebooted,
            format!("boot id of node {node} as the agent read it"),
            "the one that was attested",
            "another one",
        ));
    }
    let counter = |code, name, attested: u32, found: u32| {
        (attested != found).then(|| {
            Refusal::new(
                code,
                format!("TPM of node {node}"),
                format!("{name} {attested} as attested"),
                format!("{name} {found}"),
            )
        })
    };
    counter(
        Code::HostRebooted,
        "reset count",
        verdict.reset_count,
        live.reset_count,
    )
    .or_else(|| {
        counter(
            Code::HostResumed,
            "restart count",
            verdict.restart_count,
            live.restart_count,
        )
    })
}
