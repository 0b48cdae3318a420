use super::*;
use crate::fakes::{FakeTpm, sized};
use proptest::prelude::*;

fn refusal(bytes: &[u8]) -> String {
    AkPublic::parse(bytes)
        .expect_err("must be refused")
        .to_string()
}

#[test]
fn an_ak_is_decoded() {
    let tpm = FakeTpm::new(4);
    let ak = AkPublic::parse(&tpm.ak_public()).expect("an AK");
    assert_eq!(ak.key(), tpm.ak.public());
    assert!(ak.name().to_string().starts_with("000b"));
}

#[test]
fn a_key_that_could_leave_the_tpm_or_sign_anything_is_refused() {
    let tpm = FakeTpm::new(4);
    for bit in [1, 4, 5, 16, 18] {
        let line = refusal(&tpm.ak_public_with(0x0005_0072 & !(1 << bit)));
        assert!(
            line.starts_with("cannot accept objectAttributes of TPMT_PUBLIC"),
            "{line}"
        );
    }
    refusal(&tpm.ak_public_with(0x0005_0072 | 1 << 17));
    refusal(&tpm.ak_public_with(0));
    AkPublic::parse(&tpm.ak_public_with(0x0005_0072 | 1 << 10)).expect("noDA is allowed");
}

#[test]
fn every_parameter_is_fixed() {
    let whole = FakeTpm::new(4).ak_public();
    // Offsets with the two bytes of size: type, nameAlg, symmetric, scheme, hash, curve, kdf.
    for (place, field) in [
        (3, "type"),
        (5, "nameAlg"),
        (13, "symmetric"),
        (15, "scheme"),
        (17, "scheme.hashAlg"),
        (19, "curveID"),
        (21, "kdf"),
    ] {
        let mut other = whole.clone();
        other[place] ^= 0x01;
        let line = refusal(&other);
        assert!(
            line.starts_with(&format!("cannot accept {field} of TPMT_PUBLIC")),
            "{line}"
        );
    }
}

#[test]
fn a_point_off_the_curve_is_refused() {
    let mut other = FakeTpm::new(4).ak_public();
    let last = other.len() - 1;
    other[last] ^= 1;
    assert!(refusal(&other).contains("unique"));
}

#[test]
fn nothing_may_be_missing_and_nothing_may_follow() {
    let whole = FakeTpm::new(4).ak_public();
    for length in 0..whole.len() {
        refusal(&whole[..length]);
    }
    assert_eq!(
        refusal(&[&whole[..], &[0]].concat()),
        "cannot accept 1 bytes after TPM2B_PUBLIC"
    );
    let inside = sized(&[&whole[2..], &[0]].concat());
    assert_eq!(refusal(&inside), "cannot accept 1 bytes after TPMT_PUBLIC");
}

#[test]
fn the_name_covers_every_byte() {
    let tpm = FakeTpm::new(4);
    let plain = AkPublic::parse(&tpm.ak_public()).expect("an AK");
    let no_da = AkPublic::parse(&tpm.ak_public_with(0x0005_0472)).expect("an AK");
    assert_eq!(plain.key(), no_da.key());
    assert_ne!(plain.name(), no_da.name());
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..128)) {
        prop_assert!(AkPublic::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_byte_is_refused_or_gives_another_name(place in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let whole = FakeTpm::new(4).ak_public();
        let mut other = whole.clone();
        other[place.index(whole.len())] = byte;
        prop_assume!(other != whole);
        if let Ok(ak) = AkPublic::parse(&other) {
            let original = AkPublic::parse(&whole).expect("an AK");
            prop_assert_ne!(ak.name(), original.name());
        }
    }
}
