//! The firmware's event log: what was measured into which PCR, from power-on to the kernel.
//!
//! The kernel shows it as `binary_bios_measurements`. Nothing in it is signed. A PCR that a quote
//! covers proves the *digests* of its events and their order, once they replay to its value; the
//! type of an event and the bytes beside its digest are proven by that no more than any comment.
//! [`Event::checked`] gives those bytes whose own hash is the digest, and only those.
//!
//! The parser is written here and not taken from a crate: it has to refuse what a lenient reader
//! and a TPM could see differently (digests missing or given twice, bytes after the last event),
//! name the place, and allocate nothing that a size in the log asks for.
//!
//! # Source
//!
//! TCG PC Client Platform Firmware Profile 1.06, section 10 "Event Logging".
#![warn(clippy::arithmetic_side_effects)]

mod checked;
mod header;
mod kind;
mod replay;
mod variable;

pub use checked::Checked;
pub use kind::EventKind;
pub use replay::ReplayError;
pub use variable::Variable;

use crate::little_endian::{Cursor, TooShort};
use crate::pcr::{HashAlg, PcrIndex};

/// Largest log that is read, in bytes. Logs of servers are 20 to 150 KiB.
pub const MAX_BYTES: usize = 1024 * 1024;
/// Events of one log. Those of servers have 50 to 300.
pub const MAX_EVENTS: usize = 16 * 1024;
/// Algorithms of one log, so also digests of one event.
const MAX_ALGORITHMS: u32 = 16;
/// Size of a SHA-1 digest in bytes, which the first event of every log has.
const SHA1_BYTES: usize = 20;

/// A log that was taken apart. Its digests are proven by a replay, see [`EventLog::replay`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventLog<'a> {
    algorithms: Vec<Algorithm>,
    events: Vec<Event<'a>>,
    startup_locality: u8,
}

/// A hash algorithm that the log's header names; it may be one that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Algorithm {
    id: u16,
    digest_bytes: usize,
}

/// One measurement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event<'a> {
    /// Place in the log; the header of a crypto-agile log counts as number 0.
    pub number: usize,
    /// First byte of the event in the log.
    pub offset: usize,
    /// The register, as the log has it: above 23 only where nothing was extended.
    pub pcr: u32,
    /// What the firmware calls it. Covered by no digest: a hint for people.
    pub kind: EventKind,
    /// The bytes beside the digests. Not proven, see [`Event::checked`].
    pub data: &'a [u8],
    digests: Vec<(u16, &'a [u8])>,
}

/// A log that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EventLogError {
    /// The log is too large.
    #[error("cannot read event log of {size_bytes} bytes, more than {MAX_BYTES}")]
    Size {
        /// Its size in bytes.
        size_bytes: usize,
    },
    /// There are too many events.
    #[error("cannot read event log of more than {MAX_EVENTS} events: at byte {offset} is one more")]
    Events {
        /// Where the first event beyond the limit begins.
        offset: usize,
    },
    /// An event ends after the log.
    #[error("cannot read event {number} of event log: {field} at byte {offset} ends after the log")]
    Truncated {
        /// The event.
        number: usize,
        /// TCG's name of the field.
        field: &'static str,
        /// Where the field begins in the log.
        offset: usize,
    },
    /// A field is not what it must be.
    #[error(
        "cannot read event {number} of event log: {field} at byte {offset} is {found}, expected {expected}"
    )]
    Unexpected {
        /// The event.
        number: usize,
        /// TCG's name of the field.
        field: &'static str,
        /// Where the field begins in the log.
        offset: usize,
        /// What it has to be.
        expected: &'static str,
        /// What it is, as a number.
        found: String,
    },
}

// === impl EventLog ===

impl<'a> EventLog<'a> {
    /// Takes a log apart, crypto-agile or of the older form with SHA-1 alone.
    ///
    /// # Errors
    ///
    /// [`EventLogError`], which names event and byte. There is no log without an event.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, EventLogError> {
        if bytes.len() > MAX_BYTES {
            return Err(EventLogError::Size {
                size_bytes: bytes.len(),
            });
        }
        let mut cursor = Cursor::new(bytes);
        let first = sha1_event(&mut cursor, 0)?;
        let mut log = match header::algorithms(&first)? {
            Some(algorithms) => Self::empty(algorithms),
            None => {
                let mut log = Self::empty(vec![Algorithm {
                    id: HashAlg::Sha1.tpm_id(),
                    digest_bytes: SHA1_BYTES,
                }]);
                log.events.push(first);
                return log.read_rest(cursor, |cursor, number, _| sha1_event(cursor, number));
            }
        };
        log.events.clear();
        log.read_rest(cursor, agile_event)
    }

    const fn empty(algorithms: Vec<Algorithm>) -> Self {
        Self {
            algorithms,
            events: Vec::new(),
            startup_locality: 0,
        }
    }

    fn read_rest(
        mut self,
        mut cursor: Cursor<'a>,
        read: impl Fn(&mut Cursor<'a>, usize, &[Algorithm]) -> Result<Event<'a>, EventLogError>,
    ) -> Result<Self, EventLogError> {
        let mut number: usize = 1;
        while !cursor.is_at_end() {
            if number >= MAX_EVENTS {
                let offset = cursor.offset();
                return Err(EventLogError::Events { offset });
            }
            self.events
                .push(read(&mut cursor, number, &self.algorithms)?);
            number = number.saturating_add(1);
        }
        self.startup_locality = header::startup_locality(&self.events)?;
        Ok(self)
    }

    /// The events in their order, without the header.
    #[must_use]
    pub fn events(&self) -> &[Event<'a>] {
        &self.events
    }

    /// The events that were extended into `pcr`, in their order.
    pub fn measured(&self, pcr: PcrIndex) -> impl Iterator<Item = &Event<'a>> {
        self.events
            .iter()
            .filter(move |event| event.is_extended() && event.pcr == u32::from(pcr.get()))
    }

    /// The banks that the log has digests for, as far as they are known here.
    pub fn banks(&self) -> impl Iterator<Item = HashAlg> {
        self.algorithms
            .iter()
            .filter_map(|algorithm| HashAlg::from_tpm_id(algorithm.id))
    }

    /// The locality that started the TPM, by the log; 0 if it does not say. Proven by the replay
    /// of PCR 0, which begins with it.
    #[must_use]
    pub const fn startup_locality(&self) -> u8 {
        self.startup_locality
    }
}

