use super::*;

#[test]
fn a_trusted_host_is_permitted_and_the_permit_says_on_what() {
    let mut launch = launch();
    let permit = permit(launch.decide());
    assert_eq!(
        (permit.verdict_iat, permit.verdict_exp),
        (ISSUED, ISSUED + 600)
    );
    assert_eq!(permit.verdict_seq, 412);
    assert_eq!(permit.boot_state.as_deref(), Some("debian-12"));
    assert_eq!(permit.ueid, ueid());
    assert!(permit.tags.is_empty());
    assert_eq!(permit.verdict_sha256.len(), 64);
}

#[test]
fn a_tagged_host_is_permitted_with_its_tags_where_everybody_is_satisfied() {
    let mut launch = tagged_launch();
    launch.policy.require_tags = requirement("country in (DE, FR)");
    launch.policy.namespace_require_tags = vec![NamespaceDemand {
        pattern: "payments-*".to_owned(),
        requirement: requirement("pool=pci"),
    }];
    launch.request.require_tags = vec![requirement("pool"), requirement("!lab")];
    let tags = permit(launch.decide()).tags;
    assert_eq!(tags.get("country").map(String::as_str), Some("DE"));
    assert_eq!(tags.len(), 2);
}

#[test]
fn further_live_pcrs_than_the_attested_ones_do_not_count() {
    let mut launch = launch();
    launch
        .snapshot
        .live
        .pcrs
        .insert(pcr(23), vec![0xee; 32])
        .expect("32 bytes");
    permit(launch.decide());
}

#[test]
fn a_warning_about_what_nobody_requires_does_not_count() {
    let mut launch = launch();
    launch.vector()["configuration"] = json!(32);
    launch.set_status("warning");
    permit(launch.decide());
    launch.policy.required.push(Claim::Configuration);
    assert_eq!(reason(launch.decide()).code, Code::VectorWarning);
}

#[test]
fn the_older_spelling_of_a_verdict_is_read_too() {
    let mut launch = launch();
    let text = launch
        .claims
        .to_string()
        .replace(
            "tag:ietf.org,2026:rats/ear#04",
            "tag:github.com,2023:veraison/ear",
        )
        .replace("ear_trustworthiness_vector", "ear.trustworthiness-vector")
        .replace("ear_attester_claims", "ear.veraison.annotated-evidence")
        .replace("ear_verifier_claims", "ear.veraison.policy-claims")
        .replace("ear_verifier_id", "ear.verifier-id")
        .replace("ear_status", "ear.status");
    launch.claims = serde_json::from_str(&text).expect("JSON");
    launch
        .host()
        .as_object_mut()
        .expect("object")
        .remove("ear_appraisal_policy_ids");
    permit(launch.decide());
}

#[test]
fn the_same_or_a_newer_verdict_is_no_replay() {
    let older = |claims: &mut Value| {
        claims["submods"]["host"]["ear_verifier_claims"]["seq"] = json!(411);
        claims["eat_nonce"] = json!("YW5vdGhlciBub25jZQ");
    };
    let mut launch = launch();
    launch.has_seen(older);
    permit(launch.decide());
    permit(launch.decide());
    // A clock that ran ahead was set back meanwhile: the number says that the verdict is newer.
    let mut launch = super::launch();
    launch.has_seen(|claims| {
        older(claims);
        claims["iat"] = json!(ISSUED + 300);
    });
    permit(launch.decide());
}

#[test]
fn another_key_or_another_tpm_has_numbers_of_its_own() {
    let newer = |claims: &mut Value| {
        claims["submods"]["host"]["ear_verifier_claims"]["seq"] = json!(500);
    };
    let mut launch = launch();
    pin(&mut launch.keys, FOREIGN, KeyUse::Verdict);
    launch.signer = key(FOREIGN);
    launch.has_seen(newer);
    launch.signer = key(VERIFIER);
    permit(launch.decide());
    launch.has_seen(|claims| {
        newer(claims);
        let other = Ueid::of_endorsement_key(b"another");
        claims["submods"]["host"]["ear_attester_claims"]["ueid"] = json!(other.as_str());
    });
    permit(launch.decide());
}

#[test]
fn what_was_seen_is_kept_from_the_first_time_on() {
    let mut launch = launch();
    let first = permit(launch.decide()).verdict_first_seen;
    assert_eq!((first.unix_s, first.boottime_ms), (NOW, BOOTTIME_MS));
    assert!(launch.moment.seen.has_changed());
    launch.moment.unix_s += 60;
    launch.moment.boottime_ms += 60_000;
    assert_eq!(permit(launch.decide()).verdict_first_seen, first);
    // One that nobody pinned signed is not noted.
    let mut launch = super::launch();
    launch.signer = key(FOREIGN);
    assert_eq!(reason(launch.decide()).code, Code::VerdictSignatureInvalid);
    assert!(!launch.moment.seen.has_changed());
}

#[test]
fn a_permit_stays_fresh_as_long_as_its_verdict() {
    let mut launch = launch();
    let permit = permit(launch.decide());
    let at = |unix_s| crate::FirstSeen {
        unix_s,
        boottime_ms: BOOTTIME_MS,
    };
    for (now, code) in [
        (ISSUED - 6, Some(Code::ClockRolledBack)),
        (ISSUED - 5, None),
        (ISSUED + 599, None),
        (ISSUED + 600, Some(Code::VerdictExpired)),
    ] {
        let found = permit
            .still_fresh(&launch.policy, at(now))
            .err()
            .map(|it| it.first().code);
        assert_eq!(found, code, "{now}");
    }
    launch.policy.max_verdict_age = Duration::from_secs(60);
    permit
        .still_fresh(&launch.policy, at(ISSUED + 60))
        .expect("60 s");
    assert_eq!(
        permit
            .still_fresh(&launch.policy, at(ISSUED + 61))
            .expect_err("61 s")
            .exit_code(),
        2
    );
}

#[test]
fn setting_the_clock_back_does_not_make_a_permit_fresh_again() {
    let mut launch = launch();
    let permit = permit(launch.decide());
    for (passed_s, code) in [(583, None), (584, Some(Code::ClockRolledBack))] {
        let set_back = crate::FirstSeen {
            unix_s: ISSUED,
            boottime_ms: BOOTTIME_MS + passed_s * 1000,
        };
        let found = permit.still_fresh(&launch.policy, set_back).err();
        assert_eq!(found.map(|it| it.first().code), code, "{passed_s} s");
    }
}
