//! Anchors in a row: each has to follow from the one before.

use portcullis_attestation::anchor::extended;
use portcullis_attestation::hex;
use portcullis_attestation::tpm_name::TpmName;

use super::{Code, LastAnchor};
use crate::anchor::{Anchor, AnchorRecordError};
use crate::entry::Entry;
use crate::link::Link;

/// What is wrong with an anchor: kind, what was expected, what was found.
type Complaint = (Code, String, String);

/// The anchors so far.
#[derive(Debug)]
pub(super) struct Anchors {
    trusted: Option<Vec<TpmName>>,
    pub(super) verified: u64,
    pub(super) unverified: u64,
    pub(super) last: Option<LastAnchor>,
    /// Lines that the last anchor does not cover, in order.
    pub(super) since: Vec<Link>,
}

// === impl Anchors ===

impl Anchors {
    pub(super) const fn new(trusted: Option<Vec<TpmName>>) -> Self {
        Self {
            trusted,
            verified: 0,
            unverified: 0,
            last: None,
            since: Vec::new(),
        }
    }

    /// Notes a line, which an anchor may be about.
    pub(super) fn note(&mut self, link: Link) {
        self.since.push(link);
    }

    /// Judges an anchor. `from_the_start` says whether the ledger is here from its first line on.
    pub(super) fn judge(&mut self, entry: &Entry, from_the_start: bool) -> Vec<Complaint> {
        let anchor = match Anchor::from_record(&entry.record) {
            Ok(anchor) => anchor,
            Err(error) => return vec![malformed(&error)],
        };
        let ak = match anchor.ak() {
            Ok(ak) => ak,
            Err(error) => return vec![malformed(&error)],
        };
        match &self.trusted {
            None => self.unverified = self.unverified.saturating_add(1),
            Some(trusted) if !trusted.contains(ak.name()) => {
                let expected = "an AK that is trusted".to_owned();
                let found = ak.name().to_string();
                return vec![(Code::AnchorKeyUnknown, expected, found)];
            }
            Some(_) => {
                if let Err(error) = anchor.verify(&ak) {
                    let expected = "what the TPM signed".to_owned();
                    return vec![(Code::AnchorForged, expected, chain(&error))];
                }
                self.verified = self.verified.saturating_add(1);
            }
        }
        let mut complaints = Vec::new();
        let position = self
            .since
            .iter()
            .position(|link| link.sequence == anchor.through && link.head == anchor.head);
        if position.is_none() {
            let expected = "a line after the last anchor".to_owned();
            let head = hex::encode(&anchor.head);
            let found = format!("entry {} with sha256 {head}", anchor.through);
            complaints.push((Code::AnchorHead, expected, found));
        }
        complaints.extend(self.compare(&anchor, ak.name(), from_the_start));
        // What the anchor does not cover may be what the next one is about.
        let covered = position.map_or(self.since.len(), |position| position.saturating_add(1));
        self.since.drain(..covered);
        self.last = Some(LastAnchor {
            through: anchor.through,
            counter: anchor.counter,
            extend: anchor.extend,
            at: entry.at.clone(),
            ak: ak.name().clone(),
        });
        complaints
    }

    /// Whether counter and extend index follow from the anchor before.
    fn compare(&self, anchor: &Anchor, ak: &TpmName, from_the_start: bool) -> Vec<Complaint> {
        let mut complaints = Vec::new();
        let anew = extended(&[0; 32], &anchor.head);
        let Some(last) = self.last.as_ref().filter(|last| last.ak == *ak) else {
            // Its first anchor: nothing may have been anchored before the first line.
            if from_the_start && anchor.extend != anew {
                let expected = "an extend index that was never written before".to_owned();
                let found = format!("{}: this TPM anchored lines that are not here", {
                    hex::encode(&anchor.extend)
                });
                complaints.push((Code::AnchorExtend, expected, found));
            }
            return complaints;
        };
        let next = last.counter.saturating_add(1);
        if anchor.counter != next {
            let missing = anchor.counter.checked_sub(next);
            let found = match missing {
                Some(missing) => {
                    format!("{}: {missing} anchors are not here", anchor.counter)
                }
                None => anchor.counter.to_string(),
            };
            complaints.push((Code::AnchorCounter, next.to_string(), found));
        }
        let follows = extended(&last.extend, &anchor.head);
        if anchor.extend == follows {
        } else if anchor.extend == anew {
            let expected = hex::encode(&follows);
            complaints.push((Code::ExtendAnew, expected, hex::encode(&anchor.extend)));
        } else {
            let expected = hex::encode(&follows);
            complaints.push((Code::AnchorExtend, expected, hex::encode(&anchor.extend)));
        }
        complaints
    }
}

fn malformed(error: &AnchorRecordError) -> Complaint {
    let expected = "an anchor".to_owned();
    (Code::AnchorMalformed, expected, chain(error))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}
