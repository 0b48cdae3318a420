//! What an OCI runtime says of itself in its log: one JSON object for each entry.
//!
//! runc writes an entry on a line of its own; crun does so or, where it is built with json-c,
//! spreads it over several. So entries are read one after the other, wherever lines end.

use serde::Deserialize;

/// Most entries looked at; also bounds the work on what only looks like entries.
const MAX_ENTRIES: usize = 256;

/// Most characters of a message passed on.
const MAX_MESSAGE_CHARS: usize = 1024;

/// The parts of an entry that count here.
#[derive(Deserialize)]
struct Entry {
    #[serde(default)]
    level: String,
    #[serde(default)]
    msg: String,
}

/// The message of the last entry of level `error`, if there is one that says something: on one
/// line, without control characters, cut to [`MAX_MESSAGE_CHARS`].
pub(super) fn last_error(log: &[u8]) -> Option<String> {
    // Paths in messages may be any bytes.
    let log = String::from_utf8_lossy(log);
    let mut rest = log.as_ref();
    let mut last = None;
    for _ in 0..MAX_ENTRIES {
        let Some(start) = rest.find('{') else {
            break;
        };
        rest = rest.get(start..).unwrap_or_default();
        let mut entries = serde_json::Deserializer::from_slice(rest.as_bytes()).into_iter();
        let read = match entries.next() {
            Some(Ok(Entry { level, msg })) => {
                if level == "error" {
                    last = Some(msg);
                }
                entries.byte_offset()
            }
            // Cut off: what begins in it is no entry.
            Some(Err(error)) if error.is_eof() => break,
            // Something else, behind which there may be entries.
            Some(Err(_)) | None => rest.find('\n').unwrap_or(rest.len()),
        };
        rest = rest.get(read..).unwrap_or_default();
    }
    last.map(|message| one_line(&message))
        .filter(|message| !message.is_empty())
}

/// The words of a message; it may quote a container's, which go to terminals.
fn one_line(message: &str) -> String {
    let words: Vec<&str> = message
        .split(|character: char| character.is_whitespace() || character.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    words.join(" ").chars().take(MAX_MESSAGE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of crun 1.28 in Debian 14, which is built with json-c.
    const CRUN: &str = r#"{
  "msg": "executable file `\/no\/such\/program` not found: No such file or directory",
  "level": "error",
  "time": "2026-11-22T03:47:56.512883Z"
}"#;
    /// Of crun 1.8.1 in Debian 12.
    const OLD_CRUN: &str = r#"{"msg":"chdir `/no/such/dir`: No such file or directory","level":"error","time":"2026-11-22T03:46:55.031209Z"}"#;
    /// Of runc 1.1.5.
    const RUNC: &str = r#"{"level":"error","msg":"exec failed: unable to start container process: exec: \"/etc\": stat /etc: no such file or directory","time":"2026-11-22T03:46:37Z"}"#;

    fn said(log: &str) -> Option<String> {
        last_error(log.as_bytes())
    }

    #[test]
    fn entries_are_read_as_each_runtime_writes_them() {
        for (log, expected) in [
            (
                CRUN,
                "executable file `/no/such/program` not found: No such file or directory",
            ),
            (OLD_CRUN, "chdir `/no/such/dir`: No such file or directory"),
            (
                RUNC,
                "exec failed: unable to start container process: exec: \"/etc\": stat /etc: no such file or directory",
            ),
        ] {
            assert_eq!(said(log).as_deref(), Some(expected));
            let last = [RUNC, CRUN, OLD_CRUN, log].join("\n");
            assert_eq!(said(&last).as_deref(), Some(expected));
        }
    }

    #[test]
    fn the_last_error_counts_whatever_stands_around_it() {
        let warning = r#"{"level":"warning","msg":"invalid argument"}"#;
        let cut_off = r#"{"level":"error","msg":"half an ent"#;
        let log = format!("not json {{\n{RUNC}{CRUN}\n{warning}\n[]\n{cut_off}");
        assert_eq!(said(&log), said(CRUN));
        for nothing in ["", "crun: killed\n", warning, cut_off, "{", "{}", "[1]"] {
            assert_eq!(said(nothing), None, "{nothing}");
        }
        assert_eq!(said(r#"{"level":"error","msg":" \n"}"#), None);
    }

    #[test]
    fn a_log_cut_at_any_byte_says_the_entry_before_or_nothing() {
        let whole = format!("{OLD_CRUN}\n{CRUN}");
        for end in 0..whole.len() {
            let cut = last_error(whole.as_bytes().split_at(end).0);
            assert!(cut.is_none() || cut == said(OLD_CRUN), "{end}: {cut:?}");
        }
    }

    #[test]
    fn a_message_is_one_line_that_no_terminal_obeys() {
        let log = "{\"level\":\"error\",\"msg\":\"a\\n\\tb \\u001b[31mred\\u0000\\u009b1m\"}";
        assert_eq!(said(log).as_deref(), Some("a b [31mred 1m"));
        let long = format!(r#"{{"level":"error","msg":"{}"}}"#, "ä".repeat(5000));
        assert_eq!(said(&long).map(|text| text.chars().count()), Some(1024));
        assert_eq!(
            last_error(b"{\"level\":\"error\",\"msg\":\"/\xff\"}").as_deref(),
            Some("/\u{fffd}")
        );
    }

    #[test]
    fn what_only_looks_like_entries_takes_bounded_work() {
        for hostile in ["{\"a\":", "{\"a\":[\n", "{\"msg\":\n", "{\n", "{}"] {
            let mut log = hostile.repeat(64 * 1024 / hostile.len());
            assert_eq!(said(&log), None);
            log.push('x');
            assert_eq!(said(&log), None);
        }
    }
}
