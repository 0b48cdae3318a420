use portcullis_attestation::pcr::HashAlg;
use portcullis_attestation::tpm_name::TpmName;
use serde_json::{Value, json};

use super::{Snapshot, VERDICT_LIMIT_BYTES};
use crate::{Code, Unavailable};

fn answer() -> Value {
    let name = TpmName::of_public_area(HashAlg::Sha256, b"nv")
        .expect("sha256")
        .to_string();
    json!({
        "verdict": "a.b.c",
        "tag_document": null,
        "live": {
            "boot_id": "9b0b3ffa-6b1c-4f3e-9d52-0d1f2a3b4c5d",
            "reset_count": 3,
            "restart_count": 0,
            "pcr_bank": "sha256",
            "pcrs": [
                {"index": 0, "digest": "00".repeat(32)},
                {"index": 23, "digest": "ff".repeat(32)},
            ],
            "tag": {"nv_index": "0x01c10110", "nv_name": name, "contents": "ab".repeat(48)},
        },
    })
}

#[test]
fn an_answer_reads_back() {
    let snapshot = Snapshot::from_json(&answer()).expect("well formed");
    assert_eq!(snapshot.to_json(), answer());
    assert_eq!(snapshot.live.tag.expect("a tag").nv_index, 0x01c1_0110);
}

#[test]
fn reasons_and_boot_fuse_read_back_where_they_are() {
    let mut value = answer();
    value["live"]["boot_fuse"] = json!("ab".repeat(32));
    value["withheld"] = json!([
        {"code": "pcr-mismatch", "subject": "PCR 7", "expected": "a", "found": "b"},
    ]);
    let snapshot = Snapshot::from_json(&value).expect("well formed");
    assert_eq!(snapshot.to_json(), value);
    assert_eq!(snapshot.live.boot_fuse, Some(vec![0xab; 32]));

    // A fuse that is empty is another thing than none.
    value["live"]["boot_fuse"] = json!("");
    let snapshot = Snapshot::from_json(&value).expect("well formed");
    assert_eq!(snapshot.live.boot_fuse, Some(Vec::new()));
    value["live"]["boot_fuse"] = Value::Null;
    value["withheld"] = Value::Null;
    let snapshot = Snapshot::from_json(&value).expect("well formed");
    assert_eq!((snapshot.live.boot_fuse, snapshot.withheld), (None, vec![]));

    let reason = json!({"code": "x", "subject": "", "expected": "", "found": ""});
    value["withheld"] = json!(vec![reason; 1000]);
    let snapshot = Snapshot::from_json(&value).expect("well formed");
    assert_eq!(snapshot.withheld.len(), super::REASON_LIMIT);
}

#[test]
fn what_may_be_absent_may_also_be_null() {
    let mut value = answer();
    let object = value.as_object_mut().expect("object");
    object.remove("verdict");
    object.remove("tag_document");
    object["live"]["tag"] = Value::Null;
    let snapshot = Snapshot::from_json(&value).expect("well formed");
    assert_eq!((&snapshot.verdict, &snapshot.tag_document), (&None, &None));
    assert_eq!(snapshot.live.tag, None);
}

#[test]
fn malformed_reasons_and_fuses_are_named() {
    for (member, bad, named) in [
        ("withheld", json!("x"), "/withheld"),
        ("withheld", json!([{}]), "/code"),
        ("withheld", json!([{"code": 5}]), "/code"),
        (
            "withheld",
            json!([{"code": "x", "subject": "y"}]),
            "/expected",
        ),
        ("boot_fuse", json!(5), "/boot_fuse"),
        ("boot_fuse", json!("AB"), "/boot_fuse"),
        ("boot_fuse", json!("abc"), "/boot_fuse"),
    ] {
        let mut value = answer();
        if member == "withheld" {
            value[member] = bad;
        } else {
            value["live"][member] = bad;
        }
        let refused = Snapshot::from_json(&value).expect_err("malformed");
        assert_eq!(refused.pointer, named);
    }
}

#[test]
fn every_malformed_place_is_named() {
    let digest = "00".repeat(32);
    for (place, bad, named) in [
        ("/verdict", json!(3), "/verdict"),
        ("/tag_document", json!(["a"]), "/tag_document"),
        ("/live", json!("x"), "/boot_id"),
        (
            "/live/boot_id",
            json!("9B0B3FFA-6b1c-4f3e-9d52-0d1f2a3b4c5d"),
            "/boot_id",
        ),
        ("/live/boot_id", json!(null), "/boot_id"),
        ("/live/reset_count", json!(-1), "/reset_count"),
        (
            "/live/reset_count",
            json!(4_294_967_296_u64),
            "/reset_count",
        ),
        ("/live/restart_count", json!("0"), "/restart_count"),
        ("/live/restart_count", json!(0.5), "/restart_count"),
        ("/live/pcr_bank", json!("md5"), "/pcr_bank"),
        ("/live/pcrs", json!({}), "/pcrs"),
        (
            "/live/pcrs",
            Value::from(vec![json!({"index": 0, "digest": digest}); 25]),
            "/pcrs",
        ),
        ("/live/pcrs/0/index", json!(24), "/pcrs/index"),
        ("/live/pcrs/0/index", json!(23), "/pcrs/index"),
        (
            "/live/pcrs/0/digest",
            json!("00".repeat(31)),
            "/pcrs/digest",
        ),
        ("/live/pcrs/0/digest", json!("FF".repeat(32)), "/digest"),
        ("/live/tag", json!("x"), "/nv_index"),
        ("/live/tag/nv_index", json!("0x1c10110"), "/tag/nv_index"),
        ("/live/tag/nv_name", json!("81010001"), "/tag/nv_name"),
        ("/live/tag/contents", json!("abc"), "/contents"),
    ] {
        let mut value = answer();
        *value.pointer_mut(place).expect(place) = bad.clone();
        let error = Snapshot::from_json(&value).expect_err(place);
        assert_eq!(error.pointer, named, "{place} {bad}");
        assert_eq!(
            Unavailable::from(error).refusal().code,
            Code::AgentAnswerMalformed
        );
    }
    Snapshot::from_json(&json!({"verdict": "a.b.c"})).expect_err("no live state");
}

#[test]
fn an_excessive_document_keeps_the_byte_that_shows_the_excess() {
    for (length, kept) in [
        (VERDICT_LIMIT_BYTES, VERDICT_LIMIT_BYTES),
        (VERDICT_LIMIT_BYTES + 1, VERDICT_LIMIT_BYTES + 1),
        (2 * VERDICT_LIMIT_BYTES, VERDICT_LIMIT_BYTES + 1),
    ] {
        let mut value = answer();
        value["verdict"] = json!("a".repeat(length));
        let verdict = Snapshot::from_json(&value).expect("well formed").verdict;
        assert_eq!(verdict.map(|verdict| verdict.len()), Some(kept));
    }
}
