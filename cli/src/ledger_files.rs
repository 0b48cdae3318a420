//! The files of a ledger, read line by line.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, IsTerminal as _, Read as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use portcullis_config::paths;
use portcullis_ledger::entry::Entry;
use portcullis_ledger::link::LINE_LIMIT_BYTES;
use portcullis_ledger::segment;

use crate::failure::Failure;

/// How often progress is told, and after how long for the first time.
const PROGRESS: Duration = Duration::from_secs(1);
/// Lines between two looks at the clock.
const STRIDE: u64 = 1024;

/// Which ledger.
#[derive(Debug, Args)]
pub(crate) struct LedgerFiles {
    /// Directory of a ledger, or its files in order; this node's ledger if not given.
    #[arg(long, value_name = "DIR|FILE", num_args = 1..)]
    ledger: Vec<PathBuf>,
}

/// A line of a file.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Line<'a> {
    /// Without its end.
    Whole(&'a [u8]),
    /// The file ends in it.
    Torn(&'a [u8]),
    /// Longer than any entry; skipped.
    TooLong,
}

/// Why a ledger cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LedgerFilesError {
    #[error("cannot read ledger '{}'", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot find a ledger in '{}': expected '{}'", path.display(), segment::CURRENT)]
    Empty { path: PathBuf },
    #[error("cannot read line {line} of '{}': it is damaged; see 'portcullis ledger verify'", path.display())]
    Damaged { path: PathBuf, line: u64 },
}

// === impl LedgerFiles ===

impl LedgerFiles {
    /// The files, in the order of their lines.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>, Failure> {
        let named: &[PathBuf] = match self.ledger.as_slice() {
            [] => &[PathBuf::from(paths::STATE)],
            named => named,
        };
        let mut files = Vec::new();
        for path in named {
            let metadata = std::fs::metadata(path).map_err(|source| failed(path, source))?;
            if metadata.is_dir() {
                files.extend(inside(path)?);
            } else {
                files.push(path.clone());
            }
        }
        Ok(files)
    }

    /// Calls `each` with every line, and the file in which it stands.
    pub(crate) fn for_each(
        &self,
        each: &mut dyn FnMut(&Path, Line<'_>) -> Result<(), Failure>,
    ) -> Result<Vec<PathBuf>, Failure> {
        let files = self.files()?;
        let mut progress = Progress::new();
        for path in &files {
            let file = File::open(path).map_err(|source| failed(path, source))?;
            let mut reader = BufReader::with_capacity(LINE_LIMIT_BYTES, file);
            let mut line = Vec::new();
            while let Some(line) =
                next(&mut reader, &mut line).map_err(|source| failed(path, source))?
            {
                each(path, line)?;
                progress.tick();
            }
        }
        Ok(files)
    }

    /// Calls `each` with every entry. A line that the file ends in is passed over: it is being written at
    /// this moment, or was when the machine died. For one that is damaged, `failure` says what that
    /// means to the caller.
    pub(crate) fn for_each_entry(
        &self,
        failure: fn(LedgerFilesError) -> Failure,
        each: &mut dyn FnMut(&Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (mut current, mut number) = (None, 0_u64);
        self.for_each(&mut |file, line| {
            if current.as_deref() != Some(file) {
                current = Some(file.to_path_buf());
                number = 0;
            }
            number = number.saturating_add(1);
            let entry = match line {
                Line::Whole(line) => Entry::parse(line).ok(),
                Line::Torn(_) => return Ok(()),
                Line::TooLong => None,
            };
            match entry {
                Some(entry) => each(&entry),
                None => Err(failure(LedgerFilesError::Damaged {
                    path: file.to_path_buf(),
                    line: number,
                })),
            }
        })
        .map(drop)
    }
}

/// The files of the ledger in `directory`.
fn inside(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut full = Vec::new();
    let entries = std::fs::read_dir(directory).map_err(|source| failed(directory, source))?;
    for entry in entries {
        let name = entry
            .map_err(|source| failed(directory, source))?
            .file_name();
        if let Some(last) = name.to_str().and_then(segment::last_of) {
            full.push((last, directory.join(&name)));
        }
    }
    full.sort();
    let mut files: Vec<PathBuf> = full.into_iter().map(|(_, path)| path).collect();
    let current = directory.join(segment::CURRENT);
    if current.exists() {
        files.push(current);
    }
    if files.is_empty() {
        return Err(Failure::usage(LedgerFilesError::Empty {
            path: directory.to_path_buf(),
        }));
    }
    Ok(files)
}

fn failed(path: &Path, source: io::Error) -> Failure {
    Failure::usage(LedgerFilesError::Read {
        path: path.to_path_buf(),
        source,
    })
}

fn next<'a>(reader: &mut BufReader<File>, line: &'a mut Vec<u8>) -> io::Result<Option<Line<'a>>> {
    line.clear();
    let limit = LINE_LIMIT_BYTES as u64;
    if reader.take(limit).read_until(b'\n', line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Line::Whole(line)));
    }
    if line.len() < LINE_LIMIT_BYTES {
        return Ok(Some(Line::Torn(line)));
    }
    skip_line(reader)?;
    Ok(Some(Line::TooLong))
}

