//! What an attestation key signed: quote or certificate, its signature, and the key itself.
#![no_main]

use libfuzzer_sys::fuzz_target;
use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::attest::{Attest, SignedAttest, parse_signature};

/// An attestation key of a recorded boot, whose private half nobody has.
const AK: &[u8] = include_bytes!("../../tests/data/measured-boot/secureboot/ak_ecc.tpmt");

fuzz_target!(|data: &[u8]| {
    if let Ok(attest) = Attest::parse(data) {
        assert!(attest.extra_data.len() <= data.len());
    }
    let _short = parse_signature(data).is_err();
    let _other = AkPublic::parse(data).is_err();
    // One byte says where the message ends.
    let Some((at, rest)) = data.split_first() else {
        return;
    };
    let (message, signature) = rest.split_at(usize::from(*at).min(rest.len()));
    let ak = AkPublic::parse(AK).expect("a recorded key");
    let signed = SignedAttest {
        message: message.to_vec(),
        signature: signature.to_vec(),
    };
    if let Ok(attest) = signed.verify(&ak) {
        // Only a recording itself verifies.
        assert_eq!(Attest::parse(message), Ok(attest));
    }
});
