//! One case at least for each code that a snapshot can lead to.

use portcullis_attestation::base64url;
use sha2::{Digest as _, Sha256};

use super::*;

mod host;
mod tag;
mod verdict;

/// What is spoilt, of which launch, how, and the code and a part of `found` that come of it.
type Case = (
    &'static str,
    fn() -> Launch,
    fn(&mut Launch),
    Code,
    &'static str,
);

fn cases() -> impl Iterator<Item = &'static Case> {
    verdict::CASES.iter().chain(host::CASES).chain(tag::CASES)
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
    // Provoked in `carriers.rs`, because there is no verdict to spoil, or below, because what is
    // spoilt is not the claims.
    let elsewhere = [
        Code::VerdictMissing,
        Code::VerdictWithheld,
        Code::VerdictAlgorithmRefused,
        Code::VerdictClaimsDuplicated,
    ];
    for code in Code::ALL {
        let name = code.as_str();
        let decided = [
            "verdict-",
            "clock-",
            "host-re",
            "host-quarantined",
            "boot-fuse-",
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
fn another_algorithm_and_a_claim_given_twice_have_codes_of_their_own() {
    let mut launch = launch();
    let kid = launch.signer.public_key().kid().to_string();
    let once = launch.claims.to_string();
    let twice = once.replacen("\"iat\":", "\"iat\":1,\"iat\":", 1);
    for (alg, payload, code, found) in [
        ("none", &once, Code::VerdictAlgorithmRefused, "'none'"),
        ("HS256", &once, Code::VerdictAlgorithmRefused, "'HS256'"),
        (
            "ES256",
            &twice,
            Code::VerdictClaimsDuplicated,
            "'iat' twice",
        ),
    ] {
        let header = format!(r#"{{"alg":"{alg}","typ":"JWT","kid":"{kid}"}}"#);
        let encode = |text: &str| base64url::encode(text.as_bytes());
        let head = format!("{}.{}", encode(&header), encode(payload));
        let digest = Sha256::digest(head.as_bytes()).into();
        let signature = launch.signer.sign_digest(&digest).expect("signed");
        let token = format!("{head}.{}", base64url::encode(&signature));
        launch.snapshot.verdict = Some(token);
        let refusal = reason(launch.decide_as_is());
        assert_eq!(refusal.code, code, "{refusal}");
        assert!(refusal.found.contains(found), "{refusal}");
    }
}

/// IMA moves PCR 10 with every program; a verdict that speaks of these need not pin it.
#[test]
fn pcr_10_may_be_missing_where_what_ran_since_boot_was_appraised() {
    for (executables, permitted) in [(3, false), (2, true)] {
        let mut launch = launch();
        launch.demand(HashAlg::Sha256, &[0, 4, 7, 10, 14]);
        launch.vector()["executables"] = json!(executables);
        match launch.decide() {
            Decision::Permitted(_) => assert!(permitted, "{executables}"),
            decision => {
                assert_eq!(reason(decision).code, Code::VerdictPcrsIncomplete);
                assert!(!permitted, "{executables}");
            }
        }
    }
}

/// The live reading is compared with what the verdict names, so that must be enough.
#[test]
fn a_verdict_about_more_than_is_asked_for_will_do() {
    for pcrs in [&[0][..], &[0, 4, 7, 14]] {
        let mut launch = launch();
        launch.demand(HashAlg::Sha256, pcrs);
        assert!(matches!(launch.decide(), Decision::Permitted(_)));
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