/// Reads to the next line end and keeps nothing.
fn skip_line(reader: &mut BufReader<File>) -> io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let end = buffer.iter().position(|byte| *byte == b'\n');
        let (count, is_end) = match end {
            Some(end) => (end.saturating_add(1), true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(count);
        if is_end {
            return Ok(());
        }
    }
}

/// Tells on a terminal how far reading has come.
struct Progress {
    count: u64,
    told: Instant,
    is_seen: bool,
}

impl Progress {
    fn new() -> Self {
        Self {
            count: 0,
            told: Instant::now(),
            is_seen: io::stderr().is_terminal(),
        }
    }

    fn tick(&mut self) {
        self.count = self.count.saturating_add(1);
        if self.is_seen && self.count.is_multiple_of(STRIDE) && self.told.elapsed() >= PROGRESS {
            self.told = Instant::now();
            anstream::eprintln!("portcullis: {} entries read", self.count);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(path: &Path) -> Vec<String> {
        let mut seen = Vec::new();
        let ledger = LedgerFiles {
            ledger: vec![path.to_path_buf()],
        };
        ledger
            .for_each(&mut |_, line| {
                seen.push(match line {
                    Line::Whole(text) => String::from_utf8_lossy(text).into_owned(),
                    Line::Torn(text) => format!("torn {}", String::from_utf8_lossy(text)),
                    Line::TooLong => "too long".to_owned(),
                });
                Ok(())
            })
            .unwrap();
        seen
    }

    #[test]
    fn reads_all_files_of_a_directory_in_order() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text);
        write(&segment::name(10), "c\n").unwrap();
        write(&segment::name(9), "a\nb\n").unwrap();
        write("ledger.jsonl.torn-5-x", "x\n").unwrap();
        write(segment::CURRENT, "d\n\ne").unwrap();
        assert_eq!(read(directory.path()), ["a", "b", "c", "d", "", "torn e"]);
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        let long = "x".repeat(3 * LINE_LIMIT_BYTES);
        std::fs::write(&path, format!("a\n{long}\nb\n{long}")).unwrap();
        assert_eq!(read(&path), ["a", "too long", "b", "too long"]);
    }

    #[test]
    fn a_directory_without_a_ledger_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = LedgerFiles {
            ledger: vec![directory.path().to_path_buf()],
        };
        assert_eq!(ledger.files().unwrap_err().exit(), 64);
        let ledger = LedgerFiles {
            ledger: vec![directory.path().join("absent")],
        };
        assert_eq!(ledger.files().unwrap_err().exit(), 64);
    }
}
