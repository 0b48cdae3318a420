//! Whether the verdict is the one that the TPM still remembers.

use portcullis_attestation::hex;
use sha2::{Digest as _, Sha256};

use crate::snapshot::LiveState;
use crate::{Code, LaunchPolicy, Refusal, quote};

/// Compares the boot fuse with the verdict; `None` if it holds.
///
/// The fuse is an NV index that every start of the TPM empties, and into which the agent writes
/// the hash of each verdict it issues. A host without one passes unless the policy asks for it.
pub(super) fn refusal(
    policy: &LaunchPolicy,
    node: &str,
    token: &str,
    live: &LiveState,
) -> Option<Refusal> {
    let expected: [u8; 32] = Sha256::digest(token.as_bytes()).into();
    let found = match live.boot_fuse.as_deref() {
        None if !policy.boot_fuse => return None,
        Some(found) if found == expected => return None,
        None => "no such NV index".to_owned(),
        Some([]) => "nothing: the TPM was restarted, or never written to".to_owned(),
        Some(other) => hex::encode(other),
    };
    Some(Refusal::new(
        Code::BootFuseBlown,
        format!("boot fuse of node {}", quote(node)),
        format!("{} of the verdict", hex::encode(&expected)),
        found,
    ))
}
