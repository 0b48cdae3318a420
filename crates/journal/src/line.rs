//! A line, and who writes it.

use std::error::Error;
use std::io::Write as _;

/// Characters of one value.
const VALUE_LIMIT: usize = 512;

/// The journal as one program writes it.
#[derive(Debug, Clone, Copy)]
pub struct Journal {
    program: &'static str,
}

// === impl Journal ===

impl Journal {
    /// Of the program of this name.
    #[must_use]
    pub const fn of(program: &'static str) -> Self {
        Self { program }
    }

    /// Something failed that the operator has to look at.
    pub fn error(self, event: &str, fields: &[(&str, &str)]) {
        self.write(3, event, fields);
    }

    /// Something failed and is being dealt with.
    pub fn warn(self, event: &str, fields: &[(&str, &str)]) {
        self.write(4, event, fields);
    }

    /// Something happened.
    pub fn info(self, event: &str, fields: &[(&str, &str)]) {
        self.write(6, event, fields);
    }

    fn write(self, priority: u8, event: &str, fields: &[(&str, &str)]) {
        let line = self.line(priority, event, fields);
        // Without a journal there is nobody to tell; the work goes on.
        drop(std::io::stderr().write_all(line.as_bytes()));
    }

    fn line(self, priority: u8, event: &str, fields: &[(&str, &str)]) -> String {
        let mut line = format!("<{priority}>{}: {event}", self.program);
        for (name, value) in fields {
            let value: String = value.escape_debug().take(VALUE_LIMIT).collect();
            line.push_str(&format!(" {name}='{value}'"));
        }
        line.push('\n');
        line
    }
}

/// An error and its causes on one line.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        line.push_str(": ");
        line.push_str(&cause.to_string());
        next = cause.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_end_its_quotes_or_its_line() {
        let written = Journal::of("portcullis-agent").line(
            4,
            "call refused",
            &[("cause", "a'b\n<0>c\u{1b}[31m")],
        );
        assert_eq!(
            written,
            "<4>portcullis-agent: call refused cause='a\\'b\\n<0>c\\u{1b}[31m'\n"
        );
        assert_eq!(written.lines().count(), 1);
    }

    #[test]
    fn a_long_value_is_cut() {
        assert!(
            Journal::of("x")
                .line(6, "x", &[("y", &"z".repeat(10_000))])
                .len()
                < 600
        );
    }
}
