//! A ledger with a TPM of its own, and what can be done to it.

use portcullis_attestation::ak::AkPublic;
use portcullis_attestation::anchor::{self as tpm, Certificates, Purpose};
use portcullis_attestation::attest::SignedAttest;
use portcullis_attestation::clock::ClockInfo;
use portcullis_attestation::jws::Signer as _;
use portcullis_attestation::software_key::SoftwareKey;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::*;
use crate::anchor::Anchor;
use crate::link::Stamp;

/// Signs NV contents as an AK does.
struct FakeTpm {
    key: SoftwareKey,
    counter: u64,
    extend: [u8; 32],
}

impl FakeTpm {
    fn new(seed: u8) -> Self {
        Self {
            key: SoftwareKey::from_random(&Zeroizing::new([seed; 32])).expect("a key"),
            counter: 4,
            extend: [0; 32],
        }
    }

    fn ak_public(&self) -> Vec<u8> {
        let mut area = vec![0x00, 0x23, 0x00, 0x0b, 0x00, 0x05, 0x00, 0x72, 0, 0];
        area.extend([0x00, 0x10, 0x00, 0x18, 0x00, 0x0b, 0x00, 0x03, 0x00, 0x10]);
        area.extend(sized(self.key.public_key().x()));
        area.extend(sized(self.key.public_key().y()));
        sized(&area)
    }

    fn ak(&self) -> TpmName {
        let ak = AkPublic::parse(&self.ak_public()).expect("an AK");
        ak.name().clone()
    }

    fn certify(&mut self, name: &TpmName, contents: &[u8], extra: &[u8]) -> SignedAttest {
        let mut message = vec![0xff, 0x54, 0x43, 0x47, 0x80, 0x14];
        message.extend(sized(&[&[0x00, 0x0b][..], &[0xaa; 32]].concat()));
        message.extend(sized(extra));
        message.extend([0; 7]);
        message.extend([9, 0, 0, 0, 3, 0, 0, 0, 1, 1]);
        message.extend([0; 8]);
        message.extend(sized(name.as_bytes()));
        message.extend([0, 0]);
        message.extend(sized(contents));
        let digest = Sha256::digest(&message).into();
        let signature = self.key.sign_digest(&digest).expect("signs");
        let signature = [
            &[0x00, 0x18, 0x00, 0x0b][..],
            &sized(&signature[..32]),
            &sized(&signature[32..]),
        ]
        .concat();
        SignedAttest { message, signature }
    }

    fn certificates(&mut self, purpose: &Purpose<'_>) -> Certificates {
        let extra = purpose.qualifying_data();
        let (counter, extend) = (self.counter.to_be_bytes(), self.extend);
        Certificates {
            counter: self.certify(&tpm::counter_name().expect("a name"), &counter, &extra),
            extend: self.certify(&tpm::extend_name().expect("a name"), &extend, &extra),
        }
    }

    fn anchor(&mut self, link: Link) -> Anchor {
        self.counter += 1;
        self.extend = tpm::extended(&self.extend, &link.head);
        self.certify_only(link)
    }

    fn certify_only(&mut self, link: Link) -> Anchor {
        let purpose = Purpose::Anchor {
            head: &link.head,
            sequence: link.sequence,
        };
        Anchor {
            through: link.sequence,
            head: link.head,
            counter: self.counter,
            extend: self.extend,
            ak_public: self.ak_public(),
            certificates: self.certificates(&purpose),
        }
    }

    fn live(&self) -> Certified {
        Certified {
            counter: self.counter,
            extend: self.extend,
            clock: ClockInfo {
                clock_ms: 9,
                reset_count: 3,
                restart_count: 1,
                safe: true,
            },
        }
    }
}

fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u16::try_from(bytes.len()).expect("small").to_be_bytes();
    [&size[..], bytes].concat()
}

/// Lines as the agent would have written them.
#[derive(Clone)]
struct Lines {
    lines: Vec<Vec<u8>>,
    end: Link,
}

impl Lines {
    const fn new() -> Self {
        Self {
            lines: Vec::new(),
            end: Link::GENESIS,
        }
    }

    fn append(&mut self, record: &Map<String, Value>) {
        let number = self.end.sequence;
        let stamp = Stamp {
            at: format!("2026-11-21T20:58:{:02}Z", number.min(59)),
            boot: Some(("b".to_owned(), number * 1000)),
        };
        let (line, end) = self.end.next_line(record, &stamp).expect("small");
        self.lines.push(line);
        self.end = end;
    }

