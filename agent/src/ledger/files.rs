//! The files in which the ledger stands, in order.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use portcullis_ledger::link::{LINE_LIMIT_BYTES, Link};
use portcullis_ledger::segment;
use serde_json::{Map, Value};

use super::{LedgerError, Tail};

/// Opens the file that grows, making it if it is not there.
pub(super) fn open_for_appending(path: &Path) -> Result<File, LedgerError> {
    OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(path)
        .map_err(|source| LedgerError::Open {
            path: path.to_owned(),
            source,
        })
}

/// Puts the full file `path`, whose last entry is `last`, aside under the name of that entry, and
/// begins the next one. If anything fails, all is as before.
pub(super) fn begin(path: &Path, full: &File, last: u64) -> io::Result<File> {
    let aside = path.with_file_name(segment::name(last));
    let next = path.with_extension("next");
    // Left by one that died in between.
    match std::fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    full.sync_all()?;
    let file = OpenOptions::new()
        .read(true)
        .append(true)
        .create_new(true)
        .mode(0o600)
        .open(&next)?;
    std::fs::rename(path, &aside)?;
    if let Err(error) = std::fs::rename(&next, path) {
        // The full one is still open and goes on under its old name.
        std::fs::rename(&aside, path)?;
        return Err(error);
    }
    if let Some(directory) = path.parent() {
        File::open(directory)?.sync_all()?;
    }
    Ok(file)
}

/// The place after the last line of the newest full file beside `path`.
pub(super) fn end_of_full(path: &Path) -> Result<Link, LedgerError> {
    let Some(newest) = full(path)?.pop() else {
        return Ok(Link::GENESIS);
    };
    let mut file = open(&newest)?;
    let length = file.metadata().map_err(reading(&newest))?.len();
    let tail = Tail::read(&mut file, &newest, length)?;
    match tail.link {
        // A full file is whole: what is not was cut by somebody else.
        Some(link) if tail.torn.is_empty() => Ok(link),
        Some(_) | None => Err(LedgerError::Continue { path: newest }),
    }
}

/// The newest record with the reference `reference`, read without holding up appends.
pub(crate) fn find(
    path: &Path,
    reference: &str,
) -> Result<Option<Map<String, Value>>, LedgerError> {
    let needle = format!(r#""ref":"{reference}""#);
    let mut files = full(path)?;
    files.push(path.to_owned());
    for file in files.iter().rev() {
        let mut found = None;
        lines(file, &mut |line| {
            if contains(line, &needle)
                && let Ok(Value::Object(record)) = serde_json::from_slice(line)
                && record.get("ref").and_then(Value::as_str) == Some(reference)
            {
                found = Some(record);
            }
        })?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// Calls `each` with every line of the ledger in order, without its end. A line that is being
/// appended has no end yet and is left out.
pub(crate) fn for_each_line(path: &Path, each: &mut dyn FnMut(&[u8])) -> Result<(), LedgerError> {
    let mut files = full(path)?;
    files.push(path.to_owned());
    files.iter().try_for_each(|file| lines(file, each))
}

/// Whether `needle` is somewhere in `line`, which is JSON and so UTF-8.
pub(crate) fn contains(line: &[u8], needle: &str) -> bool {
    // Quicker by far than comparing windows of bytes; a full file has 64 MiB.
    str::from_utf8(line).is_ok_and(|line| line.contains(needle))
}

fn lines(path: &Path, each: &mut dyn FnMut(&[u8])) -> Result<(), LedgerError> {
    let mut reader = BufReader::new(open(path)?);
    let mut line = Vec::new();
    loop {
        line.clear();
        let limit = LINE_LIMIT_BYTES as u64;
        let count = (&mut reader)
            .take(limit)
            .read_until(b'\n', &mut line)
            .map_err(reading(path))?;
        if count == 0 {
            return Ok(());
        }
        if let Some(whole) = line.strip_suffix(b"\n") {
            each(whole);
        }
    }
}

/// The full files beside `path`, oldest first.
fn full(path: &Path) -> Result<Vec<PathBuf>, LedgerError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(reading(directory))? {
        let name = entry.map_err(reading(directory))?.file_name();
        if let Some(last) = name.to_str().and_then(segment::last_of) {
            found.push((last, directory.join(&name)));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn open(path: &Path) -> Result<File, LedgerError> {
    File::open(path).map_err(|source| LedgerError::Open {
        path: path.to_owned(),
        source,
    })
}

fn reading(path: &Path) -> impl Fn(io::Error) -> LedgerError {
    let path = path.to_owned();
    move |source| LedgerError::Read {
        path: path.clone(),
        source,
    }
}
