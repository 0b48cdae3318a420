//! The asset tag of the evidence.

use super::*;

/// The tag failed: named, no tags, and the rest of the appraisal is as it was.
fn assert_untagged(appraisal: &Appraisal, expected: &[&str]) {
    assert_eq!(codes(appraisal), expected);
    assert!(appraisal.tags.is_empty());
    assert_eq!(appraisal.status, TrustTier::Affirming);
}

#[test]
fn a_certified_slot_and_its_document_give_tags() {
    let document = document_with(|_| {});
    let appraisal = appraised(&tagged(&document));
    assert_eq!(appraisal.findings, []);
    assert_eq!(
        appraisal.tags,
        [("country".to_owned(), "DE".to_owned())].into()
    );
    let pin = appraisal.state.and_then(|state| state.tag).expect("pinned");
    assert_eq!(pin.digest, tag::digest(&document));
    assert_eq!(pin.nv_index, tag::NV_INDEX);
}

#[test]
fn half_a_tag_is_missing_the_other_half() {
    let document = document_with(|_| {});
    let no_slot = Evidence {
        tag_slot: None,
        ..tagged(&document)
    };
    let appraisal = appraised(&no_slot);
    assert_untagged(&appraisal, &["asset-tag-missing"]);
    assert_eq!(
        appraisal.findings[0].found,
        "index not defined, or never written"
    );

    let no_document = Evidence {
        tag_document: None,
        ..tagged(&document)
    };
    let appraisal = appraised(&no_document);
    assert_untagged(&appraisal, &["asset-tag-missing"]);
    assert!(
        appraisal.state.is_some_and(|state| state.tag.is_some()),
        "still pinned"
    );
}

#[test]
fn a_document_that_is_not_the_one_in_the_tpm_is_tampering() {
    let mut evidence = tagged(&document_with(|_| {}));
    evidence.tag_document = Some(document_with(|document| {
        document.issuer = "https://other".to_owned();
    }));
    assert_untagged(&appraised(&evidence), &["asset-tag-tampered"]);
}

#[test]
fn a_document_about_another_tpm_does_not_count() {
    let document = document_with(|document| document.subject = FakeTpm::new(2).ueid);
    assert_untagged(&appraised(&tagged(&document)), &["asset-tag-mismatch"]);
}

#[test]
fn a_document_by_an_unpinned_key_does_not_count() {
    let document = {
        let good = document_with(|_| {});
        let tag = tag::verify(&good, &FakeKey::new(AUTHORITY).pinned(KeyUse::Tag));
        tag.expect("genuine")
            .sign(&mut FakeKey::new(9))
            .expect("signs")
    };
    assert_untagged(
        &appraised(&tagged(&document)),
        &["asset-tag-signature-invalid"],
    );
    assert_untagged(&appraised(&tagged("x.y.z")), &["asset-tag-malformed"]);
}

#[test]
fn a_document_counts_from_nbf_until_exp() {
    let mut approved = reference(&FakeTpm::new(1));
    approved.values.not_before_s = 0;
    approved.values.expires_s = u64::MAX;
    let evidence = tagged(&document_with(|_| {}));
    for (now_s, accepted) in [(NOW_S - 1, false), (NOW_S, true), (NOW_S + 1, false)] {
        let appraisal = appraise_at(&evidence, &[approved.clone()], now_s);
        assert_eq!(appraisal.tags.is_empty(), !accepted, "{now_s}");
        let expected: &[&str] = if accepted {
            &[]
        } else {
            &["asset-tag-expired"]
        };
        assert_eq!(codes(&appraisal), expected);
    }
}

/// Evidence whose slot was changed after everything was collected.
fn with_slot(change: impl FnOnce(&FakeTpm, &mut TagSlot)) -> Appraisal {
    let tpm = FakeTpm::new(1);
    let mut evidence = tagged(&document_with(|_| {}));
    change(&tpm, evidence.tag_slot.as_mut().expect("a slot"));
    let appraisal = appraised(&evidence);
    assert!(
        appraisal
            .state
            .as_ref()
            .is_some_and(|state| state.tag.is_none()),
        "must not pin"
    );
    appraisal
}

fn extra_data() -> [u8; 32] {
    let evidence = evidence();
    qualifying_data(&NONCE, &evidence.boot_id, &[0; 32])
}

#[test]
fn a_certificate_that_does_not_belong_to_the_quote_is_tampering() {
    let digest = tag::digest(&document_with(|_| {}));
    let other_signer = |tpm: &FakeTpm, slot: &mut TagSlot| {
        let mut message = slot.certificate.message.clone();
        message[20] ^= 1; // inside qualifiedSigner
        slot.certificate = tpm.signed(message);
    };
    let restarted = |tpm: &FakeTpm, slot: &mut TagSlot| {
        let mut later = tpm.clone();
        later.clock.restart_count += 1;
        slot.certificate = later.tag_slot(&digest, &extra_data()).certificate;
    };
    for appraisal in [
        with_slot(|_, slot| {
            slot.certificate = FakeTpm::new(2).tag_slot(&digest, &extra_data()).certificate;
        }),
        with_slot(|tpm, slot| slot.certificate = tpm.tag_slot(&digest, &[0; 32]).certificate),
        with_slot(other_signer),
        with_slot(restarted),
        with_slot(|_, slot| slot.certificate.signature.clear()),
    ] {
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
    }
}

