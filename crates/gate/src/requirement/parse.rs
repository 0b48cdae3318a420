//! Reading a requirement, one symbol at a time, with the column of whatever is wrong.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::str::CharIndices;

use super::{REQUIREMENT_LIMIT_BYTES, Term, Test};

/// Longest name of a tag, and longest value, in bytes.
const NAME_LIMIT_BYTES: usize = 63;

/// Longest prefix of a tag's name (the part before `/`), in bytes.
const PREFIX_LIMIT_BYTES: usize = 253;

/// A requirement that is not in the grammar.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot read tag requirement at column {column}: expected {expected}, found {found}")]
pub struct Malformed {
    /// Where, counted in characters from 1.
    pub column: usize,
    /// What the grammar wants there.
    pub expected: String,
    /// What stands there; outside text is quoted.
    pub found: String,
}

/// Reads all terms of `text`.
pub(super) fn terms(text: &str) -> Result<Vec<Term>, Malformed> {
    if text.len() > REQUIREMENT_LIMIT_BYTES {
        return Err(Malformed {
            column: 1,
            expected: format!("at most {REQUIREMENT_LIMIT_BYTES} bytes"),
            found: format!("{} bytes", text.len()),
        });
    }
    let mut symbols = Symbols::new(text);
    let mut terms = Vec::new();
    if symbols.peek().symbol == Symbol::End {
        return Ok(terms);
    }
    loop {
        terms.push(term(&mut symbols)?);
        let next = symbols.next();
        match next.symbol {
            Symbol::End => return Ok(terms),
            Symbol::Comma => {}
            _ => return Err(next.instead_of("',' or the end")),
        }
    }
}

fn term(symbols: &mut Symbols<'_>) -> Result<Term, Malformed> {
    let mut first = symbols.next();
    let absent = first.symbol == Symbol::Bang;
    if absent {
        first = symbols.next();
    }
    let key = tag_name(&first)?;
    if absent {
        return Ok(Term {
            key,
            test: Test::Absent,
        });
    }
    let test = match symbols.peek().symbol {
        Symbol::End | Symbol::Comma => Test::Exists,
        _ => test(symbols)?,
    };
    Ok(Term { key, test })
}

fn test(symbols: &mut Symbols<'_>) -> Result<Test, Malformed> {
    let operator = symbols.next();
    match operator.symbol {
        Symbol::Equal => Ok(Test::In(BTreeSet::from([exact_value(symbols)?]))),
        Symbol::NotEqual => Ok(Test::NotIn(BTreeSet::from([exact_value(symbols)?]))),
        Symbol::Greater => Ok(Test::Greater(bound(&symbols.next())?)),
        Symbol::Less => Ok(Test::Less(bound(&symbols.next())?)),
        Symbol::Word("in") => Ok(Test::In(values(symbols)?)),
        Symbol::Word("notin") => Ok(Test::NotIn(values(symbols)?)),
        _ => Err(operator.instead_of("',', '=', '!=', '<', '>', 'in', 'notin' or the end")),
    }
}

/// The value after `=` or `!=`; nothing there means the empty value.
fn exact_value(symbols: &mut Symbols<'_>) -> Result<String, Malformed> {
    match symbols.peek().symbol {
        Symbol::End | Symbol::Comma => Ok(String::new()),
        _ => tag_value(&symbols.next()),
    }
}

/// The set after `in` or `notin`; nothing between two commas means the empty value.
fn values(symbols: &mut Symbols<'_>) -> Result<BTreeSet<String>, Malformed> {
    let open = symbols.next();
    if open.symbol != Symbol::Open {
        return Err(open.instead_of("'('"));
    }
    let mut set = BTreeSet::new();
    loop {
        let value = match symbols.peek().symbol {
            Symbol::Comma | Symbol::Close => String::new(),
            _ => tag_value(&symbols.next())?,
        };
        set.insert(value);
        let next = symbols.next();
        match next.symbol {
            Symbol::Close => return Ok(set),
            Symbol::Comma => {}
            _ => return Err(next.instead_of("',' or ')'")),
        }
    }
}

fn bound(place: &Placed<'_>) -> Result<i64, Malformed> {
    // The bound must be a value, too, as Kubernetes has it: so it has no sign.
    let number = match place.symbol {
        Symbol::Word(text) if is_label_text(text) => text.parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| place.instead_of("a whole number, 0 or more"))
}

