//! Lines for containerd's log, through the FIFO `log` in the bundle.
//!
//! Writing never blocks and never fails a caller: without a reader, or with a full pipe, a line
//! is dropped. No environment, arguments or specs are ever passed here.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

static SINK: Mutex<Option<File>> = Mutex::new(None);
/// Whether containerd logs at level `debug` and told this program so.
static VERBOSE: AtomicBool = AtomicBool::new(false);

/// Opens the bundle's log FIFO; without one, lines go nowhere.
pub(crate) fn open(bundle: &Path) {
    // Read-write: opening does not wait for a reader, and writing without one is no SIGPIPE.
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW | libc::O_CLOEXEC)
        .open(bundle.join("log"));
    let fifo = opened.ok().filter(|file| {
        file.metadata()
            .is_ok_and(|metadata| metadata.file_type().is_fifo())
    });
    if let Ok(mut sink) = SINK.lock() {
        *sink = fifo;
    }
}

/// Has lines of level `debug` written too.
pub(crate) fn verbose() {
    VERBOSE.store(true, Ordering::Relaxed);
}

/// Writes one line at level `debug` about how long something took since `begun`.
pub(crate) fn took(what: &str, begun: Instant) {
    if VERBOSE.load(Ordering::Relaxed) {
        let took = begun.elapsed().as_micros();
        line("debug", &format!("{what} took {took} µs"));
    }
}

/// Writes one line at level `warning`.
pub(crate) fn warn(message: &str) {
    line("warning", message);
}

/// Writes one line at level `error`.
pub(crate) fn error(message: &str) {
    line("error", message);
}

/// Joins an error and its causes with ": ", each once.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

fn line(level: &str, message: &str) {
    let Ok(mut sink) = SINK.lock() else { return };
    let Some(file) = sink.as_mut() else { return };
    // A refusal's line names the program already.
    let message = message.strip_prefix("portcullis: ").unwrap_or(message);
    let message: String = message.chars().flat_map(escape).collect();
    let text = format!("level={level} msg=\"portcullis: {message}\"\n");
    // A full pipe drops the line: a log reader must never be able to stop a container.
    drop(file.write(text.as_bytes()));
}

/// Keeps readable text and escapes what could forge a second line.
fn escape(character: char) -> impl Iterator<Item = char> {
    let plain = !character.is_control() && character != '"' && character != '\\';
    let (one, many) = if plain {
        (Some(character), None)
    } else {
        (None, Some(character.escape_default()))
    };
    one.into_iter().chain(many.into_iter().flatten())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_causes_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot open the gate")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("rusty"));
        assert_eq!(chain(&error), "cannot open the gate: rusty");
    }

    #[test]
    fn escapes_what_could_forge_a_line() {
        let text: String = "a\nlevel=info \"x\"\\".chars().flat_map(escape).collect();
        assert_eq!(text, "a\\nlevel=info \\\"x\\\"\\\\");
    }
}
