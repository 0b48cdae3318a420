//! The asset tag's two NV indices: what they must be, so that their names alone say who may write.
//!
//! The *slot* holds the digest of the tag document. Its policy is PolicySigned by the tag
//! authority, so the TPM refuses every write that the authority did not sign, also those of the
//! owner. The owner can still remove the index and define another one there; that one has another
//! name, or it is defined with the same policy and then only the authority can write it.
//!
//! The *counter* goes up by one with every tag. A TPM never lets a counter fall, not even by
//! removing and defining it again, so a tag that names a lower number is an old one.
//!
//! # Source
//!
//! TPM 2.0 Library, part 1, "NV Memory" and "Names"; part 3, "TPM2_PolicySigned".

use sha2::{Digest as _, Sha256};

use super::{DIGEST_BYTES, NV_INDEX};
use crate::jwk::PublicKey;
use crate::tpm_name::TpmName;
use crate::ueid::Ueid;

/// NV index of the tag counter.
pub const COUNTER_INDEX: u32 = 0x018d_0c04;
/// Size of the counter in bytes.
pub const COUNTER_BYTES: usize = 8;
/// Attributes of the slot before its first write: policywrite, ownerread, authread, `no_da`. Its
/// authorization value is empty, so everybody may read it without a session.
pub const SLOT_ATTRIBUTES: u32 = 0x0206_0008;
/// Attributes of the counter before its first increment: authwrite, counter, ownerread, authread,
/// `no_da`. Whoever reaches the TPM may count on, which makes the tag invalid: whoever does could
/// extend a PCR just as well.
pub const COUNTER_ATTRIBUTES: u32 = 0x0206_0014;

/// TPMA_NV_WRITTEN: the TPM sets it at the first write.
const WRITTEN: u32 = 1 << 29;
/// TPM_ALG_SHA256.
const SHA256: u16 = 0x000b;
/// TPM_CC_PolicySigned.
const POLICY_SIGNED: u32 = 0x0000_0160;
/// Sets the reference of this policy apart from every other.
const LABEL: &[u8] = b"portcullis-tag-v1";

/// Public area (TPMT_PUBLIC) under which a TPM loads the tag authority's key.
#[must_use]
pub fn authority_public(authority: &PublicKey) -> Vec<u8> {
    let mut area = vec![
        0x00, 0x23, // type: ECC
        0x00, 0x0b, // nameAlg: SHA-256
        0x00, 0x04, 0x00, 0x40, // attributes: userWithAuth, sign
        0x00, 0x00, // no policy
        0x00, 0x10, // symmetric: none
        0x00, 0x18, 0x00, 0x0b, // scheme: ECDSA with SHA-256
        0x00, 0x03, // curve: P-256
        0x00, 0x10, // kdf: none
    ];
    for coordinate in [authority.x(), authority.y()] {
        area.extend([0x00, 0x20]);
        area.extend(coordinate);
    }
    area
}

/// The policyRef: it ties policy and signature to one TPM, so that an authorization made for one
/// host opens the slot of no other.
#[must_use]
pub fn policy_ref(subject: &Ueid) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update(LABEL);
    hash.update(subject.as_str());
    hash.finalize().into()
}

/// The slot's authPolicy: `H(H(0³² ‖ TPM_CC_PolicySigned ‖ keyName) ‖ policyRef)`.
#[must_use]
pub fn auth_policy(authority: &PublicKey, subject: &Ueid) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update([0; 32]);
    hash.update(POLICY_SIGNED.to_be_bytes());
    hash.update(name_of(&authority_public(authority)));
    let policy = hash.finalize();
    let mut hash = Sha256::new();
    hash.update(policy);
    hash.update(policy_ref(subject));
    hash.finalize().into()
}

/// The slot's public area (TPMS_NV_PUBLIC) for tags of `authority` about `subject`.
#[must_use]
pub fn public(authority: &PublicKey, subject: &Ueid, written: bool) -> Vec<u8> {
    nv_public(
        NV_INDEX,
        SLOT_ATTRIBUTES,
        written,
        &auth_policy(authority, subject),
        DIGEST_BYTES,
    )
}

/// The counter's public area (TPMS_NV_PUBLIC) once it counts.
#[must_use]
pub fn counter_public() -> Vec<u8> {
    nv_public(COUNTER_INDEX, COUNTER_ATTRIBUTES, true, &[], COUNTER_BYTES)
}

/// Whether `name` is that of a written slot that only `authority` can have written.
#[must_use]
pub fn is_slot_of(name: &TpmName, authority: &PublicKey, subject: &Ueid) -> bool {
    name.as_bytes() == name_of(&public(authority, subject, true))
}

/// Whether `name` is that of a tag counter that counts.
#[must_use]
pub fn is_counter(name: &TpmName) -> bool {
    name.as_bytes() == name_of(&counter_public())
}

/// Name of a public area whose nameAlg is SHA-256.
pub(super) fn name_of(public_area: &[u8]) -> Vec<u8> {
    [&SHA256.to_be_bytes()[..], &Sha256::digest(public_area)].concat()
}

fn nv_public(index: u32, attributes: u32, written: bool, policy: &[u8], size: usize) -> Vec<u8> {
    let attributes = attributes | if written { WRITTEN } else { 0 };
    let mut area = index.to_be_bytes().to_vec();
    area.extend(SHA256.to_be_bytes());
    area.extend(attributes.to_be_bytes());
    // Both are 48 at most.
    area.extend([0, u8::try_from(policy.len()).unwrap_or(u8::MAX)]);
    area.extend(policy);
    area.extend([0, u8::try_from(size).unwrap_or(u8::MAX)]);
    area
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fakes::{FakeKey, sized};
    use crate::hex;
    use crate::nv::NvPublic;

    fn subject() -> Ueid {
        Ueid::of_endorsement_key(b"ek")
    }

    fn name(public: &[u8]) -> TpmName {
        NvPublic::parse(&sized(public))
            .expect("valid")
            .name()
            .clone()
    }

    #[test]
    fn the_name_is_of_one_authority_and_one_tpm() {
        let key = FakeKey::new(1);
        let slot = name(&public(key.public(), &subject(), true));
        assert!(is_slot_of(&slot, key.public(), &subject()));
        let other = Ueid::of_endorsement_key(b"other");
        assert!(!is_slot_of(&slot, key.public(), &other));
        assert!(!is_slot_of(&slot, FakeKey::new(2).public(), &subject()));
        let unwritten = name(&public(key.public(), &subject(), false));
        assert!(!is_slot_of(&unwritten, key.public(), &subject()));
    }

    #[test]
    fn the_areas_are_those_the_tpm_has() {
        let key = FakeKey::new(1);
        let slot = NvPublic::parse(&sized(&public(key.public(), &subject(), true)));
        let slot = slot.expect("valid");
        assert_eq!((slot.index, slot.attributes), (NV_INDEX, 0x2206_0008));
        assert_eq!(slot.size_bytes, 48);
        assert_eq!(
            hex::encode(&counter_public()),
            "018d0c04000b2206001400000008"
        );
        assert!(is_counter(&name(&counter_public())));
        assert!(!is_counter(&name(&public(key.public(), &subject(), true))));
    }
}