fn tag_name(place: &Placed<'_>) -> Result<String, Malformed> {
    let Symbol::Word(text) = place.symbol else {
        return Err(place.instead_of("the name of a tag"));
    };
    let (prefix, name) = match text.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, text),
    };
    if !prefix.is_none_or(is_dns_name) {
        return Err(place.instead_of("a DNS name before '/'"));
    }
    if name.is_empty() || !is_label_text(name) {
        return Err(place.instead_of(
            "a name of at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        ));
    }
    Ok(text.to_owned())
}

fn tag_value(place: &Placed<'_>) -> Result<String, Malformed> {
    let Symbol::Word(text) = place.symbol else {
        return Err(place.instead_of("a value"));
    };
    if !is_label_text(text) {
        return Err(place.instead_of(
            "a value of at most 63 letters, digits, '-', '_' and '.', with a letter or digit at both ends",
        ));
    }
    Ok(text.to_owned())
}

fn is_label_text(text: &str) -> bool {
    text.len() <= NAME_LIMIT_BYTES
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        && has_alphanumeric_ends(text)
}

fn is_dns_name(text: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    text.len() <= PREFIX_LIMIT_BYTES
        && text.split('.').all(|label| {
            !label.is_empty() && label.bytes().all(is_letter) && has_alphanumeric_ends(label)
        })
}

fn has_alphanumeric_ends(text: &str) -> bool {
    let is_end = |byte: Option<&u8>| byte.is_none_or(u8::is_ascii_alphanumeric);
    is_end(text.as_bytes().first()) && is_end(text.as_bytes().last())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Symbol<'a> {
    Word(&'a str),
    Comma,
    Open,
    Close,
    Bang,
    Equal,
    NotEqual,
    Greater,
    Less,
    End,
}

/// A symbol and the column in which it begins.
#[derive(Debug, Clone, Copy)]
struct Placed<'a> {
    symbol: Symbol<'a>,
    text: &'a str,
    column: usize,
}

impl Placed<'_> {
    fn instead_of(&self, expected: &str) -> Malformed {
        let found = if self.symbol == Symbol::End {
            "the end".to_owned()
        } else {
            crate::quote(self.text)
        };
        Malformed {
            column: self.column,
            expected: expected.to_owned(),
            found,
        }
    }
}

/// Splits text into symbols, with one symbol of lookahead.
struct Symbols<'a> {
    text: &'a str,
    characters: Peekable<CharIndices<'a>>,
    column: usize,
    ahead: Option<Placed<'a>>,
}

impl<'a> Symbols<'a> {
    fn new(text: &'a str) -> Self {
        Self {
            text,
            characters: text.char_indices().peekable(),
            column: 1,
            ahead: None,
        }
    }

    fn peek(&mut self) -> Placed<'a> {
        let symbol = self.next();
        self.ahead = Some(symbol);
        symbol
    }

    fn next(&mut self) -> Placed<'a> {
        self.ahead.take().unwrap_or_else(|| self.read())
    }

    fn read(&mut self) -> Placed<'a> {
        while self.step_if(|character| matches!(character, ' ' | '\t' | '\r' | '\n')) {}
        let column = self.column;
        let start = self.offset();
        let Some(&(_, first)) = self.characters.peek() else {
            return Placed {
                symbol: Symbol::End,
                text: "",
                column,
            };
        };
        self.step_if(|_| true);
        let symbol = match first {
            ',' => Symbol::Comma,
            '(' => Symbol::Open,
            ')' => Symbol::Close,
            '>' => Symbol::Greater,
            '<' => Symbol::Less,
            '=' => {
                self.step_if(|character| character == '=');
                Symbol::Equal
            }
            '!' if self.step_if(|character| character == '=') => Symbol::NotEqual,
            '!' => Symbol::Bang,
            _ => {
                while self.step_if(|character| !" \t\r\n,()=!<>".contains(character)) {}
                Symbol::Word(self.text.get(start..self.offset()).unwrap_or_default())
            }
        };
        Placed {
            symbol,
            text: self.text.get(start..self.offset()).unwrap_or_default(),
            column,
        }
    }

    fn offset(&mut self) -> usize {
        self.characters
            .peek()
            .map_or(self.text.len(), |&(offset, _)| offset)
    }

    fn step_if(&mut self, accept: impl Fn(char) -> bool) -> bool {
        let stepped = self
            .characters
            .next_if(|&(_, character)| accept(character))
            .is_some();
        self.column += usize::from(stepped);
        stepped
    }
}
