//! What is wrong with the verdict.

use super::*;

pub(super) const CASES: &[Case] = &[
    (
        "a claim is missing",
        launch,
        |it| {
            it.claims.as_object_mut().expect("object").remove("iss");
        },
        Code::VerdictMalformed,
        "cannot find claim '/iss'",
    ),
    (
        "a claim that binds it to one boot is missing",
        launch,
        |it| {
            it.attester()
                .as_object_mut()
                .expect("object")
                .remove("bootcount");
        },
        Code::VerdictBindingMissing,
        "cannot find claim",
    ),
    (
        "a PCR that the settings name was left out by its verifier",
        launch,
        |it| it.demand(HashAlg::Sha256, &[0, 4, 7, 9, 14]),
        Code::VerdictPcrsIncomplete,
        "PCRs 0,4,7,14 (sha256)",
    ),
    (
        "it is about another bank than the settings name",
        launch,
        |it| it.demand(HashAlg::Sha384, &[0]),
        Code::VerdictPcrBankMismatch,
        "PCRs 0,4,7,14 (sha256)",
    ),
    (
        "two spellings are mixed",
        launch,
        |it| {
            it.claims["ear.verifier-id"] = json!({});
        },
        Code::VerdictDialectsMixed,
        "mixes the claim names",
    ),
    (
        "a status is better than its vector",
        launch,
        |it| {
            it.vector()["hardware"] = json!(96);
        },
        Code::VerdictStatusContradicted,
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
        "an earlier issue of the same number than one seen",
        launch,
        |it| it.has_seen(|claims| claims["iat"] = json!(ISSUED + 1)),
        Code::VerdictReplayed,
        "seq 412 of 1795290484",
    ),
    (
        "a lower sequence than one seen",
        launch,
        |it| it.has_seen(|claims| *seq(claims) = json!(413)),
        Code::VerdictReplayed,
        "seq 412 of",
    ),
    (
        "an affirming one from before a contraindicated one",
        launch,
        |it| {
            it.has_seen(|claims| {
                *seq(claims) = json!(413);
                claims["submods"]["host"]["ear_trustworthiness_vector"]["executables"] = json!(96);
                claims["submods"]["host"]["ear_status"] = json!("contraindicated");
                claims["ear_status"] = json!("contraindicated");
            });
        },
        Code::VerdictReplayed,
        "seq 412 of",
    ),
    (
        "another one of the same number",
        launch,
        |it| it.has_seen(|claims| claims["eat_nonce"] = json!("YW5vdGhlciBub25jZQ")),
        Code::VerdictReplayed,
        "another one with seq 412",
    ),
    (
        "a new one that answers an old challenge",
        launch,
        |it| it.has_seen(|claims| *seq(claims) = json!(411)),
        Code::VerdictReplayed,
        "with the nonce of the one before",
    ),
    (
        "it was first seen too long ago, though the clock says it is young",
        launch,
        |it| {
            it.has_seen(|_| {});
            it.moment.boottime_ms += 600_000;
            it.moment.unix_s = ISSUED + 1;
        },
        Code::ClockRolledBack,
        "1795290485",
    ),
    (
        "it was first seen too long ago, and the clocks run apart a little",
        launch,
        |it| {
            it.has_seen(|_| {});
            it.moment.boottime_ms += 585_000;
            it.moment.unix_s = NOW + 580;
        },
        Code::VerdictExpired,
        "601 s",
    ),
    (
        "it was seen before the clock was set back to a time before its issue",
        launch,
        |it| {
            it.has_seen(|_| {});
            it.moment.boottime_ms += 1_000;
            it.moment.unix_s = ISSUED - 3_600;
        },
        Code::ClockRolledBack,
        "1795286884",
    ),
    (
        "it tells of a failure that stands",
        launch,
        |it| {
            it.host()["ear_verifier_claims"]["latched"] = json!({"since": 1_795_200_000, "code": "pcr-mismatch", "subject": "PCR 7 (sha256)"});
        },
        Code::VerdictLatched,
        "[pcr-mismatch] PCR 7 (sha256), since 1795200000",
    ),
    (
        "what it tells of a failure cannot be read",
        launch,
        |it| {
            it.host()["ear_verifier_claims"]["latched"] = json!(false);
        },
        Code::VerdictMalformed,
        "latched",
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

fn seq(claims: &mut Value) -> &mut Value {
    &mut claims["submods"]["host"]["ear_verifier_claims"]["seq"]
}
