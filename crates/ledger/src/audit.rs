//! Verifying a ledger, line after line.

mod anchors;

use portcullis_attestation::anchor::Certified;
use portcullis_attestation::hex;
use portcullis_attestation::tpm_name::TpmName;

use crate::anchor;
use crate::entry::{Entry, EntryError};
use crate::link::{LINE_LIMIT_BYTES, Link, digest};

use anchors::Anchors;

/// More findings than anybody reads; those after it are counted only.
const FINDING_LIMIT: usize = 100;

/// Something in a ledger that is to be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind.
    pub code: Code,
    /// The file, as its reader named it; empty for what is about the ledger as a whole.
    pub file: String,
    /// Number of the line in the file, from 1.
    pub line: u64,
    /// Number of the entry, if it has one.
    pub sequence: Option<u64>,
    /// What would have been right.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// Kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    /// A line is no entry.
    EntryMalformed,
    /// A line does not end, and another follows in another file, or it is not the last.
    EntryTorn,
    /// A number is missing, or there twice.
    SequenceBroken,
    /// A line does not name the one before.
    ChainBroken,
    /// The time since boot went backwards within one boot.
    TimeBackwards,
    /// An anchor cannot be read.
    AnchorMalformed,
    /// An anchor is signed by a key that is not trusted.
    AnchorKeyUnknown,
    /// An anchor is not what the TPM signed.
    AnchorForged,
    /// An anchor is about a line that is not in this ledger.
    AnchorHead,
    /// The counter did not go up by one: anchors are missing, or somebody else counted.
    AnchorCounter,
    /// The extend index does not follow from the anchor before.
    AnchorExtend,
    /// The TPM holds something else than the last anchor.
    LiveMismatch,
    /// An entry that was remembered is not there.
    EntryMissing,
    /// Notice: the wall clock was set back.
    ClockSetBack,
    /// Notice: the ledger does not begin with entry 1.
    BeginsLate,
    /// Notice: the last line has no end; it is being written, or was when the machine died.
    EndTorn,
    /// Notice: the agent moved an unfinished line aside.
    TornMoved,
    /// Notice: the extend index was deleted and defined anew between two anchors.
    ExtendAnew,
    /// Notice: the agent found TPM and ledger apart.
    AnchorApart,
}

/// What came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// How many lines are entries.
    pub entries: u64,
    /// Number of the first entry; 0 if there is none.
    pub first: u64,
    /// The end of the chain.
    pub end: Link,
    /// When the last entry was written.
    pub last_at: Option<String>,
    /// Anchors that were verified.
    pub anchors: u64,
    /// Anchors that could not be verified, because no key to do so was given.
    pub unverified_anchors: u64,
    /// The last anchor that holds.
    pub last_anchor: Option<LastAnchor>,
    /// What is wrong, and what is worth knowing, in the order of the lines.
    pub findings: Vec<Finding>,
    /// How many more there are.
    pub further_findings: u64,
    /// Lines after the last anchor, which only the chain holds together.
    pub(crate) since: Vec<Link>,
}

/// The last anchor of a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastAnchor {
    /// Number of the last line that it covers.
    pub through: u64,
    /// The counter.
    pub counter: u64,
    /// The extend index.
    pub extend: [u8; 32],
    /// When its line was written.
    pub at: String,
    /// TPM name of its AK.
    pub ak: TpmName,
}

/// Verifies lines in the order in which they were written.
///
/// A line that is wrong is told, and then taken as it is: what follows is judged by it, so that one
/// fault is told once.
#[derive(Debug)]
pub struct Audit {
    file: String,
    line: u64,
    entries: u64,
    first: u64,
    end: Option<Link>,
    last: Option<Seen>,
    torn: Option<Finding>,
    anchors: Anchors,
    remembered: Option<Link>,
    findings: Vec<Finding>,
    further_findings: u64,
}

/// Times of an entry, to compare the next one with.
#[derive(Debug, Clone)]
struct Seen {
    at: String,
    boot: Option<(String, u64)>,
}

// === impl Code ===

impl Code {
    /// Its name, kebab-case.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::EntryMalformed => "entry-malformed",
            Self::EntryTorn => "entry-torn",
            Self::SequenceBroken => "sequence-broken",
            Self::ChainBroken => "chain-broken",
            Self::TimeBackwards => "time-backwards",
            Self::AnchorMalformed => "anchor-malformed",
            Self::AnchorKeyUnknown => "anchor-key-unknown",
            Self::AnchorForged => "anchor-forged",
            Self::AnchorHead => "anchor-head",
            Self::AnchorCounter => "anchor-counter",
            Self::AnchorExtend => "anchor-extend",
            Self::LiveMismatch => "live-mismatch",
            Self::EntryMissing => "entry-missing",
            Self::ClockSetBack => "clock-set-back",
            Self::BeginsLate => "begins-late",
            Self::EndTorn => "end-torn",
            Self::TornMoved => "torn-moved",
            Self::ExtendAnew => "extend-anew",
            Self::AnchorApart => "anchor-apart",
        }
    }

    /// Whether it speaks against the ledger; a notice does not.
    #[must_use]
    pub const fn is_fault(self) -> bool {
        !matches!(
            self,
            Self::ClockSetBack
                | Self::BeginsLate
                | Self::EndTorn
                | Self::TornMoved
                | Self::ExtendAnew
                | Self::AnchorApart
        )
    }
}