    fn launch(&mut self, reference: &str) {
        let record = json!({ "ref": reference, "decision": "permitted" });
        self.append(record.as_object().expect("an object"));
    }

    fn anchor(&mut self, tpm: &mut FakeTpm) {
        let anchor = tpm.anchor(self.end);
        self.append(&anchor.to_record());
    }

    fn audit(&self, trusted: Option<Vec<TpmName>>) -> Outcome {
        let mut audit = Audit::new(trusted);
        audit.begin_file("ledger.jsonl");
        for line in &self.lines {
            audit.take(line, true);
        }
        audit.finish()
    }
}

/// Two anchors, each with a launch before and after.
fn sample() -> (Lines, FakeTpm) {
    let (mut lines, mut tpm) = (Lines::new(), FakeTpm::new(1));
    lines.launch("00000001");
    lines.anchor(&mut tpm);
    lines.launch("00000002");
    lines.launch("00000003");
    lines.anchor(&mut tpm);
    lines.launch("00000004");
    (lines, tpm)
}

fn codes(outcome: &Outcome) -> Vec<&'static str> {
    outcome
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect()
}

#[test]
fn a_whole_ledger_is_sound() {
    let (lines, tpm) = sample();
    let mut outcome = lines.audit(Some(vec![tpm.ak()]));
    assert_eq!(outcome.findings, []);
    assert_eq!(
        (outcome.entries, outcome.first, outcome.end),
        (6, 1, lines.end)
    );
    assert_eq!((outcome.anchors, outcome.unverified_anchors), (2, 0));
    let last = outcome.last_anchor.clone().expect("two anchors");
    assert_eq!((last.through, last.counter), (4, 6));
    outcome.compare_live(&tpm.live(), &tpm.ak());
    assert_eq!(outcome.findings, []);
}

#[test]
fn without_a_key_anchors_are_compared_and_not_believed() {
    let (lines, _) = sample();
    let outcome = lines.audit(None);
    assert_eq!(outcome.findings, []);
    assert_eq!((outcome.anchors, outcome.unverified_anchors), (0, 2));
}

#[test]
fn every_changed_byte_is_told_at_its_line() {
    let (lines, tpm) = sample();
    for index in 0..lines.lines.len() - 1 {
        let mut changed = lines.clone();
        // Inside the reference, so that the line still is one.
        let line = &mut changed.lines[index];
        let place = line.len() / 2;
        line[place] = if line[place] == b'0' { b'1' } else { b'0' };
        let outcome = changed.audit(Some(vec![tpm.ak()]));
        let first = outcome.first_fault().expect("a fault");
        let at = u64::try_from(index).expect("small") + 1;
        assert!(
            first.line == at || first.line == at + 1,
            "{index}: {first:?}"
        );
    }
}

#[test]
fn a_line_that_is_left_out_is_told() {
    let (lines, tpm) = sample();
    let mut cut = lines.clone();
    cut.lines.remove(2);
    let outcome = cut.audit(Some(vec![tpm.ak()]));
    let first = outcome.first_fault().expect("a fault");
    assert_eq!((first.code, first.line), (Code::SequenceBroken, 3));
    assert_eq!((first.sequence, first.expected.as_str()), (Some(4), "3"));
    assert!(codes(&outcome).contains(&"chain-broken"));
    // A ledger without its first lines says so, and is no fault: they may be elsewhere.
    let mut late = lines;
    late.lines.remove(0);
    let outcome = late.audit(Some(vec![tpm.ak()]));
    assert_eq!(codes(&outcome), ["begins-late", "anchor-head"]);
}

/// Root rewrites everything after the first anchor, hashes and all, and has the TPM anchor its work.
#[test]
fn a_ledger_rewritten_before_an_anchor_is_told_by_the_counter() {
    let (lines, mut tpm) = sample();
    let mut forged = lines;
    forged.lines.truncate(2);
    forged.end = Link::of_line(&forged.lines[1]).expect("a line");
    forged.launch("0000000f");
    forged.anchor(&mut tpm);
    let outcome = forged.audit(Some(vec![tpm.ak()]));
    assert_eq!(codes(&outcome), ["anchor-counter", "anchor-extend"]);
    let first = outcome.first_fault().expect("a fault");
    assert_eq!((first.line, first.sequence), (4, Some(4)));
    assert_eq!(first.expected, "6");
    assert_eq!(first.found, "7: 1 anchors are not here");
}