#[test]
fn a_slot_that_is_not_the_certified_one_is_tampering() {
    let digest = tag::digest(&document_with(|_| {}));
    for appraisal in [
        with_slot(|_, slot| slot.public = nv_public(0x01c1_0111, 0x2206_0008, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x2206_000c, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x0206_0008, 48)),
        with_slot(|_, slot| slot.public = nv_public(tag::NV_INDEX, 0x2206_0008, 96)),
        with_slot(|_, slot| slot.contents[0] ^= 1),
        with_slot(|tpm, slot| *slot = tpm.tag_slot(&digest[..47], &extra_data())),
        with_slot(|tpm, slot| *slot = tpm.tag_slot(&[&digest[..], &[0]].concat(), &extra_data())),
        with_slot(|tpm, slot| *slot = tpm.tag_counter(FakeTpm::TAG_COUNTER, &extra_data())),
    ] {
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
    }
}

#[test]
fn a_true_certificate_over_an_index_that_is_no_tag_slot_does_not_count() {
    let digest = tag::digest(&document_with(|_| {}));
    for (index, attributes, found) in [
        (0x01c1_0111, 0x2206_0008, "0x01c10111"),
        (tag::NV_INDEX, 0x0206_0008, "none written"),
        // Ours, but without the authority's policy.
        (
            tag::NV_INDEX,
            0x2206_0008,
            "whoever its policy admits may write (attributes 0x22060008)",
        ),
        // As earlier versions defined it, and as Intel SecL does.
        (
            tag::NV_INDEX,
            0x2206_0002,
            "the owner may write (attributes 0x22060002)",
        ),
        (
            tag::NV_INDEX,
            0x2006_0004,
            "whoever knows its password may write (attributes 0x20060004)",
        ),
    ] {
        let public = nv_public(index, attributes, 48);
        let appraisal = with_slot(|tpm, slot| *slot = tpm.nv_slot(public, &digest, &extra_data()));
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
        assert_eq!(appraisal.findings[0].found, found);
    }
}

#[test]
fn a_slot_that_cannot_be_read_is_malformed_evidence() {
    let appraisal = with_slot(|_, slot| slot.public.clear());
    assert_untagged(&appraisal, &["evidence-malformed"]);
    let appraisal = with_slot(|tpm, slot| slot.certificate = tpm.signed(b"junk".to_vec()));
    assert_untagged(&appraisal, &["evidence-malformed"]);
    let quote = evidence().quote;
    let appraisal = with_slot(|_, slot| slot.certificate = quote);
    assert_untagged(&appraisal, &["evidence-malformed"]);
}

#[test]
fn a_slot_of_another_authority_or_another_tpm_is_tampering() {
    let digest = tag::digest(&document_with(|_| {}));
    let subject = FakeTpm::new(1).ueid;
    for public in [
        tag::slot::public(FakeKey::new(9).public(), &subject, true),
        tag::slot::public(
            FakeKey::new(AUTHORITY).public(),
            &FakeTpm::new(2).ueid,
            true,
        ),
    ] {
        let public = sized(&public);
        let appraisal = with_slot(|tpm, slot| *slot = tpm.nv_slot(public, &digest, &extra_data()));
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
    }
}

/// Evidence whose counter was changed after everything was collected.
fn with_counter(change: impl FnOnce(&FakeTpm, &mut Option<TagSlot>)) -> Appraisal {
    let mut evidence = tagged(&document_with(|_| {}));
    change(&FakeTpm::new(1), &mut evidence.tag_counter);
    appraised(&evidence)
}

#[test]
fn a_tag_for_another_count_is_an_old_one_and_pinned_as_such() {
    for counter in [
        0,
        FakeTpm::TAG_COUNTER + 1,
        FakeTpm::TAG_COUNTER - 1,
        u64::MAX,
    ] {
        let appraisal =
            with_counter(|tpm, slot| *slot = Some(tpm.tag_counter(counter, &extra_data())));
        assert_untagged(&appraisal, &["asset-tag-replayed"]);
        let pin = appraisal.state.and_then(|state| state.tag).expect("pinned");
        assert_eq!(pin.counter, counter);
    }
}

#[test]
fn a_counter_that_may_be_set_back_does_not_count() {
    let seven = FakeTpm::TAG_COUNTER.to_be_bytes();
    let counter = tag::slot::COUNTER_INDEX;
    for (index, attributes) in [
        (counter, 0x2206_0004), // an ordinary index that holds the number
        (counter, 0x2206_0016), // a counter of other rules
        (counter, 0x0206_0014), // one that never counted
        (counter + 1, 0x2206_0014),
    ] {
        let public = nv_public(index, attributes, 8);
        let appraisal = with_counter(|tpm, slot| {
            *slot = Some(tpm.nv_slot(public, &seven, &extra_data()));
        });
        assert_untagged(&appraisal, &["asset-tag-tampered"]);
        assert!(appraisal.state.is_some_and(|state| state.tag.is_none()));
    }
    assert_untagged(
        &with_counter(|_, slot| *slot = None),
        &["asset-tag-missing"],
    );
    let stale = with_counter(|tpm, slot| {
        *slot = Some(tpm.tag_counter(FakeTpm::TAG_COUNTER, &[0; 32]));
    });
    assert_untagged(&stale, &["asset-tag-tampered"]);
}
