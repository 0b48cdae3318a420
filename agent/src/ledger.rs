//! The ledger: what was decided about launches on this node, one JSON object per line.
//!
//! Each line names the SHA-256 of the line before, so nothing can be taken out or altered without
//! a trace in everything after it. A line is in the file before its sequence number is answered;
//! a crash of the agent loses none, a power cut may lose the last seconds, which the kernel had
//! not written back.
//!
//! ```text
//! {"at":"2026-11-21T20:58:04Z","decision":"permitted",…,"prev":"9f86…","ref":"8d21c0aa","seq":41}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_attestation::hex;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Longest line, its end included. A launch with hundreds of changes stays below.
pub(crate) const LINE_LIMIT_BYTES: usize = 64 * 1024;
/// What is read from the end of the file to find the last line, and a torn one after it.
const TAIL_BYTES: u64 = 2 * LINE_LIMIT_BYTES as u64 + 2;
/// What the first line names as the one before.
const GENESIS: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    path: PathBuf,
    length: u64,
    sequence: u64,
    head: String,
    /// An append failed and could not be undone; nothing may follow it.
    is_torn: bool,
}

/// What a crash had left at the end of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Torn {
    /// Where it lies now.
    pub(crate) path: PathBuf,
    /// Its size.
    pub(crate) bytes: usize,
}

/// A ledger that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The file cannot be opened.
    #[error("cannot open ledger '{}'", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The file cannot be read.
    #[error("cannot read ledger '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The last whole line is not one of ours, so nothing can be chained to it.
    #[error("cannot continue ledger '{}': its last line is not a record", path.display())]
    Continue {
        /// The file.
        path: PathBuf,
    },
    /// What a crash left cannot be moved aside.
    #[error("cannot move torn end of ledger to '{}'", path.display())]
    MoveTorn {
        /// Where it was to go.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// The record is too large.
    #[error("cannot append record of {size_bytes} bytes, more than {LINE_LIMIT_BYTES}")]
    Size {
        /// Its size as a line.
        size_bytes: usize,
    },
    /// The line cannot be written.
    #[error("cannot append to ledger '{}'", path.display())]
    Append {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// An earlier append failed half way and could not be undone.
    #[error("cannot append to ledger '{}': an earlier line is torn", path.display())]
    Torn {
        /// The file.
        path: PathBuf,
    },
}

// === impl Ledger ===

impl Ledger {
    /// Opens the ledger at `path`, making it if it is not there.
    ///
    /// Bytes after the last line end were being written when the agent or the machine died: they
    /// are moved to a file beside the ledger, and a line in the ledger says so.
    pub(crate) fn open(path: &Path, at: &str) -> Result<(Self, Option<Torn>), LedgerError> {
        let mut file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW)
            .open(path)
            .map_err(|source| LedgerError::Open {
                path: path.to_owned(),
                source,
            })?;
        let reading = |source| LedgerError::Read {
            path: path.to_owned(),
            source,
        };
        let length = file.metadata().map_err(reading)?.len();
        let tail_start = length.saturating_sub(TAIL_BYTES);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(tail_start)).map_err(reading)?;
        (&file)
            .take(TAIL_BYTES)
            .read_to_end(&mut tail)
            .map_err(reading)?;

        let continuing = || LedgerError::Continue {
            path: path.to_owned(),
        };
        let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end.saturating_add(1),
            None if tail_start == 0 => 0,
            None => return Err(continuing()),
        };
        let (lines, torn) = tail.split_at_checked(whole).unwrap_or((&tail, &[]));
        let (sequence, head) = match last_line(lines) {
            None if tail_start == 0 && lines.is_empty() => (0, GENESIS.to_owned()),
            None => return Err(continuing()),
            Some(line) => (sequence_of(line).ok_or_else(continuing)?, digest(line)),
        };
        let mut ledger = Self {
            file,
            path: path.to_owned(),
            length: length.saturating_sub(torn.len() as u64),
            sequence,
            head,
            is_torn: false,
        };
        let torn = ledger.move_aside(torn, at)?;
        Ok((ledger, torn))
    }

    /// The number of the last line; zero if there is none.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends `record` and returns its number. `at` is the time in RFC 3339.
    ///
    /// The ledger's own fields `seq`, `prev` and `at` win over those of the record.
    pub(crate) fn append(
        &mut self,
        record: &Map<String, Value>,
        at: &str,
    ) -> Result<u64, LedgerError> {
        if self.is_torn {
            return Err(LedgerError::Torn {
                path: self.path.clone(),
            });
        }
        let sequence = self.sequence.saturating_add(1);
        let mut record = record.clone();
        record.insert("seq".to_owned(), sequence.into());
        record.insert("prev".to_owned(), self.head.clone().into());
        record.insert("at".to_owned(), at.into());
        let mut line = Value::Object(record).to_string().into_bytes();
        let head = digest(&line);
        line.push(b'\n');
        if line.len() > LINE_LIMIT_BYTES {
            return Err(LedgerError::Size {
                size_bytes: line.len(),
            });
        }
        if let Err(source) = self.file.write_all(&line) {
            // Half a line may be there; a line after it would be lost together with it.
            self.is_torn = self.file.set_len(self.length).is_err();
            return Err(LedgerError::Append {
                path: self.path.clone(),
                source,
            });
        }
        self.length = self.length.saturating_add(line.len() as u64);
        self.sequence = sequence;
        self.head = head;
        Ok(sequence)
    }

    /// Makes sure that everything survives a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn move_aside(&mut self, torn: &[u8], at: &str) -> Result<Option<Torn>, LedgerError> {
        if torn.is_empty() {
            return Ok(None);
        }
        // The offset makes the name unique: what lies there now is cut off only once.
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".torn-{}-{}", self.length, at.replace(':', "")));
        let path = PathBuf::from(name);
        let moving = |source| LedgerError::MoveTorn {
            path: path.clone(),
            source,
        };
        let mut aside = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(moving)?;
        aside
            .write_all(torn)
            .and_then(|()| aside.sync_all())
            .and_then(|()| self.file.set_len(self.length))
            .and_then(|()| self.file.sync_all())
            .map_err(moving)?;
        let mut note = Map::new();
        let text = path.display().to_string();
        note.insert("event".to_owned(), "torn-line-moved".into());
        note.insert("file".to_owned(), text.into());
        note.insert("sha256".to_owned(), digest(torn).into());
        self.append(&note, at)?;
        Ok(Some(Torn {
            path,
            bytes: torn.len(),
        }))
    }
}