#[test]
fn deleting_the_extend_index_does_not_hide_a_rewrite() {
    let (lines, mut tpm) = sample();
    let mut forged = lines;
    forged.lines.truncate(2);
    forged.end = Link::of_line(&forged.lines[1]).expect("a line");
    forged.launch("0000000f");
    tpm.extend = [0; 32];
    forged.anchor(&mut tpm);
    let outcome = forged.audit(Some(vec![tpm.ak()]));
    assert_eq!(codes(&outcome), ["anchor-counter", "extend-anew"]);
}

#[test]
fn a_cut_end_is_told_by_the_living_tpm() {
    let (lines, tpm) = sample();
    let mut cut = lines.clone();
    cut.lines.truncate(3);
    let mut outcome = cut.audit(Some(vec![tpm.ak()]));
    assert_eq!(outcome.findings, [], "nothing in the file says so");
    outcome.compare_live(&tpm.live(), &tpm.ak());
    assert_eq!(codes(&outcome), ["live-mismatch"]);
    // Behind the last anchor only somebody's memory helps.
    let mut cut = lines.clone();
    cut.lines.truncate(5);
    let mut outcome = cut.audit(Some(vec![tpm.ak()]));
    outcome.compare_live(&tpm.live(), &tpm.ak());
    assert_eq!(outcome.findings, []);
    let remembering = |lines: &Lines, entry| {
        let mut audit = Audit::new(None).remembering(entry);
        for line in &lines.lines {
            audit.take(line, true);
        }
        codes(&audit.finish())
    };
    assert_eq!(remembering(&cut, lines.end), ["entry-missing"]);
    assert!(remembering(&lines, lines.end).is_empty());
}

#[test]
fn a_ledger_that_was_replaced_is_told_by_the_extend_index() {
    let (_, mut tpm) = sample();
    let mut fresh = Lines::new();
    fresh.launch("0000000f");
    fresh.anchor(&mut tpm);
    let outcome = fresh.audit(Some(vec![tpm.ak()]));
    assert_eq!(codes(&outcome), ["anchor-extend"]);
    let first = outcome.first_fault().expect("a fault");
    assert!(first.found.contains("lines that are not here"), "{first:?}");
}

#[test]
fn an_anchor_counts_only_with_a_trusted_key_and_what_it_signed() {
    let (lines, _) = sample();
    let stranger = FakeTpm::new(2).ak();
    let outcome = lines.audit(Some(vec![stranger]));
    assert_eq!(
        codes(&outcome),
        ["anchor-key-unknown", "anchor-key-unknown"]
    );

    type Forgery = fn(&mut Anchor);
    let forgeries: [(Forgery, &str); 5] = [
        (|it| it.counter += 1, "anchor-forged"),
        (|it| it.extend[0] ^= 1, "anchor-forged"),
        (|it| it.head[0] ^= 1, "anchor-forged"),
        (
            |it| it.certificates.extend.signature[9] ^= 1,
            "anchor-forged",
        ),
        (|it| it.ak_public.truncate(9), "anchor-malformed"),
    ];
    for (forge, code) in forgeries {
        let (mut lines, mut tpm) = sample();
        let mut anchor = tpm.anchor(lines.end);
        forge(&mut anchor);
        lines.append(&anchor.to_record());
        assert_eq!(codes(&lines.audit(Some(vec![tpm.ak()]))), [code]);
    }
    // Genuine, and about a line that is not here.
    let (mut lines, mut tpm) = sample();
    let elsewhere = Link {
        sequence: 6,
        head: [7; 32],
    };
    let anchor = tpm.anchor(elsewhere);
    lines.append(&anchor.to_record());
    assert_eq!(codes(&lines.audit(Some(vec![tpm.ak()]))), ["anchor-head"]);
}

#[test]
fn every_field_of_an_anchor_is_needed() {
    let (lines, mut tpm) = sample();
    let whole = tpm.anchor(lines.end).to_record();
    let names: Vec<String> = whole["anchor"]
        .as_object()
        .expect("an object")
        .keys()
        .cloned()
        .collect();
    assert_eq!(names.len(), 7);
    for name in names {
        for value in [Value::Null, json!(-1), json!("x"), json!({})] {
            let mut record = whole.clone();
            record["anchor"][&name] = value;
            let error = Anchor::from_record(&record).expect_err(&name);
            assert!(error.to_string().contains(&name), "{error}");
        }
    }
    assert_eq!(
        Anchor::from_record(&whole).expect("whole").to_record(),
        whole
    );
}