/// TCG_PCR_EVENT: a digest of SHA-1.
fn sha1_event<'a>(cursor: &mut Cursor<'a>, number: usize) -> Result<Event<'a>, EventLogError> {
    let offset = cursor.offset();
    let (pcr, kind) = register(cursor, number)?;
    let digest = cursor
        .bytes("digest", SHA1_BYTES)
        .map_err(|short| truncated(number, short))?;
    let data = cursor
        .sized("event")
        .map_err(|short| truncated(number, short))?;
    Ok(Event {
        number,
        offset,
        pcr,
        kind,
        data,
        digests: vec![(HashAlg::Sha1.tpm_id(), digest)],
    })
}

/// TCG_PCR_EVENT2: a digest of each bank.
fn agile_event<'a>(
    cursor: &mut Cursor<'a>,
    number: usize,
    algorithms: &[Algorithm],
) -> Result<Event<'a>, EventLogError> {
    let short = |short| truncated(number, short);
    let offset = cursor.offset();
    let (pcr, kind) = register(cursor, number)?;
    let at = cursor.offset();
    let count = cursor.u32("digests.count").map_err(short)?;
    if usize::try_from(count) != Ok(algorithms.len()) {
        return Err(EventLogError::Unexpected {
            number,
            field: "digests.count",
            offset: at,
            expected: "one digest for each algorithm of the header",
            found: count.to_string(),
        });
    }
    let mut digests: Vec<(u16, &[u8])> = Vec::with_capacity(algorithms.len());
    for _ in algorithms {
        let at = cursor.offset();
        let id = cursor.u16("digests.hashAlg").map_err(short)?;
        let known = algorithms
            .iter()
            .find(|one| one.id == id)
            .filter(|_| digests.iter().all(|(given, _)| *given != id));
        let Some(algorithm) = known else {
            return Err(EventLogError::Unexpected {
                number,
                field: "digests.hashAlg",
                offset: at,
                expected: "each algorithm of the header once",
                found: format!("{id:#06x}"),
            });
        };
        let digest = cursor
            .bytes("digests.digest", algorithm.digest_bytes)
            .map_err(short)?;
        digests.push((id, digest));
    }
    let data = cursor.sized("event").map_err(short)?;
    Ok(Event {
        number,
        offset,
        pcr,
        kind,
        data,
        digests,
    })
}

/// Register and type, which both forms begin with.
fn register(cursor: &mut Cursor<'_>, number: usize) -> Result<(u32, EventKind), EventLogError> {
    let offset = cursor.offset();
    let pcr = cursor
        .u32("pcrIndex")
        .map_err(|short| truncated(number, short))?;
    let kind = cursor
        .u32("eventType")
        .map_err(|short| truncated(number, short))?;
    let kind = EventKind(kind);
    let is_register = u8::try_from(pcr).ok().and_then(PcrIndex::new).is_some();
    if !is_register && kind != EventKind::NO_ACTION {
        return Err(EventLogError::Unexpected {
            number,
            field: "pcrIndex",
            offset,
            expected: "0 to 23",
            found: pcr.to_string(),
        });
    }
    Ok((pcr, kind))
}

const fn truncated(number: usize, short: TooShort) -> EventLogError {
    EventLogError::Truncated {
        number,
        field: short.field,
        offset: short.offset,
    }
}

// === impl Event ===

impl<'a> Event<'a> {
    /// The digest of one bank.
    #[must_use]
    pub fn digest(&self, bank: HashAlg) -> Option<&'a [u8]> {
        let id = bank.tpm_id();
        let (_, digest) = self.digests.iter().find(|(given, _)| *given == id)?;
        Some(digest)
    }

    /// Whether a PCR was extended with it. That the log says so is proven by the replay, too: an
    /// event left out or put in gives another value.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.kind != EventKind::NO_ACTION
    }
}

#[cfg(test)]
mod tests;
