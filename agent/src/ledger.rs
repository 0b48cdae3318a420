//! The ledger: what was decided about launches on this node, one JSON object per line.
//!
//! Each line names the SHA-256 of the line before, so nothing can be taken out or altered without
//! a trace in everything after it. A line is in the file before its sequence number is answered;
//! a crash of the agent loses none, a power cut may lose the last seconds, which the kernel had
//! not written back.
//!
//! ```text
//! {"at":"2026-11-21T20:58:04Z","boot_id":"9b0b…","boottime_ms":81234,"decision":"permitted",…,
//!  "prev":"9f86…","ref":"8d21c0aa","seq":41}
//! ```
//!
//! What a line is, and how files follow each other, is said by [`portcullis_ledger`].

mod files;

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_attestation::hex;
use portcullis_ledger::link::{LINE_LIMIT_BYTES, Link, RecordTooLarge, Stamp, digest};
use portcullis_ledger::segment;
use serde_json::{Map, Value};

pub(crate) use files::{contains, find, for_each_line};

use crate::log;

/// What is read from the end of the file to find the last line, and a torn one after it.
const TAIL_BYTES: u64 = 2 * LINE_LIMIT_BYTES as u64 + 2;

/// The ledger, open for appending.
#[derive(Debug)]
pub(crate) struct Ledger {
    file: File,
    path: PathBuf,
    length: u64,
    /// A file that would grow beyond this is put aside, and the next one begun.
    limit: u64,
    end: Link,
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
    #[error(transparent)]
    Size(#[from] RecordTooLarge),
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
    /// are moved to a file beside the ledger, and a line in the ledger says so. A file that is
    /// empty goes on where the newest full one beside it ends.
    pub(crate) fn open(path: &Path, stamp: &Stamp) -> Result<(Self, Option<Torn>), LedgerError> {
        let mut file = files::open_for_appending(path)?;
        let reading = |source| LedgerError::Read {
            path: path.to_owned(),
            source,
        };
        let length = file.metadata().map_err(reading)?.len();
        let tail = Tail::read(&mut file, path, length)?;
        let end = match (tail.link, length == tail.torn.len() as u64) {
            (Some(link), _) => link,
            (None, true) => files::end_of_full(path)?,
            (None, false) => {
                return Err(LedgerError::Continue {
                    path: path.to_owned(),
                });
            }
        };
        let mut ledger = Self {
            file,
            path: path.to_owned(),
            length: length.saturating_sub(tail.torn.len() as u64),
            limit: segment::LIMIT_BYTES,
            end,
            is_torn: false,
        };
        let torn = ledger.move_aside(&tail.torn, stamp)?;
        Ok((ledger, torn))
    }

    /// The place after the last line.
    pub(crate) fn end(&self) -> Link {
        self.end
    }

    /// The number of the last line; zero if there is none.
    pub(crate) fn sequence(&self) -> u64 {
        self.end.sequence
    }

    /// Appends `record` and returns its number.
    ///
    /// The ledger's own fields win over those of the record.
    pub(crate) fn append(
        &mut self,
        record: &Map<String, Value>,
        stamp: &Stamp,
    ) -> Result<u64, LedgerError> {
        if self.is_torn {
            return Err(LedgerError::Torn {
                path: self.path.clone(),
            });
        }
        let (mut line, end) = self.end.next_line(record, stamp)?;
        line.push(b'\n');
        let size = line.len() as u64;
        if self.length > 0 && self.length.saturating_add(size) > self.limit {
            self.begin_file();
        }
        if let Err(source) = self.file.write_all(&line) {
            // Half a line may be there; a line after it would be lost together with it.
            self.is_torn = self.file.set_len(self.length).is_err();
            return Err(LedgerError::Append {
                path: self.path.clone(),
                source,
            });
        }
        self.length = self.length.saturating_add(size);
        self.end = end;
        Ok(end.sequence)
    }

    /// Puts the full file aside and begins the next one. Where that fails the old one goes on: a
    /// record is worth more than the size of a file.
    fn begin_file(&mut self) {
        match files::begin(&self.path, &self.file, self.end.sequence) {
            Ok(next) => {
                self.file = next;
                self.length = 0;
                self.limit = segment::LIMIT_BYTES;
            }
            Err(error) => {
                self.limit = self.length.saturating_add(segment::LIMIT_BYTES / 8);
                log::warn("full ledger goes on", &[("cause", &log::chain(&error))]);
            }
        }
    }

    /// Makes sure that everything survives a power cut.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn move_aside(&mut self, torn: &[u8], stamp: &Stamp) -> Result<Option<Torn>, LedgerError> {
        if torn.is_empty() {
            return Ok(None);
        }
        // The offset makes the name unique: what lies there now is cut off only once.
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(
            ".torn-{}-{}",
            self.length,
            stamp.at.replace(':', "")
        ));
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
        note.insert("sha256".to_owned(), hex::encode(&digest(torn)).into());
        self.append(&note, stamp)?;
        Ok(Some(Torn {
            path,
            bytes: torn.len(),
        }))
    }
}

/// The end of a file.
#[derive(Debug)]
struct Tail {
    /// The place after the last whole line, if that is one of ours.
    link: Option<Link>,
    /// What follows it.
    torn: Vec<u8>,
}

// === impl Tail ===

impl Tail {
    /// Reads it from a file of `length` bytes. A last whole line that is not one of ours is an
    /// error, for nothing can be chained to it.
    fn read(file: &mut File, path: &Path, length: u64) -> Result<Self, LedgerError> {
        let reading = |source| LedgerError::Read {
            path: path.to_owned(),
            source,
        };
        let continuing = || LedgerError::Continue {
            path: path.to_owned(),
        };
        let start = length.saturating_sub(TAIL_BYTES);
        let mut tail = Vec::new();
        file.seek(SeekFrom::Start(start)).map_err(reading)?;
        file.take(TAIL_BYTES)
            .read_to_end(&mut tail)
            .map_err(reading)?;
        let whole = match tail.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => end.saturating_add(1),
            None if start == 0 => 0,
            None => return Err(continuing()),
        };
        let torn = tail.split_off(whole);
        let link = match last_line(&tail) {
            None => None,
            Some(line) => Some(Link::of_line(line).ok().ok_or_else(continuing)?),
        };
        Ok(Self { link, torn })
    }
}

/// The last line of `lines`, without its end.
fn last_line(lines: &[u8]) -> Option<&[u8]> {
    lines
        .strip_suffix(b"\n")?
        .rsplit(|byte| *byte == b'\n')
        .next()
}

#[cfg(test)]
mod tests;
