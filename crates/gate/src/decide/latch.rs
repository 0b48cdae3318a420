//! Whether an earlier failure of this host still stands.

use portcullis_attestation::verdict::HostVerdict;

use crate::{Code, Refusal, quote};

/// The failure that the verdict tells of. It refuses whatever the trust vector says: the
/// vector is about now, the failure is about what may have happened since.
pub(super) fn refusal(node: &str, verdict: &HostVerdict) -> Option<Refusal> {
    let latched = verdict.latched.as_ref()?;
    Some(Refusal::new(
        Code::VerdictLatched,
        format!("attestation of node {}", quote(node)),
        "no failure that stands",
        format!(
            "[{}] {}, since {}",
            latched.code.escape_debug(),
            latched.subject.escape_debug(),
            latched.since_s
        ),
    ))
}
