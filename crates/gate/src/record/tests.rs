use serde_json::json;

use super::{ContainerRecord, LaunchRecord, Operation, Outcome};
use crate::{Code, RecordId, Refusal, Refusals, Rule};

fn record() -> LaunchRecord {
    let container = ContainerRecord {
        namespace: "k8s.io".to_owned(),
        id: "web-1".to_owned(),
        pod: Some("web".to_owned()),
        ..ContainerRecord::default()
    };
    LaunchRecord::new(
        RecordId([0x8d, 0x21, 0xc0, 0xaa]),
        Operation::Create,
        "w7",
        container,
    )
}

fn refusals(code: Code) -> Refusals {
    Refusal::new(code, "node 'w7'", "a", "b").into()
}

#[test]
fn a_record_has_the_form_of_the_ledger_and_reads_back() {
    let record = record().refused(&refusals(Code::HostRebooted), false);
    let value = serde_json::to_value(&record).expect("JSON");
    assert_eq!(
        value,
        json!({
            "ref": "8d21c0aa",
            "operation": "create",
            "decision": "refused",
            "node": "w7",
            "container": {"namespace": "k8s.io", "id": "web-1", "pod": "web"},
            "refusals": [{
                "kind": "refused",
                "code": "host-rebooted",
                "subject": "node 'w7'",
                "expected": "a",
                "found": "b",
                "remedy": "run 'portcullis attest'",
                "spec": "RFC 9334 10",
            }],
            "latency_us": 0,
        })
    );
    assert_eq!(
        serde_json::from_value::<LaunchRecord>(value).expect("a record"),
        record
    );
}

#[test]
fn the_outcome_follows_from_the_reasons_and_the_mode() {
    for (code, enforced, audited) in [
        (Code::PcrDrift, Outcome::Refused, Outcome::WouldRefuse),
        (Code::TpmTimeout, Outcome::Undecided, Outcome::WouldRefuse),
        (Code::ConfigUntrusted, Outcome::Fault, Outcome::Fault),
    ] {
        assert_eq!(record().refused(&refusals(code), false).decision, enforced);
        assert_eq!(record().refused(&refusals(code), true).decision, audited);
    }
    assert_eq!(record().decision, Outcome::Permitted);
}

#[test]
fn what_rules_in_audit_found_stands_beside_the_reasons() {
    let mut record = record();
    let found = Refusal::new(Code::RootUserDenied, "s", "e", "f").under(Some(Rule::NonRoot));
    record.audited.note(&[found.clone(), found]);
    assert_eq!(record.decision, Outcome::Permitted);
    let value = serde_json::to_value(&record).expect("JSON");
    assert_eq!(value["audited"]["refusals"][0]["rule"], "non-root");
    assert_eq!(value["audited"].get("changes"), None);
    assert_eq!(
        serde_json::from_value::<LaunchRecord>(value).expect("a record"),
        record
    );
    assert_eq!(
        record.audited.line("container 'a'", "8d21c0aa").as_deref(),
        Some("container 'a' is against rule 'non-root', which is in audit (+1 more); ref=8d21c0aa")
    );
    assert_eq!(super::AuditedRecord::default().line("x", "y"), None);
}

#[test]
fn a_record_of_a_newer_version_is_read_without_what_is_unknown() {
    let mut value = serde_json::to_value(record()).expect("JSON");
    value["colour"] = json!("green");
    assert_eq!(
        serde_json::from_value::<LaunchRecord>(value).expect("a record"),
        record()
    );
}