// === impl Audit ===

impl Audit {
    /// Nothing was read yet. `trusted` names the AKs whose anchors count; `None` if none is known,
    /// and then anchors stay unverified.
    #[must_use]
    pub fn new(trusted: Option<Vec<TpmName>>) -> Self {
        Self {
            file: String::new(),
            line: 0,
            entries: 0,
            first: 0,
            end: None,
            last: None,
            torn: None,
            anchors: Anchors::new(trusted),
            remembered: None,
            findings: Vec::new(),
            further_findings: 0,
        }
    }

    /// Asks for an entry that somebody remembers: its number and digest.
    #[must_use]
    pub const fn remembering(mut self, entry: Link) -> Self {
        self.remembered = Some(entry);
        self
    }

    /// Begins the next file.
    pub fn begin_file(&mut self, name: &str) {
        name.clone_into(&mut self.file);
        self.line = 0;
    }

    /// Takes the next line, without its end. `is_whole` says whether it had one.
    pub fn take(&mut self, line: &[u8], is_whole: bool) {
        self.line = self.line.saturating_add(1);
        if let Some(torn) = self.torn.take() {
            self.add(Finding {
                code: Code::EntryTorn,
                ..torn
            });
        }
        if !is_whole {
            let found = format!("{} bytes without one", line.len());
            self.torn = Some(self.finding(Code::EndTorn, None, "a line end", &found));
            return;
        }
        match Entry::parse(line) {
            Ok(entry) => self.judge(&entry),
            Err(error) => self.malformed(line, &error),
        }
    }

    /// Notes a line that is longer than any entry; the reader skipped it.
    pub fn skip_too_long(&mut self) {
        self.line = self.line.saturating_add(1);
        let expected = format!("at most {LINE_LIMIT_BYTES} bytes");
        self.tell(Code::EntryMalformed, None, &expected, "more");
        // What its digest would be is not known, so the next line begins anew.
        self.end = None;
    }

    /// The end: what came out.
    #[must_use]
    pub fn finish(mut self) -> Outcome {
        if let Some(torn) = self.torn.take() {
            self.add(torn);
        }
        let end = self.end.unwrap_or(Link::GENESIS);
        if let Some(entry) = self.remembered.take() {
            self.file.clear();
            self.line = 0;
            let expected = format!(
                "{} with sha256 {}",
                entry.sequence,
                hex::encode(&entry.head)
            );
            let found = if entry.sequence > end.sequence {
                format!("a ledger that ends with {}", end.sequence)
            } else {
                "another entry, or none, in its place".to_owned()
            };
            self.tell(Code::EntryMissing, Some(entry.sequence), &expected, &found);
        }
        Outcome {
            entries: self.entries,
            first: self.first,
            end,
            last_at: self.last.map(|last| last.at),
            anchors: self.anchors.verified,
            unverified_anchors: self.anchors.unverified,
            last_anchor: self.anchors.last,
            findings: self.findings,
            further_findings: self.further_findings,
            since: self.anchors.since,
        }
    }

    fn judge(&mut self, entry: &Entry) {
        let number = Some(entry.sequence);
        let begins = self.entries == 0;
        match self.end {
            Some(end) => {
                let next = end.sequence.saturating_add(1);
                if entry.sequence != next {
                    let found = entry.sequence.to_string();
                    self.tell(Code::SequenceBroken, number, &next.to_string(), &found);
                }
                if entry.before != end.head {
                    let expected = format!("prev {}", hex::encode(&end.head));
                    let found = hex::encode(&entry.before);
                    self.tell(Code::ChainBroken, number, &expected, &found);
                }
            }
            None if !begins => {}
            None if entry.sequence == 1 && entry.before != Link::GENESIS.head => {
                let found = hex::encode(&entry.before);
                self.tell(Code::ChainBroken, number, "prev of zeros", &found);
            }
            None if entry.sequence > 1 => {
                let found = entry.sequence.to_string();
                self.tell(Code::BeginsLate, number, "entry 1", &found);
            }
            None => {}
        }
        if begins {
            self.first = entry.sequence;
        }
        self.entries = self.entries.saturating_add(1);
        self.compare_times(entry);
        self.end = Some(entry.link());
        if self.remembered == self.end {
            self.remembered = None;
        }
        self.look_at_event(entry);
        self.anchors.note(entry.link());
    }

