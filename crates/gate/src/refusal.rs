//! Why a launch does not go ahead: a value, rendered for the operator in this one place.

use std::fmt;

use portcullis_attestation::finding::Finding;
use serde_json::{Value, json};

use crate::{Code, Kind, RecordId, Rule};

/// Longest line, in bytes, prefix and reference included. Runtimes and containerd put about
/// 80 bytes in front, and Kubernetes cuts what is much longer.
pub const LINE_LIMIT_BYTES: usize = 256;

/// Longest quoted piece of outside text, in bytes, ticks included.
const QUOTE_LIMIT_BYTES: usize = 64;

/// How many digits of a digest the line shows; the record holds all.
const DIGEST_SHOWN: usize = 12;

/// From this many hex digits in a row a word counts as a digest.
const DIGEST_FROM: usize = 32;

/// A shortened part keeps at least this many bytes, so that it still says something.
const PART_FLOOR_BYTES: usize = 12;

/// Stands for what was cut.
const ELLIPSIS: char = '…';

/// One reason. The kind follows from the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The stable name of the cause.
    pub code: Code,
    /// Noun phrase: what was looked at. Outside text in it went through [`quote`].
    pub subject: String,
    /// What would have been accepted.
    pub expected: String,
    /// What was there, in the same unit and form as `expected`.
    pub found: String,
    /// What the reader should do, in the imperative.
    pub remedy: String,
    /// The rule about workloads that asks for it, if it is one of them.
    pub rule: Option<Rule>,
}

/// One reason or more; the first is the one that the operator's line shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusals {
    /// Boxed, because this is the error of many results.
    first: Box<Refusal>,
    rest: Vec<Refusal>,
}

/// Makes text from outside safe to print: single ticks around it, control characters, ticks and
/// backslashes escaped, cut to 64 bytes. An image name must not be able to write a log line.
///
/// ```
/// assert_eq!(portcullis_gate::quote("web-1"), "'web-1'");
/// assert_eq!(portcullis_gate::quote("a\nb'c"), r"'a\nb\'c'");
/// ```
pub fn quote(outside: &str) -> String {
    let room = QUOTE_LIMIT_BYTES - 1;
    let mut quoted = String::with_capacity(outside.len().min(room) + 2);
    quoted.push('\'');
    for character in outside.chars() {
        let before = quoted.len();
        match character {
            '"' => quoted.push('"'),
            _ => quoted.extend(character.escape_debug()),
        }
        if quoted.len() > room {
            quoted.truncate(before);
            while quoted.len() + ELLIPSIS.len_utf8() > room {
                quoted.pop();
            }
            // An escape sequence that lost its end would read as another one.
            if let Some(start) = broken_escape(&quoted) {
                quoted.truncate(start);
            }
            quoted.push(ELLIPSIS);
            break;
        }
    }
    quoted.push('\'');
    quoted
}

/// Where the escape sequence begins that the end of `text` cuts off, if one is cut off.
fn broken_escape(text: &str) -> Option<usize> {
    let mut characters = text.char_indices();
    while let Some((start, character)) = characters.next() {
        if character != '\\' {
            continue;
        }
        match characters.next() {
            None => return Some(start),
            Some((_, 'u')) => {
                if !characters.any(|(_, digit)| digit == '}') {
                    return Some(start);
                }
            }
            Some(_) => {}
        }
    }
    None
}

/// Cuts `text` to at most `limit` bytes, the mark of the cut included.
fn shorten(text: &mut String, limit: usize) {
    if text.len() <= limit {
        return;
    }
    let mut end = limit.saturating_sub(ELLIPSIS.len_utf8());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push(ELLIPSIS);
}

/// Text as it may stand in the line: whole digests cut to their first twelve digits, and, as a
/// last line of defence against an emitter that forgot to quote, no control characters.
fn for_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let mut run_start = 0;
    for character in text.chars() {
        if character.is_ascii_hexdigit() {
            line.push(character);
            continue;
        }
        close_digest(&mut line, run_start);
        let printable = !character.is_control() && !matches!(character, '\u{2028}' | '\u{2029}');
        line.push(if printable { character } else { '?' });
        run_start = line.len();
    }
    close_digest(&mut line, run_start);
    line
}

/// Cuts the run of hex digits from `start` to the end of `line` if it is long enough for a digest.
fn close_digest(line: &mut String, start: usize) {
    if line.len() - start >= DIGEST_FROM {
        line.truncate(start + DIGEST_SHOWN);
    }
}

// === impl Refusal ===

