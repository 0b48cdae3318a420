//! Policy digests of a TPM, computed without one.
//!
//! All with SHA-256, and each for a session that began with an empty policy. What a TPM computes
//! for the same commands is held against these in `tests/tests/verdict_key.rs`.
//!
//! # Source
//!
//! TPM 2.0 Library, part 3, "TPM2_PolicyPCR", "TPM2_PolicyAuthorize" and "TPM2_PolicyOR"; part 1,
//! "Policy Digest".

use sha2::{Digest as _, Sha256};

use crate::jwk::PublicKey;
use crate::pcr::{HashAlg, PcrValues};
use crate::tpm_name::TpmName;

/// `TPM_CC_PolicyAuthorize`.
const POLICY_AUTHORIZE: u32 = 0x0000_016a;
/// `TPM_CC_PolicyOR`.
const POLICY_OR: u32 = 0x0000_0171;
/// `TPM_CC_PolicyPCR`.
const POLICY_PCR: u32 = 0x0000_017f;
/// The policy of a session on which no policy command has run.
const EMPTY: [u8; 32] = [0; 32];
/// `sign` and `userWithAuth`: the least with which a TPM loads a public key to verify with.
const VERIFYING_KEY_ATTRIBUTES: u32 = 0x0004_0040;

/// A policy that asks for these PCR values.
///
/// `None` without a value, because such a policy holds on every host; and for SHA-1, whose values
/// prove nothing.
#[must_use]
pub fn pcr(values: &PcrValues) -> Option<[u8; 32]> {
    let selection = values.selection();
    if selection.is_empty() || selection.bank() == HashAlg::Sha1 {
        return None;
    }
    // TPML_PCR_SELECTION of one bank, with a bitmap of three bytes.
    let mut hash = begin(POLICY_PCR);
    hash.update(1_u32.to_be_bytes());
    hash.update(selection.bank().tpm_id().to_be_bytes());
    hash.update([3]);
    hash.update(selection.bitmap());
    hash.update(values.digest());
    Some(hash.finalize().into())
}

/// A policy that asks for whatever policy `signer` has approved for `policy_ref`.
#[must_use]
pub fn authorize(signer: &TpmName, policy_ref: &[u8]) -> [u8; 32] {
    let mut hash = begin(POLICY_AUTHORIZE);
    hash.update(signer.as_bytes());
    let by_signer = hash.finalize();
    Sha256::new()
        .chain_update(by_signer)
        .chain_update(policy_ref)
        .finalize()
        .into()
}

/// A policy that asks for one of `branches`; a TPM takes two to eight.
#[must_use]
pub fn or(branches: &[[u8; 32]]) -> [u8; 32] {
    let mut hash = begin(POLICY_OR);
    for branch in branches {
        hash.update(branch);
    }
    hash.finalize().into()
}

/// The TPM name under which `key` is loaded to verify ECDSA signatures over SHA-256.
#[must_use]
pub fn verifying_key_name(key: &PublicKey) -> TpmName {
    // TPMT_PUBLIC: ECC, name by SHA-256, no policy; no symmetric algorithm, ECDSA with SHA-256 on
    // P-256, no key derivation; the point.
    let mut area = vec![0x00, 0x23, 0x00, 0x0b];
    area.extend(VERIFYING_KEY_ATTRIBUTES.to_be_bytes());
    area.extend([0x00, 0x00]);
    area.extend([0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]);
    for coordinate in [key.x(), key.y()] {
        area.extend([0x00, 0x20]);
        area.extend(coordinate);
    }
    TpmName::of_sha256(&area)
}

/// `H(old policy ‖ command code ‖ …)`, up to the command's own parameters.
fn begin(command_code: u32) -> Sha256 {
    Sha256::new()
        .chain_update(EMPTY)
        .chain_update(command_code.to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hex;
    use crate::pcr::PcrIndex;

    fn values(bank: HashAlg, indices: &[u8]) -> PcrValues {
        let mut values = PcrValues::new(bank);
        for index in indices {
            let pcr = PcrIndex::new(*index).expect("0 to 23");
            let value = vec![0; bank.digest_bytes()];
            values.insert(pcr, value).expect("a digest");
        }
        values
    }

    #[test]
    fn no_value_makes_no_policy() {
        for bank in HashAlg::ALL {
            assert_eq!(pcr(&PcrValues::new(bank)), None);
        }
        assert_eq!(pcr(&values(HashAlg::Sha1, &[0, 7])), None);
    }

    #[test]
    fn a_policy_depends_on_bank_selection_and_value() {
        let one = pcr(&values(HashAlg::Sha256, &[7])).expect("a policy");
        assert_ne!(pcr(&values(HashAlg::Sha256, &[8])), Some(one));
        assert_ne!(pcr(&values(HashAlg::Sha256, &[7, 8])), Some(one));
        assert_ne!(pcr(&values(HashAlg::Sha384, &[7])), Some(one));
        let mut other = PcrValues::new(HashAlg::Sha256);
        let seven = PcrIndex::new(7).expect("0 to 23");
        other.insert(seven, vec![1; 32]).expect("a digest");
        assert_ne!(pcr(&other), Some(one));
    }

    /// As `tpm2_policypcr -l sha256:0,7` printed it on a fresh swtpm, whose PCRs are zero.
    #[test]
    fn equals_what_a_tpm_computed() {
        let policy = pcr(&values(HashAlg::Sha256, &[0, 7])).expect("a policy");
        assert_eq!(
            hex::encode(&policy),
            "02e3642b3e29eeccfffd8031c00a6f0a0febe5ceea2f6ef6b0322fe81598cf31"
        );
    }
}