    fn compare_times(&mut self, entry: &Entry) {
        let seen = Seen {
            at: entry.at.clone(),
            boot: entry.boot.clone(),
        };
        let Some(before) = self.last.replace(seen) else {
            return;
        };
        let number = Some(entry.sequence);
        if let (Some((boot, ms)), Some((earlier, earlier_ms))) = (&entry.boot, &before.boot)
            && boot == earlier
            && ms < earlier_ms
        {
            let expected = format!("boottime_ms of at least {earlier_ms}");
            self.tell(Code::TimeBackwards, number, &expected, &ms.to_string());
        }
        if entry.at < before.at {
            let expected = format!("{} or later", before.at);
            self.tell(Code::ClockSetBack, number, &expected, &entry.at);
        }
    }

    fn look_at_event(&mut self, entry: &Entry) {
        let number = Some(entry.sequence);
        match entry.event() {
            Some(anchor::EVENT) => {
                let begins_here = self.first == 1;
                for (code, expected, found) in self.anchors.judge(entry, begins_here) {
                    self.tell(code, number, &expected, &found);
                }
            }
            Some(anchor::APART_EVENT) => {
                let found = entry.text(&["reason"]).unwrap_or_default().to_owned();
                self.tell(Code::AnchorApart, number, "TPM and ledger in step", &found);
            }
            Some("torn-line-moved") => {
                let found = entry.text(&["file"]).unwrap_or_default().to_owned();
                self.tell(Code::TornMoved, number, "no unfinished line", &found);
            }
            Some(_) | None => {}
        }
    }

    fn malformed(&mut self, line: &[u8], error: &EntryError) {
        let mut found = error.to_string();
        if let Some(cause) = std::error::Error::source(error) {
            found = format!("{found}: {cause}");
        }
        self.tell(Code::EntryMalformed, None, "an entry of a ledger", &found);
        // Taken as it is: the next line says whether it belongs here.
        let sequence = self.end.map_or(0, |end| end.sequence).saturating_add(1);
        let head = digest(line);
        self.end = Some(Link { sequence, head });
    }

    fn tell(&mut self, code: Code, sequence: Option<u64>, expected: &str, found: &str) {
        let finding = self.finding(code, sequence, expected, found);
        self.add(finding);
    }

    fn finding(&self, code: Code, sequence: Option<u64>, expected: &str, found: &str) -> Finding {
        Finding {
            code,
            file: self.file.clone(),
            line: self.line,
            sequence,
            expected: expected.to_owned(),
            found: found.to_owned(),
        }
    }

    fn add(&mut self, finding: Finding) {
        if self.findings.len() < FINDING_LIMIT {
            self.findings.push(finding);
        } else {
            self.further_findings = self.further_findings.saturating_add(1);
        }
    }
}

// === impl Outcome ===

impl Outcome {
    /// The first thing that is wrong; `None` if nothing is.
    #[must_use]
    pub fn first_fault(&self) -> Option<&Finding> {
        self.findings.iter().find(|finding| finding.code.is_fault())
    }

    /// Compares the last anchor with what the TPM of the node holds now. A TPM that is one step
    /// ahead is well if that step is an anchor of a line that is here: its own line is not written
    /// yet.
    pub fn compare_live(&mut self, live: &Certified, ak: &TpmName) {
        let tell = |expected: String, found: String| Finding {
            code: Code::LiveMismatch,
            file: String::new(),
            line: 0,
            sequence: None,
            expected,
            found,
        };
        let shown = |counter: u64, extend: &[u8; 32]| {
            format!("counter {counter}, extend {}", hex::encode(extend))
        };
        let found = shown(live.counter, &live.extend);
        let Some(last) = &self.last_anchor else {
            self.findings
                .push(tell("a TPM that anchored nothing".to_owned(), found));
            return;
        };
        if last.ak != *ak {
            let expected = format!("the TPM of AK {}", last.ak);
            self.findings.push(tell(expected, format!("AK {ak}")));
            return;
        }
        let in_step = (live.counter, live.extend) == (last.counter, last.extend);
        let one_ahead = live.counter == last.counter.saturating_add(1);
        let ahead = (one_ahead || live.counter == last.counter)
            && self.since.iter().any(|link| {
                portcullis_attestation::anchor::extended(&last.extend, &link.head) == live.extend
            });
        if !in_step && !ahead {
            let expected = shown(last.counter, &last.extend);
            self.findings.push(tell(expected, found));
        }
    }
}

#[cfg(test)]
mod tests;
