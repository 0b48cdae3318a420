//! The state of the container, as the runtime writes it to a hook's standard input.

use std::io::Read;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Instant;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use portcullis_gate::{Code, Refusal, quote};
use portcullis_json::Limits;
use serde_json::Value;

/// Largest state that is read, in bytes. It repeats the annotations of the configuration.
const LIMIT_BYTES: usize = 1024 * 1024;

/// Objects inside each other; the state has two.
const DEPTH: usize = 8;

/// Bytes read at once.
const CHUNK_BYTES: usize = 16 * 1024;

/// What of the state matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct State {
    /// The container id.
    pub(crate) id: String,
    /// The bundle, an absolute path.
    pub(crate) bundle: PathBuf,
}

/// Reads to the end of `input`: a runtime that meets a closed pipe reports that and not our reason.
pub(crate) fn receive<R: Read + AsFd>(mut input: R, deadline: Instant) -> Result<Vec<u8>, Refusal> {
    let mut bytes = Vec::new();
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        wait(&input, deadline)?;
        let count = match input.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(malformed("readable input", quote(&error.to_string()))),
        };
        if count == 0 {
            return Ok(bytes);
        }
        bytes.extend_from_slice(chunk.get(..count).unwrap_or_default());
        if bytes.len() > LIMIT_BYTES {
            return Err(malformed(
                &format!("at most {LIMIT_BYTES} bytes"),
                "more".to_owned(),
            ));
        }
    }
}

/// Reads the state.
pub(crate) fn parse(bytes: &[u8]) -> Result<State, Refusal> {
    let limits = Limits {
        max_bytes: LIMIT_BYTES,
        max_depth: DEPTH,
    };
    let value = portcullis_json::parse(bytes, limits)
        .map_err(|error| malformed("strict JSON", quote(&error.to_string())))?;
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default();
    let (id, bundle, status) = (text("id"), text("bundle"), text("status"));
    if id.is_empty() {
        return Err(malformed("an 'id'", "none".to_owned()));
    }
    if !bundle.starts_with('/') {
        return Err(malformed("an absolute path as 'bundle'", quote(bundle)));
    }
    // At any other time the container runs already, or has ended: too late to refuse.
    if !["creating", "created"].contains(&status) {
        return Err(malformed("status 'creating' or 'created'", quote(status)));
    }
    Ok(State {
        id: id.to_owned(),
        bundle: PathBuf::from(bundle),
    })
}

fn wait(input: &impl AsFd, deadline: Instant) -> Result<(), Refusal> {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(malformed(
                "the end of input within the deadline",
                "none".to_owned(),
            ));
        }
        // Rounded up, so that the last millisecond is not spent in a busy loop.
        let left_ms = left.as_millis().saturating_add(1);
        let timeout = u16::try_from(left_ms).unwrap_or(u16::MAX);
        let mut descriptors = [PollFd::new(input.as_fd(), PollFlags::POLLIN)];
        match poll(&mut descriptors, PollTimeout::from(timeout)) {
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(errno) => return Err(malformed("readable input", quote(errno.desc()))),
        }
    }
}

fn malformed(expected: &str, found: String) -> Refusal {
    Refusal::new(
        Code::HookStateMalformed,
        "OCI state on standard input",
        expected,
        found,
    )
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    const PLENTY: Duration = Duration::from_secs(20);

    fn soon(span: Duration) -> Instant {
        Instant::now() + span
    }

    #[test]
    fn reads_to_the_end_of_the_input() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let sender = std::thread::spawn(move || {
            for _ in 0..3 {
                writer.write_all(&[b' '; CHUNK_BYTES]).unwrap();
            }
        });
        assert_eq!(
            receive(reader, soon(PLENTY)).unwrap().len(),
            3 * CHUNK_BYTES
        );
        sender.join().unwrap();
    }

    #[test]
    fn does_not_wait_for_an_end_that_never_comes() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"{}").unwrap();
        let refusal = receive(reader, soon(Duration::from_millis(30))).unwrap_err();
        assert_eq!(refusal.code, Code::HookStateMalformed);
        assert_eq!(refusal.expected, "the end of input within the deadline");
        drop(writer);
    }

    #[test]
    fn refuses_one_byte_more_than_the_limit() {
        for (size, accepted) in [
            (LIMIT_BYTES - 1, true),
            (LIMIT_BYTES, true),
            (LIMIT_BYTES + 1, false),
        ] {
            let file = tempfile::tempfile().unwrap();
            file.set_len(u64::try_from(size).unwrap()).unwrap();
            assert_eq!(receive(&file, soon(PLENTY)).is_ok(), accepted, "{size}");
        }
    }

    #[test]
    fn takes_the_id_and_the_bundle() {
        let bytes = br#"{"ociVersion":"1.0.2","id":"web-1","status":"creating","pid":7,
            "bundle":"/run/b","annotations":{"a":"b"}}"#;
        let expected = State {
            id: "web-1".to_owned(),
            bundle: PathBuf::from("/run/b"),
        };
        assert_eq!(parse(bytes).unwrap(), expected);
    }

    #[test]
    fn refuses_a_state_that_is_not_one() {
        for bytes in [
            "",
            "[]",
            "{}",
            r#"{"id":"a","status":"creating","bundle":"relative"}"#,
            r#"{"id":"","status":"creating","bundle":"/b"}"#,
            r#"{"id":7,"status":"creating","bundle":"/b"}"#,
            r#"{"id":"a","status":"running","bundle":"/b"}"#,
            r#"{"id":"a","status":"stopped","bundle":"/b"}"#,
            r#"{"id":"a","bundle":"/b"}"#,
            r#"{"id":"a","status":"creating","bundle":"/b","bundle":"/c"}"#,
            r#"{"id":"a","status":"creating","bundle":"/b"} x"#,
        ] {
            assert_eq!(
                parse(bytes.as_bytes()).unwrap_err().code,
                Code::HookStateMalformed
            );
        }
    }
}
