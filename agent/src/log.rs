//! One line per event on standard error, for the journal.
//!
//! ```text
//! <6>portcullis-agent: verdict issued status='affirming' seq='41' boot_state='debian-12'
//! ```
//!
//! The number is the priority systemd reads. Values are quoted and escaped, so nothing from
//! outside can start a line of its own. Keys, tokens and environment are never logged.

use std::error::Error;
use std::io::Write as _;

/// Characters of one value.
const VALUE_LIMIT: usize = 512;

/// Something failed that the operator has to look at.
pub(crate) fn error(event: &str, fields: &[(&str, &str)]) {
    write(3, event, fields);
}

/// Something failed and is being dealt with.
pub(crate) fn warn(event: &str, fields: &[(&str, &str)]) {
    write(4, event, fields);
}

/// Something happened.
pub(crate) fn info(event: &str, fields: &[(&str, &str)]) {
    write(6, event, fields);
}

/// An error and its causes on one line.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

fn write(priority: u8, event: &str, fields: &[(&str, &str)]) {
    let line = line(priority, event, fields);
    // Without a journal there is nobody to tell; the work goes on.
    drop(std::io::stderr().write_all(line.as_bytes()));
}

fn line(priority: u8, event: &str, fields: &[(&str, &str)]) -> String {
    let mut line = format!("<{priority}>portcullis-agent: {event}");
    for (name, value) in fields {
        let value: String = value.escape_debug().take(VALUE_LIMIT).collect();
        line.push_str(&format!(" {name}='{value}'"));
    }
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_quotes_or_its_line() {
        let written = line(4, "call refused", &[("cause", "a'b\n<0>c\u{1b}[31m")]);
        assert_eq!(
            written,
            "<4>portcullis-agent: call refused cause='a\\'b\\n<0>c\\u{1b}[31m'\n"
        );
        assert_eq!(written.lines().count(), 1);
    }

    #[test]
    fn a_long_value_is_cut() {
        assert!(line(6, "x", &[("y", &"z".repeat(10_000))]).len() < 600);
    }
}
