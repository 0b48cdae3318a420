//! Tables that fit the width of a terminal.

use std::io::IsTerminal as _;

use rustix::termios::tcgetwinsize;

use crate::paint::strong;

/// Width where there is no terminal to ask, in columns.
const WIDTH: usize = 80;
/// A terminal that is narrower than this gets lines that it breaks itself.
const WIDTH_MIN: usize = 60;
/// Wider lines are hard to follow.
const WIDTH_MAX: usize = 160;
/// No column gets narrower than this.
const COLUMN_MIN: usize = 8;
/// Between two columns.
const GAP: usize = 2;

/// Rows under headings.
#[derive(Debug)]
pub(crate) struct Table {
    headings: Vec<&'static str>,
    rows: Vec<Vec<Cell>>,
}

/// Text, and how it is painted.
#[derive(Debug)]
pub(crate) struct Cell {
    text: String,
    paint: fn(&str) -> String,
}

/// The width of the terminal that standard output is, else 80 columns.
pub(crate) fn width() -> usize {
    let out = std::io::stdout();
    let asked = if out.is_terminal() {
        tcgetwinsize(&out).ok().map(|size| size.ws_col.into())
    } else {
        None
    };
    asked
        .filter(|width| *width > 0)
        .unwrap_or(WIDTH)
        .clamp(WIDTH_MIN, WIDTH_MAX)
}

/// `text` in lines of at most `width` characters, broken at spaces, else after a slash, a comma or
/// a dash, else anywhere.
pub(crate) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line: Vec<char> = Vec::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        if !line.is_empty() {
            if line.len().saturating_add(1).saturating_add(word.len()) <= width {
                line.push(' ');
                line.append(&mut word);
                continue;
            }
            lines.push(line.drain(..).collect());
        }
        while word.len() > width {
            let head = word.get(..width).unwrap_or_default();
            let at = head
                .iter()
                .rposition(|it| matches!(it, '/' | ',' | '-' | '_'))
                // A slash begins a step of a pointer, the others end one.
                .map_or(width, |at| {
                    if head.get(at) == Some(&'/') {
                        at
                    } else {
                        at.saturating_add(1)
                    }
                });
            let at = if at == 0 { width } else { at };
            lines.push(word.drain(..at).collect());
        }
        line = word;
    }
    lines.push(line.into_iter().collect());
    lines
}

// === impl Cell ===

impl Cell {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self {
            text: text.into(),
            paint: str::to_owned,
        }
    }

    pub(crate) fn painted(text: impl Into<String>, paint: fn(&str) -> String) -> Self {
        Self {
            text: text.into(),
            paint,
        }
    }

    fn width(&self) -> usize {
        self.text.chars().count()
    }
}

// === impl Table ===

impl Table {
    pub(crate) fn new(headings: &[&'static str]) -> Self {
        Self {
            headings: headings.to_vec(),
            rows: Vec::new(),
        }
    }

    /// Adds a row with a cell for each heading.
    pub(crate) fn add(&mut self, cells: Vec<Cell>) {
        self.rows.push(cells);
    }

    /// The table in lines of at most `width` characters, as far as its columns can be that narrow.
    pub(crate) fn render(&self, width: usize) -> String {
        let widths = self.widths(width);
        let headings = self.headings.iter().map(|it| Cell::painted(*it, strong));
        let mut text = render_row(&headings.collect::<Vec<_>>(), &widths);
        for row in &self.rows {
            text.push_str(&render_row(row, &widths));
        }
        text
    }

    /// What each column needs; where that is too much, the widest give way.
    fn widths(&self, width: usize) -> Vec<usize> {
        let mut widths: Vec<usize> = self.headings.iter().map(|it| it.chars().count()).collect();
        for row in &self.rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(cell.width());
            }
        }
        let gaps = GAP.saturating_mul(widths.len().saturating_sub(1));
        let room = width.saturating_sub(gaps);
        while widths.iter().sum::<usize>() > room {
            let Some(widest) = widths.iter_mut().max_by_key(|it| **it) else {
                break;
            };
            if *widest <= COLUMN_MIN {
                break;
            }
            *widest = widest.saturating_sub(1);
        }
        widths
    }
}

fn render_row(cells: &[Cell], widths: &[usize]) -> String {
    let columns: Vec<Vec<String>> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| wrapped(&cell.text, *width))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for line in 0..height {
        let mut blank = 0_usize;
        for ((column, cell), width) in columns.iter().zip(cells).zip(widths) {
            let part = column.get(line).map_or("", String::as_str);
            let rest = width.saturating_sub(part.chars().count());
            if part.is_empty() {
                blank = blank.saturating_add(rest).saturating_add(GAP);
                continue;
            }
            text.push_str(&" ".repeat(blank));
            text.push_str(&(cell.paint)(part));
            blank = rest.saturating_add(GAP);
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new(&["what", "field", "why"]);
        let long = "/spec/template/spec/containers/0/securityContext/capabilities/add";
        table.add(vec![
            Cell::new("refused"),
            Cell::new(long),
            Cell::new("a capability outside of the profile was asked for"),
        ]);
        table.add(vec![Cell::new("added"), Cell::new("/a"), Cell::new("")]);
        table
    }

    fn rendered(width: usize) -> String {
        anstream::adapter::strip_str(&table().render(width)).to_string()
    }

    #[test]
    fn cells_wrap_where_a_reader_would() {
        assert_eq!(
            rendered(60),
            "what     field                      why\n\
             refused  /spec/template/spec        a capability outside of\n\
             \x20        /containers/0              the profile was asked\n\
             \x20        /securityContext           for\n\
             \x20        /capabilities/add\n\
             added    /a\n"
        );
    }

    #[test]
    fn no_line_is_wider_than_asked_for() {
        for width in [40, 60, 80, 100, 200] {
            let text = rendered(width);
            let widest = text.lines().map(|line| line.chars().count()).max();
            assert!(widest <= Some(width), "{width}:\n{text}");
            let words: String = text.split_whitespace().collect();
            assert!(words.contains("capabilities/add"), "{text}");
        }
    }
}
