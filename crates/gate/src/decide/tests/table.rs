//! One case at least for each code that a snapshot can lead to.

use super::*;

/// What is spoilt, of which launch, how, and the code and a part of `found` that come of it.
type Case = (
    &'static str,
    fn() -> Launch,
    fn(&mut Launch),
    Code,
    &'static str,
);

const VERDICT_CASES: &[Case] = &[
    (
        "a claim is missing",
        launch,
        |it| {
            it.attester()
                .as_object_mut()
                .expect("object")
                .remove("bootcount");
        },
        Code::VerdictMalformed,
        "cannot find claim",
    ),
    (
        "two spellings are mixed",
        launch,
        |it| {
            it.claims["ear.verifier-id"] = json!({});
        },
        Code::VerdictMalformed,
        "mixes the claim names",
    ),
    (
        "a status is better than its vector",
        launch,
        |it| {
            it.vector()["hardware"] = json!(96);
        },
        Code::VerdictMalformed,
        "cannot accept status",
    ),
    (
        "another key signed",
        launch,
        |it| {
            it.signer = key(FOREIGN);
        },
        Code::VerdictSignatureInvalid,
        "among the pinned keys",
    ),
    (
        "a key signed that is pinned for tags",
        launch,
        |it| {
            it.signer = key(TAG_AUTHORITY);
        },
        Code::VerdictSignatureInvalid,
        "pinned for 'tag'",
    ),
    (
        "the profile of the whole is unknown",
        launch,
        |it| {
            it.claims["eat_profile"] = json!("tag:example.org,2026:other");
        },
        Code::VerdictProfileUnknown,
        "tag:example.org,2026:other",
    ),
    (
        "the profile of the host is unknown",
        launch,
        |it| {
            it.host()["eat_profile"] = json!("tag:example.org,2026:other");
        },
        Code::VerdictProfileUnknown,
        "tag:example.org,2026:other",
    ),
    (
        "it is another node's",
        launch,
        |it| {
            it.host()["ear_verifier_claims"]["node_name"] = json!("w8");
        },
        Code::VerdictSubjectMismatch,
        "node 'w8'",
    ),
    (
        "an earlier issue than one seen",
        launch,
        |it| {
            it.moment.newest_seen = Some(VerdictOrder {
                iat: ISSUED + 1,
                seq: 1,
            });
        },
        Code::VerdictReplayed,
        "(seq 412)",
    ),
    (
        "a lower sequence than one seen",
        launch,
        |it| {
            it.moment.newest_seen = Some(VerdictOrder {
                iat: ISSUED,
                seq: 413,
            });
        },
        Code::VerdictReplayed,
        "(seq 412)",
    ),
    (
        "it is from the future",
        launch,
        |it| {
            it.moment.unix_s = ISSUED - 6;
        },
        Code::VerdictPremature,
        "6 s ahead",
    ),
    (
        "it is too old",
        launch,
        |it| {
            it.policy.max_verdict_age = Duration::from_secs(15);
        },
        Code::VerdictExpired,
        "16 s",
    ),
    (
        "its issuer wants it younger",
        launch,
        |it| {
            it.host()["ear_verifier_claims"]["max_age"] = json!(15);
        },
        Code::VerdictExpired,
        "16 s",
    ),
    (
        "its end has come",
        launch,
        |it| {
            it.claims["exp"] = json!(NOW);
        },
        Code::VerdictExpired,
        "0 s past it",
    ),
];

