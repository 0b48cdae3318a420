//! Colours and columns. The terminal writer takes the colours out where nobody sees them:
//! no terminal, `NO_COLOR` set, or `TERM=dumb`.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default().bold();
const CAUTION: Style = AnsiColor::Yellow.on_default();
const STRONG: Style = Style::new().bold();

/// Aligned rows of a name and a value.
#[derive(Debug, Default)]
pub(crate) struct Rows(Vec<(String, String)>);

pub(crate) fn good(text: &str) -> String {
    format!("{GOOD}{text}{GOOD:#}")
}

pub(crate) fn bad(text: &str) -> String {
    format!("{BAD}{text}{BAD:#}")
}

pub(crate) fn caution(text: &str) -> String {
    format!("{CAUTION}{text}{CAUTION:#}")
}

pub(crate) fn strong(text: &str) -> String {
    format!("{STRONG}{text}{STRONG:#}")
}

/// Text from outside, without what could move the cursor or fake a line.
pub(crate) fn plain(outside: &str) -> String {
    outside
        .chars()
        .map(|one| if one.is_control() { '?' } else { one })
        .collect()
}

// === impl Rows ===

impl Rows {
    pub(crate) fn add(&mut self, name: &str, value: impl Into<String>) {
        self.0.push((name.to_owned(), value.into()));
    }

    /// The rows, values in one column, two spaces in front.
    pub(crate) fn render(&self) -> String {
        let width = self
            .0
            .iter()
            .map(|(name, _)| name.chars().count())
            .max()
            .unwrap_or(0);
        let mut text = String::new();
        for (name, value) in &self.0 {
            let _a_string_takes_every_write = writeln!(text, "  {name:width$}  {value}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_the_values_in_one_column() {
        let mut rows = Rows::default();
        rows.add("a", "1");
        rows.add("longer", "2");
        assert_eq!(rows.render(), "  a       1\n  longer  2\n");
        assert_eq!(Rows::default().render(), "");
    }

    #[test]
    fn takes_escape_sequences_out_of_text_from_outside() {
        assert_eq!(plain("a\u{1b}[2Jb\nc"), "a?[2Jb?c");
    }
}