#[test]
fn an_anchor_that_was_interrupted_is_told_apart_from_a_foreign_one() {
    let (lines, mut tpm) = sample();
    let mut outcome = lines.audit(Some(vec![tpm.ak()]));
    // Extended and not counted, then counted: the line is still to come.
    tpm.extend = tpm::extended(&tpm.extend, &lines.end.head);
    outcome.compare_live(&tpm.live(), &tpm.ak());
    tpm.counter += 1;
    outcome.compare_live(&tpm.live(), &tpm.ak());
    assert_eq!(outcome.findings, []);
    tpm.counter += 1;
    outcome.compare_live(&tpm.live(), &tpm.ak());
    assert_eq!(codes(&outcome), ["live-mismatch"]);
}

#[test]
fn times_may_not_run_backwards_within_a_boot() {
    let at = |seconds: u64, boot: &str, ms: u64| Stamp {
        at: format!("2026-11-21T20:58:{seconds:02}Z"),
        boot: Some((boot.to_owned(), ms)),
    };
    let audit = |stamps: &[Stamp]| {
        let mut audit = Audit::new(None);
        let mut end = Link::GENESIS;
        for stamp in stamps {
            let (line, next) = end.next_line(&Map::new(), stamp).expect("small");
            audit.take(&line, true);
            end = next;
        }
        codes(&audit.finish())
    };
    assert!(audit(&[at(1, "a", 5), at(1, "a", 5), at(2, "b", 1)]).is_empty());
    assert_eq!(audit(&[at(1, "a", 5), at(1, "a", 4)]), ["time-backwards"]);
    assert_eq!(audit(&[at(2, "a", 5), at(1, "a", 6)]), ["clock-set-back"]);
}

#[test]
fn a_torn_line_is_told_and_only_at_the_end_excused() {
    let (lines, _) = sample();
    let torn = |at_end: bool| {
        let mut audit = Audit::new(None);
        audit.begin_file("one");
        audit.take(&lines.lines[0], true);
        audit.take(b"{\"half\"", false);
        if !at_end {
            audit.begin_file("two");
            audit.take(&lines.lines[1], true);
        }
        audit.finish()
    };
    let outcome = torn(true);
    assert_eq!(codes(&outcome), ["end-torn"]);
    assert_eq!(outcome.first_fault(), None);
    let outcome = torn(false);
    let first = outcome.first_fault().expect("a fault");
    assert_eq!(
        (first.code, first.file.as_str(), first.line),
        (Code::EntryTorn, "one", 2)
    );
}

#[test]
fn lines_that_are_none_are_told_and_counted() {
    let mut audit = Audit::new(None);
    audit.begin_file("x");
    for _ in 0..150 {
        audit.take(b"garbage", true);
    }
    audit.skip_too_long();
    let outcome = audit.finish();
    assert_eq!(outcome.findings.len(), FINDING_LIMIT);
    assert_eq!(outcome.further_findings, 51);
    assert_eq!(outcome.entries, 0);
    assert_eq!(outcome.findings[1].line, 2);
}

#[test]
fn an_empty_ledger_is_sound_and_proves_nothing() {
    let outcome = Audit::new(None).finish();
    assert_eq!((outcome.entries, outcome.end), (0, Link::GENESIS));
    assert_eq!(outcome.findings, []);
}

proptest! {
    #[test]
    fn no_lines_make_it_panic(
        lines in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..60), 0..8),
    ) {
        let mut audit = Audit::new(Some(Vec::new()));
        for line in &lines {
            audit.take(line, true);
        }
        prop_assert_eq!(audit.finish().anchors, 0);
    }

    /// Whatever is done to one anchor's line, it does not count as another one.
    #[test]
    fn no_change_of_an_anchor_goes_unnoticed(place in 0usize..1000, byte: u8) {
        let (mut changed, tpm) = sample();
        let line = &mut changed.lines[4];
        let place = place % line.len();
        prop_assume!(line[place] != byte && byte != b'\n');
        line[place] = byte;
        prop_assert!(changed.audit(Some(vec![tpm.ak()])).first_fault().is_some());
    }
}