const HOST_CASES: &[Case] = &[
    (
        "the relying party sees another boot",
        launch,
        |it| {
            it.moment.boot_id = BootId::parse(OTHER_BOOT_ID).expect("a boot id");
        },
        Code::HostRebooted,
        "another one",
    ),
    (
        "the agent sees another boot",
        launch,
        |it| {
            it.snapshot.live.boot_id = BootId::parse(OTHER_BOOT_ID).expect("a boot id");
        },
        Code::HostRebooted,
        "another one",
    ),
    (
        "the TPM was reset",
        launch,
        |it| {
            it.snapshot.live.reset_count = 4;
        },
        Code::HostRebooted,
        "reset count 4",
    ),
    (
        "the TPM was resumed",
        launch,
        |it| {
            it.snapshot.live.restart_count = 1;
        },
        Code::HostResumed,
        "restart count 1",
    ),
    (
        "a PCR was extended",
        launch,
        |it| {
            it.snapshot
                .live
                .pcrs
                .insert(pcr(7), vec![0x9c; 32])
                .expect("32 bytes");
        },
        Code::PcrDrift,
        "9c9c9c9c9c9c",
    ),
    (
        "a PCR was extended and the verdict holds no values",
        launch,
        |it| {
            it.attester()
                .as_object_mut()
                .expect("object")
                .remove("pcrs");
            it.snapshot
                .live
                .pcrs
                .insert(pcr(7), vec![0x9c; 32])
                .expect("32 bytes");
        },
        Code::PcrDrift,
        "",
    ),
    (
        "a PCR was not read",
        launch,
        |it| {
            let mut pcrs = PcrValues::new(HashAlg::Sha256);
            for index in [0, 4, 7] {
                pcrs.insert(pcr(index), vec![index; 32]).expect("32 bytes");
            }
            it.snapshot.live.pcrs = pcrs;
        },
        Code::PcrSelectionMismatch,
        "PCRs 0,4,7 (sha256)",
    ),
    (
        "another bank was read",
        launch,
        |it| {
            let mut pcrs = PcrValues::new(HashAlg::Sha384);
            for index in [0, 4, 7, 14] {
                pcrs.insert(pcr(index), vec![index; 48]).expect("48 bytes");
            }
            it.snapshot.live.pcrs = pcrs;
        },
        Code::PcrSelectionMismatch,
        "(sha384)",
    ),
    (
        "a required claim warns",
        launch,
        |it| {
            it.vector()["hardware"] = json!(32);
            it.set_status("warning");
        },
        Code::VectorWarning,
        "warning (32)",
    ),
    (
        "a required claim is absent",
        launch,
        |it| {
            it.vector()
                .as_object_mut()
                .expect("object")
                .remove("hardware");
        },
        Code::VectorWarning,
        "absent",
    ),
    (
        "a required claim could not be appraised",
        launch,
        |it| {
            it.vector()["hardware"] = json!(0);
            it.set_status("none");
        },
        Code::VectorWarning,
        "none (0)",
    ),
    (
        "a required claim is one that a TPM cannot support",
        launch,
        |it| {
            it.policy.required.push(Claim::SourcedData);
            it.vector()["sourced-data"] = json!(2);
        },
        Code::VectorWarning,
        "absent",
    ),
    (
        "the status warns and no claim says why",
        launch,
        |it| {
            it.set_status("warning");
        },
        Code::VectorWarning,
        "warning",
    ),
    (
        "the status of the whole warns and the host's does not",
        launch,
        |it| {
            it.claims["ear_status"] = json!("warning");
        },
        Code::VectorWarning,
        "warning",
    ),
    (
        "the status is none and no claim says why",
        launch,
        |it| {
            it.set_status("none");
        },
        Code::VectorWarning,
        "none",
    ),
    (
        "a claim is contraindicated",
        launch,
        |it| {
            it.vector()["executables"] = json!(96);
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated (96)",
    ),
    (
        "a claim that nobody requires is contraindicated",
        launch,
        |it| {
            it.vector()["storage-opaque"] = json!(96);
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated (96)",
    ),
    (
        "the status is contraindicated and no claim says why",
        launch,
        |it| {
            it.set_status("contraindicated");
        },
        Code::VectorContraindicated,
        "contraindicated",
    ),
];

const TAG_CASES: &[Case] = &[
    (
        "tags are asked for and there is no tag",
        launch,
        |it| {
            it.policy.require_tags = requirement("country=DE");
        },
        Code::AssetTagMissing,
        "no asset tag",
    ),
    (
        "the absence of a tag is asked for and there is no tag at all",
        launch,
        |it| {
            it.request.require_tags = vec![requirement("!lab")];
        },
        Code::AssetTagMissing,
        "no asset tag",
    ),
    (
        "the NV index is gone",
        tagged_launch,
        |it| {
            it.snapshot.live.tag = None;
        },
        Code::AssetTagMissing,
        "not defined",
    ),
    (
        "the agent has no document",
        tagged_launch,
        |it| {
            it.snapshot.tag_document = None;
        },
        Code::AssetTagMissing,
        "none",
    ),
    (
        "there is a document alone",
        launch,
        |it| {
            it.snapshot.tag_document = Some("a.b.c".to_owned());
        },
        Code::AssetTagMissing,
        "not defined",
    ),
    (
        "the NV index was written after the verdict",
        tagged_launch,
        |it| {
            let attester = it.attester().as_object_mut().expect("object");
            attester.retain(|name, _| !name.starts_with("tag_"));
        },
        Code::AssetTagTampered,
        "one",
    ),
    (
        "it is another NV index",
        tagged_launch,
        |it| {
            it.slot().nv_index += 1;
        },
        Code::AssetTagTampered,
        "0x01c10111",
    ),
    (
        "the NV index has other attributes",
        tagged_launch,
        |it| {
            it.slot().nv_name = TpmName::of_public_area(HashAlg::Sha256, b"other").expect("sha256");
        },
        Code::AssetTagTampered,
        "000b",
    ),
    (
        "the NV index holds something else",
        tagged_launch,
        |it| {
            it.slot().contents = vec![0xee; 48];
        },
        Code::AssetTagTampered,
        "eeeeeeeeeeee",
    ),
    (
        "the NV index holds too little",
        tagged_launch,
        |it| {
            it.slot().contents.truncate(47);
        },
        Code::AssetTagTampered,
        "",
    ),
    (
        "the document is another one",
        tagged_launch,
        |it| {
            let other = AssetTag {
                issued_at_s: 1,
                ..asset_tag()
            };
            it.snapshot.tag_document = Some(other.sign(&mut key(TAG_AUTHORITY)).expect("signed"));
        },
        Code::AssetTagTampered,
        "",
    ),
    (
        "another authority signed the tag",
        tagged_launch,
        |it| {
            let document = asset_tag().sign(&mut key(FOREIGN)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagSignatureInvalid,
        "among the pinned keys",
    ),
    (
        "the verifier signed the tag",
        tagged_launch,
        |it| {
            let document = asset_tag().sign(&mut key(VERIFIER)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagSignatureInvalid,
        "pinned for 'verdict'",
    ),
    (
        "the document is no tag",
        tagged_launch,
        |it| {
            let claims = json!({"iss": "x"});
            let document = jws::sign(Typ::Tag, &claims, &mut key(TAG_AUTHORITY)).expect("signed");
            it.bind(document);
        },
        Code::AssetTagMalformed,
        "cannot find claim",
    ),
    (
        "the tag is another TPM's",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.subject = Ueid::of_endorsement_key(b"other"));
        },
        Code::AssetTagSubjectMismatch,
        "",
    ),
    (
        "the tag is not valid yet",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.not_before_s = NOW + 6);
        },
        Code::AssetTagExpired,
        "now 1795290500",
    ),
    (
        "the tag is not valid any more",
        tagged_launch,
        |it| {
            it.rebind(|tag| tag.expires_s = NOW);
        },
        Code::AssetTagExpired,
        "0 s past it",
    ),
    (
        "the node asks for another tag",
        tagged_launch,
        |it| {
            it.policy.require_tags = requirement("country in (FR,US), pool");
        },
        Code::AssetTagMismatch,
        "country=DE",
    ),
    (
        "the namespace asks for another tag",
        tagged_launch,
        |it| {
            it.policy.namespace_require_tags = vec![NamespaceDemand {
                pattern: "payments-*".to_owned(),
                requirement: requirement("pool=pci,site"),
            }];
        },
        Code::AssetTagMismatch,
        "no 'site'",
    ),
    (
        "the pod asks for another tag",
        tagged_launch,
        |it| {
            it.request.require_tags = vec![requirement("country=DE"), requirement("pool!=pci")];
        },
        Code::AssetTagMismatch,
        "pool=pci",
    ),
];

fn cases() -> impl Iterator<Item = &'static Case> {
    VERDICT_CASES.iter().chain(HOST_CASES).chain(TAG_CASES)
}

#[test]
fn every_defect_is_refused_with_its_own_code() {
    for (what, make, spoil, code, found) in cases() {
        let mut launch = make();
        spoil(&mut launch);
        let refusal = reason(launch.decide());
        assert_eq!(refusal.code, *code, "{what}: {refusal}");
        assert!(refusal.found.contains(found), "{what}: {refusal}");
        let line = refusal.line(0, Some(RecordId([0, 1, 2, 3])));
        let head = format!("portcullis: {} [{code}] ", code.kind());
        assert!(line.starts_with(&head), "{line}");
        assert!(line.ends_with("; ref=00010203"), "{line}");
        assert!(
            line.len() <= LINE_LIMIT_BYTES && !line.contains('\n'),
            "{line}"
        );
    }
}

#[test]
fn every_code_about_verdict_host_and_tag_has_a_case() {
    // Provoked in `carriers.rs`, because there is no verdict to spoil.
    let elsewhere = [Code::VerdictMissing];
    for code in Code::ALL {
        let name = code.as_str();
        let decided = [
            "verdict-",
            "host-re",
            "pcr-drift",
            "pcr-selection",
            "vector-",
            "asset-tag-",
        ]
        .iter()
        .any(|prefix| name.starts_with(prefix));
        let tested = cases().any(|case| case.3 == *code) || elsewhere.contains(code);
        assert!(!decided || tested, "{name} has no case");
    }
}

#[test]
fn a_token_that_is_no_token_is_malformed() {
    let long = "a".repeat(crate::snapshot::VERDICT_LIMIT_BYTES + 1);
    for token in ["", "a", "a.b", "a.b.c.d", "\u{0}", long.as_str()] {
        let mut launch = launch();
        launch.snapshot.verdict = Some(token.to_owned());
        assert_eq!(
            reason(launch.decide_as_is()).code,
            Code::VerdictMalformed,
            "{token:.20}"
        );
    }
}

#[test]
fn a_token_that_was_cut_or_flipped_anywhere_is_never_permitted() {
    let mut launch = launch();
    let token = launch.token();
    for position in (0..token.len()).step_by(37) {
        launch.snapshot.verdict = token.get(..position).map(str::to_owned);
        assert!(!reasons(launch.decide_as_is()).is_empty());
        let mut flipped = token.clone().into_bytes();
        flipped[position] = if flipped[position] == b'A' {
            b'B'
        } else {
            b'A'
        };
        launch.snapshot.verdict = String::from_utf8(flipped).ok();
        assert!(!reasons(launch.decide_as_is()).is_empty());
    }
}

#[test]
fn time_limits_hold_on_both_sides() {
    for (now, expected) in [
        (ISSUED - 6, Some(Code::VerdictPremature)),
        (ISSUED - 5, None),
        (ISSUED, None),
        (ISSUED + 59, None),
        (ISSUED + 60, None),
        (ISSUED + 61, Some(Code::VerdictExpired)),
    ] {
        let mut launch = launch();
        launch.policy.max_verdict_age = Duration::from_secs(60);
        launch.moment.unix_s = now;
        match (launch.decide(), expected) {
            (Decision::Permitted(_), None) => {}
            (decision, expected) => assert_eq!(Some(reason(decision).code), expected, "{now}"),
        }
    }
    for (exp, permitted) in [(NOW - 1, false), (NOW, false), (NOW + 1, true)] {
        let mut launch = launch();
        launch.claims["exp"] = json!(exp);
        assert_eq!(
            matches!(launch.decide(), Decision::Permitted(_)),
            permitted,
            "{exp}"
        );
    }
    for (age, permitted) in [(15, false), (16, true), (17, true)] {
        let mut launch = launch();
        launch.host()["ear_verifier_claims"]["max_age"] = json!(age);
        assert_eq!(
            matches!(launch.decide(), Decision::Permitted(_)),
            permitted,
            "{age}"
        );
    }
}

#[test]
fn the_validity_of_a_tag_holds_on_both_sides() {
    for (not_before_s, expires_s, permitted) in [
        (NOW + 5, NOW + 10, true),
        (NOW + 6, NOW + 10, false),
        (ISSUED, NOW + 1, true),
        (ISSUED, NOW, false),
    ] {
        let mut launch = tagged_launch();
        launch.rebind(|tag| (tag.not_before_s, tag.expires_s) = (not_before_s, expires_s));
        let decision = launch.decide();
        let found = matches!(decision, Decision::Permitted(_));
        assert_eq!(found, permitted, "{not_before_s} {expires_s}");
    }
}

#[test]
fn every_drifted_pcr_is_named_and_other_reasons_come_along() {
    let mut launch = launch();
    launch
        .snapshot
        .live
        .pcrs
        .insert(pcr(4), vec![0xaa; 32])
        .expect("32 bytes");
    launch
        .snapshot
        .live
        .pcrs
        .insert(pcr(14), vec![0xbb; 32])
        .expect("32 bytes");
    launch.policy.require_tags = requirement("pool");
    let decision = launch.decide();
    let Decision::Refused(refusals) = &decision else {
        panic!("{decision:?}")
    };
    let line = refusals.line(&RecordId([0x8d, 0x21, 0xc0, 0xaa]));
    assert_eq!(
        line,
        "portcullis: refused [pcr-drift] node 'w7' PCR 4 (sha256) (+2 more): expected 040404040404 \
         as attested, found aaaaaaaaaaaa; find what extended it, then reboot the node; ref=8d21c0aa"
    );
    let reasons = reasons(decision);
    let codes: Vec<Code> = reasons.iter().map(|reason| reason.code).collect();
    assert_eq!(
        codes,
        [Code::PcrDrift, Code::PcrDrift, Code::AssetTagMissing]
    );
    assert_eq!(reasons[1].subject, "node 'w7' PCR 14 (sha256)");
    assert_eq!(
        reasons[1].found,
        "bb".repeat(32),
        "the record holds the whole digest"
    );
}

#[test]
fn a_reboot_wins_over_the_drift_that_it_brings() {
    let mut launch = launch();
    launch.snapshot.live.reset_count = 4;
    launch
        .snapshot
        .live
        .pcrs
        .insert(pcr(4), vec![0xaa; 32])
        .expect("32 bytes");
    assert_eq!(reason(launch.decide()).code, Code::HostRebooted);
}

#[test]
fn a_broken_tag_is_refused_even_if_nobody_asks_for_tags() {
    let mut launch = tagged_launch();
    launch.slot().contents = vec![0; 48];
    assert_eq!(reason(launch.decide()).code, Code::AssetTagTampered);
}

#[test]
fn one_satisfied_requirement_does_not_help_another() {
    let mut launch = tagged_launch();
    launch.policy.require_tags = requirement("country=DE");
    launch.request.require_tags = vec![requirement("country=DE"), requirement("site=fra1")];
    let refusal = reason(launch.decide());
    assert_eq!(refusal.code, Code::AssetTagMismatch);
    assert_eq!(refusal.expected, "site=fra1 as the pod asks");

    launch.policy.require_tags = requirement("site=ber1");
    assert_eq!(reasons(launch.decide()).len(), 2);
}

#[test]
fn a_foreign_node_name_cannot_write_a_log_line() {
    let mut launch = launch();
    launch.host()["ear_verifier_claims"]["node_name"] =
        json!("w8'\nportcullis: permitted [all]\u{1b}[2J");
    let refusal = reason(launch.decide());
    let line = refusal.to_string();
    assert!(!line.contains(['\n', '\u{1b}']), "{line:?}");
    assert!(
        refusal.found.len() <= "node ".len() + 64,
        "{}",
        refusal.found
    );
}