/// The newest record with the reference `reference`, read without holding up appends.
pub(crate) fn find(
    path: &Path,
    reference: &str,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    let reading = |source| LedgerError::Read {
        path: path.to_owned(),
        source,
    };
    let needle = format!(r#""ref":"{reference}""#);
    let file = File::open(path).map_err(reading)?;
    let mut lines = BufReader::new(file);
    let mut line = Vec::new();
    let mut found = None;
    loop {
        line.clear();
        let limit = LINE_LIMIT_BYTES as u64;
        let count = (&mut lines)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(reading)?;
        if count == 0 {
            return Ok(found);
        }
        // A line that is being appended has no end yet.
        let Some(whole) = line.strip_suffix(b"\n") else {
            continue;
        };
        if !whole
            .windows(needle.len())
            .any(|window| window == needle.as_bytes())
        {
            continue;
        }
        if let Ok(Value::Object(record)) = serde_json::from_slice(whole)
            && record.get("ref").and_then(Value::as_str) == Some(reference)
        {
            found = Some(record);
        }
    }
}

/// The last line of `lines`, without its end.
fn last_line(lines: &[u8]) -> Option<&[u8]> {
    lines
        .strip_suffix(b"\n")?
        .rsplit(|byte| *byte == b'\n')
        .next()
}

fn sequence_of(line: &[u8]) -> Option<u64> {
    let value: Value = serde_json::from_slice(line).ok()?;
    value.as_object()?.get("seq")?.as_u64()
}

fn digest(line: &[u8]) -> String {
    hex::encode(&Sha256::digest(line))
}

#[cfg(test)]
mod tests;
