use proptest::prelude::*;
use serde_json::json;

use super::{LINE_LIMIT_BYTES, PART_FLOOR_BYTES, QUOTE_LIMIT_BYTES, Refusal, Refusals, quote};
use crate::{Code, Kind, RecordId};

const ID: RecordId = RecordId([0x5d, 0x0c, 0x11, 0xe2]);

fn refusal() -> Refusal {
    Refusal::new(
        Code::PcrDrift,
        "node 'w7' PCR 7 (sha256)",
        "3f2a as attested",
        "9c01",
    )
    .with_remedy("re-attest with 'portcullis attest'")
}

#[test]
fn the_line_has_its_parts_in_order() {
    assert_eq!(
        Refusals::from(refusal()).line(&ID),
        "portcullis: refused [pcr-drift] node 'w7' PCR 7 (sha256): expected 3f2a as attested, \
         found 9c01; re-attest with 'portcullis attest'; ref=5d0c11e2"
    );
    let more = Refusals::from_vec(vec![refusal(), refusal(), refusal()]).expect("three");
    assert!(
        more.line(&ID)
            .contains("PCR 7 (sha256) (+2 more): expected ")
    );
    assert_eq!(more.count(), 3);
    assert_eq!(Refusals::from_vec(Vec::new()), None);
}

#[test]
fn without_a_record_there_is_no_reference() {
    assert!(
        refusal()
            .to_string()
            .ends_with("; re-attest with 'portcullis attest'")
    );
}

#[test]
fn digests_are_cut_to_twelve_digits_in_the_line_and_whole_in_json() {
    let digest = "0123456789abcdef".repeat(4);
    let refusal = Refusal::new(
        Code::PcrDrift,
        "x",
        format!("sha256:{digest} as attested"),
        "0".repeat(31),
    );
    let line = refusal.to_string();
    assert!(
        line.contains("expected sha256:0123456789ab as attested, found 0000000"),
        "{line}"
    );
    assert!(
        line.contains(&"0".repeat(31)),
        "31 digits are no digest: {line}"
    );
    assert_eq!(
        refusal.to_json()["expected"],
        json!(format!("sha256:{digest} as attested"))
    );
}

#[test]
fn found_is_cut_before_expected_and_expected_before_subject() {
    let long = |letter: char| format!("{letter} ").repeat(100);
    let cut = |subject: String, expected: String, found: String| {
        let line = Refusal::new(Code::PcrDrift, subject, expected, found).line(0, Some(ID));
        assert!(line.len() <= LINE_LIMIT_BYTES, "{}", line.len());
        line
    };
    let short = || "x".to_owned();
    assert!(cut(short(), short(), long('f')).contains("; ref=5d0c11e2"));
    let subject = "s".repeat(80);
    let line = cut(subject.clone(), short(), long('f'));
    assert!(line.contains(&subject), "the subject stays: {line}");
    let line = cut(long('s'), long('e'), long('f'));
    for part in ["f f f f f…; ", "e e e e e…, ", "s s s s"] {
        assert!(line.contains(part), "{part}: {line}");
    }
}

#[test]
fn a_line_of_256_bytes_is_left_and_one_of_257_is_cut() {
    let fixed = Refusal::new(Code::PcrDrift, "s", "e", "")
        .line(0, Some(ID))
        .len();
    for (more, cut) in [(0, false), (1, true)] {
        let found = "g".repeat(LINE_LIMIT_BYTES - fixed + more);
        let line = Refusal::new(Code::PcrDrift, "s", "e", found).line(0, Some(ID));
        assert_eq!(line.len(), LINE_LIMIT_BYTES);
        assert_eq!(line.contains('…'), cut);
    }
}

