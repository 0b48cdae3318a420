use super::*;
use crate::fakes::{FakeTpm, tpmt_signature};
use proptest::prelude::*;

fn quote() -> Vec<u8> {
    FakeTpm::new(1).quote_message(&[7; 32])
}

fn refusal(message: &[u8]) -> String {
    Attest::parse(message)
        .expect_err("must be refused")
        .to_string()
}

/// The quote with `bytes` put at `place`.
fn patched(place: usize, bytes: &[u8]) -> Vec<u8> {
    let mut message = quote();
    message[place..place + bytes.len()].copy_from_slice(bytes);
    message
}

/// Offset of the clock block: magic, type, name of 34 bytes and extra data of 32, with sizes.
const CLOCK: usize = 4 + 2 + 36 + 34;
/// Offset of the PCR selection: clock block of 17 bytes and firmware version after it.
const SELECTION: usize = CLOCK + 17 + 8;

#[test]
fn a_quote_is_decoded() {
    let tpm = FakeTpm::new(1);
    let attest = Attest::parse(&quote()).expect("a quote");
    assert_eq!(attest.extra_data, [7; 32]);
    assert_eq!(attest.clock, tpm.clock);
    assert_eq!(attest.firmware_version, 0x2019_1023_0016_3636);
    let Attested::Quote(quote) = attest.attested else {
        panic!("a quote")
    };
    assert_eq!(quote.selection, tpm.pcrs.selection());
    assert_eq!(quote.pcr_digest, tpm.pcrs.digest());
}

#[test]
fn nv_contents_are_decoded() {
    let slot = FakeTpm::new(1).tag_slot(&[9; 48], &[7; 32]);
    let attest = Attest::parse(&slot.certificate.message).expect("NV contents");
    let Attested::Nv(nv) = attest.attested else {
        panic!("NV contents")
    };
    assert_eq!((nv.offset, nv.contents), (0, vec![9; 48]));
}

#[test]
fn each_field_that_is_wrong_is_named() {
    for (place, bytes, expected) in [
        (
            0,
            &[0][..],
            "magic of TPMS_ATTEST: expected TPM_GENERATED_VALUE, found 0x00544347",
        ),
        (
            4,
            &[0x80, 0x17],
            "type of TPMS_ATTEST: expected a quote or NV contents, found 0x8017",
        ),
        (
            6,
            &[0, 67],
            "qualifiedSigner of TPMS_ATTEST: expected a smaller size, found 67 bytes",
        ),
        (
            42,
            &[0xff, 0xff],
            "extraData of TPMS_ATTEST: expected a smaller size, found 65535 bytes",
        ),
        (
            CLOCK + 16,
            &[2],
            "safe of TPMS_ATTEST: expected 0 or 1, found 2",
        ),
        (
            SELECTION,
            &[0, 0, 0, 2],
            "pcrSelect.count of TPMS_ATTEST: expected one bank, found 2",
        ),
        (
            SELECTION,
            &[0, 0, 0, 0],
            "pcrSelect.count of TPMS_ATTEST: expected one bank, found 0",
        ),
        (SELECTION + 4, &[0, 0x12], "pcrSelect.hash of TPMS_ATTEST"),
        (
            SELECTION + 6,
            &[200],
            "cannot read pcrSelect.pcrSelect of TPMS_ATTEST",
        ),
        (SELECTION + 10, &[0, 33], "pcrDigest of TPMS_ATTEST"),
        (
            SELECTION + 10,
            &[0, 31],
            "pcrDigest of TPMS_ATTEST: expected 32 bytes, found 31",
        ),
    ] {
        let line = refusal(&patched(place, bytes));
        assert!(line.contains(expected), "{line}");
    }
}

#[test]
fn nothing_may_be_missing_and_nothing_may_follow() {
    let slot = FakeTpm::new(1).tag_slot(&[9; 48], &[7; 32]);
    for whole in [quote(), slot.certificate.message] {
        for length in 0..whole.len() {
            Attest::parse(&whole[..length]).expect_err("cut");
        }
        let longer = [&whole[..], &[0]].concat();
        assert_eq!(refusal(&longer), "cannot accept 1 bytes after TPMS_ATTEST");
    }
}

#[test]
fn a_structure_beyond_4096_bytes_is_refused() {
    let tpm = FakeTpm::new(1);
    let size = |contents: usize| {
        let slot = tpm.tag_slot(&vec![0; contents], &[7; 32]);
        (
            slot.certificate.message.len(),
            Attest::parse(&slot.certificate.message),
        )
    };
    let (around, small) = size(0);
    small.expect("valid");
    let (length, largest) = size(MAX_BYTES - around);
    assert_eq!(length, MAX_BYTES);
    largest.expect("at the limit");
    size(MAX_BYTES - around + 1).1.expect_err("beyond");
}

#[test]
fn the_signature_is_over_the_bytes_as_received() {
    let tpm = FakeTpm::new(1);
    let signed = tpm.signed(quote());
    signed.verify(&tpm.ak()).expect("genuine");

    let foreign = signed.verify(&FakeTpm::new(2).ak());
    assert!(matches!(foreign, Err(AttestError::Signature { .. })));
    let altered = SignedAttest {
        message: patched(50, &[0xff]),
        ..signed.clone()
    };
    assert!(matches!(
        altered.verify(&tpm.ak()),
        Err(AttestError::Signature { .. })
    ));
    let cut = SignedAttest {
        signature: signed.signature[1..].to_vec(),
        ..signed
    };
    assert!(matches!(
        cut.verify(&tpm.ak()),
        Err(AttestError::SignatureFormat(_))
    ));
}

#[test]
fn a_genuine_signature_over_something_else_is_not_decoded() {
    let tpm = FakeTpm::new(1);
    let signed = tpm.signed(b"not of the TPM".to_vec());
    assert!(matches!(
        signed.verify(&tpm.ak()),
        Err(AttestError::Message(_))
    ));
}

#[test]
fn leading_zeros_left_out_of_r_and_s_are_put_back() {
    let [r, s] = [
        [&[0][..], &[1; 31]].concat(),
        [&[0, 0][..], &[2; 30]].concat(),
    ];
    let expected: [u8; 64] = [&r[..], &s].concat().try_into().expect("64 bytes");
    assert_eq!(parse_signature(&tpmt_signature(&r, &s)), Ok(expected));
    assert_eq!(
        parse_signature(&tpmt_signature(&r[1..], &s[2..])),
        Ok(expected)
    );
}

#[test]
fn other_signatures_are_refused() {
    let good = tpmt_signature(&[1; 32], &[2; 32]);
    parse_signature(&good).expect("well formed");
    parse_signature(&tpmt_signature(&[1; 33], &[2; 32])).expect_err("too long");
    parse_signature(&[&good[..], &[0]].concat()).expect_err("longer");
    for (place, byte) in [(1, 0x14), (3, 0x0c), (0, 0xff)] {
        let mut other = good.clone();
        other[place] = byte;
        parse_signature(&other).expect_err("another algorithm");
    }
    for length in 0..good.len() {
        parse_signature(&good[..length]).expect_err("cut");
    }
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Ok(signature) = parse_signature(&bytes) {
            prop_assert_eq!(signature.len(), 64);
        }
        prop_assert!(Attest::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_refused_or_changes_what_is_read(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let whole = quote();
        let mut other = whole.clone();
        other[place.index(whole.len())] = byte;
        prop_assume!(other != whole);
        prop_assert_ne!(Attest::parse(&other), Attest::parse(&whole));
    }
}
