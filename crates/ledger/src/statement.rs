//! Entries of the ledger as in-toto statements.

use portcullis_attestation::hex;
use serde_json::{Map, Value, json};

use crate::entry::Entry;

/// `_type` of a statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";
/// Predicate type of a launch decision; the predicate is the entry.
pub const DECISION: &str = "https://portcullis.dev/launch-decision/v1";
/// Predicate type of what the ledger notes about itself, such as an anchor; the predicate is the
/// entry.
pub const EVENT: &str = "https://portcullis.dev/ledger-event/v1";

/// The statement about `entry`.
///
/// Its first subject is the entry itself, by the digest that the next entry names. A decision about
/// a container also has its image, if that is named by digest, and its configuration as the OCI
/// runtime got it.
///
/// # Source
///
/// in-toto Attestation Framework, spec/v1/statement.md.
#[must_use]
pub fn statement(entry: &Entry) -> Value {
    let node = entry.text(&["node"]).unwrap_or("unnamed");
    let mut subjects = vec![subject(
        &format!("portcullis-ledger/{node}/{}", entry.sequence),
        &hex::encode(&entry.digest),
    )];
    if let Some((image, digest)) = image(entry) {
        subjects.push(subject(image, digest));
    }
    let config = entry
        .text(&["config_sha256", "after"])
        .filter(|digest| is_sha256(digest));
    if let Some(digest) = config {
        let id = entry.text(&["container", "id"]).unwrap_or("unnamed");
        subjects.push(subject(&format!("{id}/config.json"), digest));
    }
    let predicate_type = if entry.event().is_some() {
        EVENT
    } else {
        DECISION
    };
    json!({
        "_type": STATEMENT_TYPE,
        "subject": subjects,
        "predicateType": predicate_type,
        "predicate": predicate(&entry.record),
    })
}

fn predicate(record: &Map<String, Value>) -> Value {
    Value::Object(record.clone())
}

fn subject(name: &str, sha256: &str) -> Value {
    json!({ "name": name, "digest": { "sha256": sha256 } })
}

/// The image's name and digest, where the name has one.
fn image(entry: &Entry) -> Option<(&str, &str)> {
    let image = entry.text(&["container", "image"])?;
    let (name, digest) = image
        .split_once("@sha256:")
        .or_else(|| Some((image, image.strip_prefix("sha256:")?)))?;
    is_sha256(digest).then_some((name, digest))
}

fn is_sha256(text: &str) -> bool {
    hex::decode_array::<32>(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::link::{Link, Stamp};

    fn entry(fields: &Value) -> Entry {
        let stamp = Stamp {
            at: "2026-11-21T20:58:04Z".to_owned(),
            boot: None,
        };
        let fields = fields.as_object().expect("an object");
        let (line, _) = Link::GENESIS.next_line(fields, &stamp).expect("small");
        Entry::parse(&line).expect("a line")
    }

    #[test]
    fn a_decision_names_entry_image_and_configuration() {
        let digest = "5a".repeat(32);
        let entry = entry(&json!({
            "node": "w7", "ref": "8d21c0aa", "decision": "permitted",
            "container": {"id": "web", "image": format!("docker.io/library/busybox@sha256:{digest}")},
            "config_sha256": {"before": "x", "after": digest},
        }));
        let statement = statement(&entry);
        assert_eq!(statement["_type"], STATEMENT_TYPE);
        assert_eq!(statement["predicateType"], DECISION);
        assert_eq!(statement["predicate"], Value::Object(entry.record.clone()));
        let expected = json!([
            {"name": "portcullis-ledger/w7/1", "digest": {"sha256": hex::encode(&entry.digest)}},
            {"name": "docker.io/library/busybox", "digest": {"sha256": digest}},
            {"name": "web/config.json", "digest": {"sha256": digest}},
        ]);
        assert_eq!(statement["subject"], expected);
    }

    #[test]
    fn a_name_without_a_digest_is_no_subject() {
        for image in [
            "docker.io/library/busybox:latest",
            "busybox@sha256:5a",
            "busybox@sha512:00",
            "",
        ] {
            let entry = entry(&json!({
                "container": {"id": "web", "image": image}, "config_sha256": {"after": "x"}
            }));
            let statement = statement(&entry);
            assert_eq!(
                statement["subject"].as_array().map(Vec::len),
                Some(1),
                "{image}"
            );
        }
        let bare = format!("sha256:{}", "5a".repeat(32));
        let statement = statement(&entry(&json!({"container": {"image": bare}})));
        assert_eq!(statement["subject"][1]["name"], bare);
    }

    #[test]
    fn what_the_ledger_notes_about_itself_is_no_decision() {
        let statement = statement(&entry(&json!({"event": "anchor"})));
        assert_eq!(statement["predicateType"], EVENT);
    }
}