impl Refusal {
    /// A refusal with the default remedy of its code.
    pub fn new(
        code: Code,
        subject: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            code,
            subject: subject.into(),
            expected: expected.into(),
            found: found.into(),
            remedy: code.remedy().to_owned(),
            rule: None,
        }
    }

    /// The same refusal with a remedy that fits the case better.
    #[must_use]
    pub fn with_remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = remedy.into();
        self
    }

    /// The same refusal as one of `rule`.
    #[must_use]
    pub const fn under(mut self, rule: Option<Rule>) -> Self {
        self.rule = rule;
        self
    }

    /// Whether this refuses, is undecided, or is a fault.
    pub const fn kind(&self) -> Kind {
        self.code.kind()
    }

    /// The operator's line for this reason and `more` others, at most 256 bytes. `reference`
    /// is the id of the record, absent where no record exists (a settings check, for instance).
    pub fn line(&self, more: usize, reference: Option<RecordId>) -> String {
        let head = format!("portcullis: {} [{}] ", self.kind(), self.code);
        let tail = reference.map_or_else(String::new, |id| format!("; ref={id}"));
        let count = if more == 0 {
            String::new()
        } else {
            format!(" (+{more} more)")
        };
        let joints = [count.as_str(), ": expected ", ", found ", "; "];
        let fixed = head.len() + tail.len() + joints.iter().map(|joint| joint.len()).sum::<usize>();

        let mut found = for_line(&self.found);
        let mut expected = for_line(&self.expected);
        let mut subject = for_line(&self.subject);
        let mut remedy = for_line(&self.remedy);
        let mut used = fixed + found.len() + expected.len() + subject.len() + remedy.len();
        for part in [&mut found, &mut expected, &mut subject, &mut remedy] {
            let excess = used.saturating_sub(LINE_LIMIT_BYTES);
            if excess == 0 {
                break;
            }
            used -= part.len();
            let limit = part.len().saturating_sub(excess).max(PART_FLOOR_BYTES);
            shorten(part, limit);
            used += part.len();
        }
        format!("{head}{subject}{count}: expected {expected}, found {found}; {remedy}{tail}")
    }

    /// The reason as a JSON object: `kind`, `code`, `subject`, `expected`, `found`, `remedy`, `spec`,
    /// and `rule` if it is one of a rule.
    pub fn to_json(&self) -> Value {
        let mut object = json!({
            "kind": self.kind().as_str(),
            "code": self.code.as_str(),
            "subject": self.subject,
            "expected": self.expected,
            "found": self.found,
            "remedy": self.remedy,
            "spec": self.code.spec(),
        });
        if let (Some(rule), Some(map)) = (self.rule, object.as_object_mut()) {
            map.insert("rule".to_owned(), rule.id().into());
        }
        object
    }
}

impl From<&Finding> for Refusal {
    /// A finding of an appraisal, with the remedy that its code has here.
    fn from(finding: &Finding) -> Self {
        let Finding {
            code,
            subject,
            expected,
            found,
        } = finding;
        let code = Code::from_name(code).unwrap_or(Code::EvidenceMalformed);
        Self::new(code, subject, expected, found)
    }
}

impl fmt::Display for Refusal {
    /// The operator's line without a reference.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.line(0, None))
    }
}

impl std::error::Error for Refusal {}

// === impl Refusals ===

impl Refusals {
    /// The reasons in `all`, in that order; `None` if there are none.
    pub fn from_vec(all: Vec<Refusal>) -> Option<Self> {
        let mut all = all.into_iter();
        let first = all.next()?;
        Some(Self {
            first: Box::new(first),
            rest: all.collect(),
        })
    }

    /// Adds a reason at the end.
    pub fn push(&mut self, refusal: Refusal) {
        self.rest.push(refusal);
    }

    /// The reason that the line shows.
    pub fn first(&self) -> &Refusal {
        &self.first
    }

    /// All reasons, the first one first.
    pub fn iter(&self) -> impl Iterator<Item = &Refusal> {
        std::iter::once(&*self.first).chain(&self.rest)
    }

    /// How many reasons there are; never 0.
    pub const fn count(&self) -> usize {
        1 + self.rest.len()
    }

    /// The kind of the first reason.
    pub fn kind(&self) -> Kind {
        self.first.kind()
    }

    /// The exit code of a hook or command that ends here; see [`Code::exit_code`].
    pub fn exit_code(&self) -> u8 {
        self.first.code.exit_code()
    }

    /// The operator's line: one line, at most 256 bytes; code and reference are never cut.
    pub fn line(&self, id: &RecordId) -> String {
        self.first.line(self.rest.len(), Some(*id))
    }

    /// All reasons as a JSON array of objects, each with its `ref`.
    pub fn to_json(&self, id: &RecordId) -> Value {
        self.iter()
            .map(|refusal| {
                let mut object = refusal.to_json();
                if let Some(map) = object.as_object_mut() {
                    map.insert("ref".to_owned(), Value::String(id.to_string()));
                }
                object
            })
            .collect()
    }
}

impl From<Refusal> for Refusals {
    fn from(first: Refusal) -> Self {
        Self {
            first: Box::new(first),
            rest: Vec::new(),
        }
    }
}

impl Extend<Refusal> for Refusals {
    fn extend<T: IntoIterator<Item = Refusal>>(&mut self, more: T) {
        self.rest.extend(more);
    }
}

impl IntoIterator for Refusals {
    type Item = Refusal;
    type IntoIter = std::iter::Chain<std::iter::Once<Refusal>, std::vec::IntoIter<Refusal>>;

    fn into_iter(self) -> Self::IntoIter {
        std::iter::once(*self.first).chain(self.rest)
    }
}

impl fmt::Display for Refusals {
    /// The operator's line without a reference.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.first.line(self.rest.len(), None))
    }
}

impl std::error::Error for Refusals {}

#[cfg(test)]
mod tests;
