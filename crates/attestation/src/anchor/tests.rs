use super::*;
use crate::fakes::{FakeTpm, nv_public};
use crate::hex;

const HEAD: [u8; 32] = [0x5a; 32];
const PURPOSE: Purpose<'static> = Purpose::Anchor {
    head: &HEAD,
    sequence: 41,
};

fn counter_public() -> Vec<u8> {
    nv_public(COUNTER_INDEX, COUNTER_ATTRIBUTES | WRITTEN, 8)
}

fn extend_public() -> Vec<u8> {
    nv_public(EXTEND_INDEX, EXTEND_ATTRIBUTES | WRITTEN, 32)
}

fn certificates(tpm: &FakeTpm, purpose: &Purpose<'_>) -> Certificates {
    let data = purpose.qualifying_data();
    Certificates {
        counter: tpm
            .nv_slot(counter_public(), &7_u64.to_be_bytes(), &data)
            .certificate,
        extend: tpm.nv_slot(extend_public(), &[9; 32], &data).certificate,
    }
}

#[test]
fn both_indices_are_read_out_of_their_certificates() {
    let tpm = FakeTpm::new(1);
    let certified = certificates(&tpm, &PURPOSE)
        .verify(&tpm.ak(), &PURPOSE)
        .expect("genuine");
    assert_eq!((certified.counter, certified.extend), (7, [9; 32]));
    assert_eq!(certified.clock, tpm.clock);
}

#[test]
fn the_names_are_those_of_the_public_areas() {
    for (name, area) in [
        (counter_name(), counter_public()),
        (extend_name(), extend_public()),
    ] {
        let public = NvPublic::parse(&area).expect("valid");
        assert_eq!(name.as_ref(), Some(public.name()));
        assert!(is_ours(&public));
    }
    let foreign = nv_public(COUNTER_INDEX, EXTEND_ATTRIBUTES, 8);
    assert!(!is_ours(&NvPublic::parse(&foreign).expect("valid")));
    let foreign = nv_public(COUNTER_INDEX + 9, COUNTER_ATTRIBUTES, 8);
    assert!(!is_ours(&NvPublic::parse(&foreign).expect("valid")));
}

#[test]
fn a_certificate_for_anything_else_proves_nothing() {
    let tpm = FakeTpm::new(1);
    let good = certificates(&tpm, &PURPOSE);
    let other_head = [0; 32];
    for other in [
        Purpose::Anchor {
            head: &other_head,
            sequence: 41,
        },
        Purpose::Anchor {
            head: &HEAD,
            sequence: 42,
        },
        Purpose::Challenge { nonce: &HEAD },
    ] {
        let refused = good.verify(&tpm.ak(), &other).expect_err("another purpose");
        assert!(
            refused.to_string().contains("head or question"),
            "{refused}"
        );
    }
    let stranger = FakeTpm::new(2);
    assert!(matches!(
        good.verify(&stranger.ak(), &PURPOSE),
        Err(AnchorError::Attest { .. })
    ));
    let swapped = Certificates {
        counter: good.extend,
        extend: good.counter,
    };
    let refused = swapped.verify(&tpm.ak(), &PURPOSE).expect_err("swapped");
    assert!(refused.to_string().contains("expected name"), "{refused}");
}

#[test]
fn an_index_with_other_rights_or_another_size_is_refused() {
    let tpm = FakeTpm::new(1);
    let data = PURPOSE.qualifying_data();
    let good = certificates(&tpm, &PURPOSE);
    // An ordinary index, whose contents the owner can set as he likes.
    let ordinary = nv_public(COUNTER_INDEX, ACCESS | WRITTEN, 8);
    let counter = tpm
        .nv_slot(ordinary, &7_u64.to_be_bytes(), &data)
        .certificate;
    let forged = Certificates {
        counter,
        ..good.clone()
    };
    forged
        .verify(&tpm.ak(), &PURPOSE)
        .expect_err("other rights");
    // A certificate of a part of the contents.
    for contents in [&[9; 31][..], &[9; 33], &[]] {
        let extend = tpm.nv_slot(extend_public(), contents, &data).certificate;
        let forged = Certificates {
            extend,
            ..good.clone()
        };
        let refused = forged.verify(&tpm.ak(), &PURPOSE).expect_err("size");
        assert!(refused.to_string().contains("all 32 bytes"), "{refused}");
    }
}

#[test]
fn a_quote_is_no_certificate() {
    let tpm = FakeTpm::new(1);
    let quote = tpm.signed(tpm.quote_message(&PURPOSE.qualifying_data()));
    let forged = Certificates {
        counter: quote,
        ..certificates(&tpm, &PURPOSE)
    };
    let refused = forged.verify(&tpm.ak(), &PURPOSE).expect_err("a quote");
    assert!(refused.to_string().contains("found a quote"), "{refused}");
}

#[test]
fn extending_is_what_tpm2_nv_extend_does() {
    // printf '%064d%064d' 0 0 | xxd -r -p | sha256sum
    assert_eq!(
        hex::encode(&extended(&[0; 32], &[0; 32])),
        "f5a5fd42d16a20302798ef6ed309979b43003d2320d9f0e8ea9831a92759fb4b"
    );
}