#[test]
fn json_has_every_field_of_every_reason() {
    let both = Refusals::from_vec(vec![refusal(), refusal()]).expect("two");
    let reason = json!({
        "kind": "refused",
        "code": "pcr-drift",
        "subject": "node 'w7' PCR 7 (sha256)",
        "expected": "3f2a as attested",
        "found": "9c01",
        "remedy": "re-attest with 'portcullis attest'",
        "ref": "5d0c11e2",
        "spec": "NIST SP 800-190 4.6",
    });
    assert_eq!(both.to_json(&ID), json!([reason, reason]));
}

#[test]
fn outside_text_is_escaped_and_cut() {
    assert_eq!(quote(""), "''");
    assert_eq!(quote("web-1"), "'web-1'");
    assert_eq!(quote("größe \"x\""), "'größe \"x\"'");
    assert_eq!(
        quote("a'b\\c\td\u{1b}[0m\u{202e}"),
        r"'a\'b\\c\td\u{1b}[0m\u{202e}'"
    );
    assert_eq!(quote(&"a".repeat(62)).len(), 64);
    assert!(!quote(&"a".repeat(62)).contains('…'));
    assert_eq!(quote(&"a".repeat(63)), format!("'{}…'", "a".repeat(59)));
    assert_eq!(
        quote(&format!("{}\u{1b}{}", "a".repeat(57), "b".repeat(9))).len(),
        62
    );
}

#[test]
fn a_finding_of_an_appraisal_becomes_a_refusal_with_a_remedy() {
    let finding = portcullis_attestation::finding::Finding {
        code: "pcr-mismatch",
        subject: "PCR 7 (sha256)".to_owned(),
        expected: "one of 2 values".to_owned(),
        found: "5ae8".to_owned(),
    };
    let refusal = Refusal::from(&finding);
    assert_eq!(
        (refusal.code, refusal.kind()),
        (Code::PcrMismatch, Kind::Refused)
    );
    assert_eq!(refusal.remedy, Code::PcrMismatch.remedy());
}

proptest! {
    #[test]
    fn any_line_is_one_line_within_the_limit_with_code_and_reference(
        code in prop::sample::select(Code::ALL),
        subject in "\\PC{0,200}|[a-f0-9\n\u{1b} ]{0,200}",
        expected in "\\PC{0,200}|[a-f0-9\n ]{0,200}",
        found in ".{0,300}|[a-f0-9\r\n ]{0,300}",
        more in 0_usize..1000,
    ) {
        let line = Refusal::new(code, subject, expected, found).line(more, Some(ID));
        prop_assert!(line.len() <= LINE_LIMIT_BYTES, "{} bytes: {line}", line.len());
        prop_assert!(!line.contains(char::is_control), "{line:?}");
        let head = format!("portcullis: {} [{}] ", code.kind(), code);
        prop_assert!(line.starts_with(&head), "{line}");
        prop_assert!(line.ends_with("; ref=5d0c11e2"), "{line}");
    }

    #[test]
    fn quoted_text_is_within_its_limit_and_closed(outside in ".{0,200}|[\\\\'\"\n\u{7f}a]{0,100}") {
        let quoted = quote(&outside);
        prop_assert!(quoted.len() <= QUOTE_LIMIT_BYTES, "{quoted}");
        prop_assert!(!quoted.contains(char::is_control), "{quoted:?}");
        let inner = quoted.strip_prefix('\'').and_then(|rest| rest.strip_suffix('\'')).expect("ticks");
        let mut characters = inner.chars();
        while let Some(character) = characters.next() {
            prop_assert_ne!(character, '\'', "an open tick in {}", quoted);
            if character == '\\' {
                prop_assert!(characters.next().is_some(), "a broken escape in {quoted}");
            }
        }
    }

    #[test]
    fn parts_keep_their_floor(found in "[g-z]{40,300}") {
        let refusal = Refusal::new(Code::PcrDrift, "s".repeat(150), "e ".repeat(90), found);
        let line = refusal.line(0, Some(ID));
        let (_, rest) = line.split_once(", found ").expect("found");
        let (shown, _) = rest.split_once("; ").expect("remedy");
        prop_assert!(shown.len() >= PART_FLOOR_BYTES, "{shown}");
    }
}
