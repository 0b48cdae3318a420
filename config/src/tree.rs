//! TOML as a tree in which every value knows its file and line.

use std::collections::BTreeMap;
use std::rc::Rc;

use portcullis_gate::{Code, Refusal, quote};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value stands.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    file: Rc<str>,
    line: usize,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) value: Value,
}

/// What settings are made of.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Table),
    /// A kind that no setting has: its name.
    Other(&'static str),
}

/// Keys and values.
pub(crate) type Table = BTreeMap<String, Node>;

/// Reads `text`, the content of `file`.
pub(crate) fn parse(file: &str, text: &str, faults: &mut Vec<Refusal>) -> Option<Table> {
    let source = Source {
        file: Rc::from(file),
        line_ends: text.match_indices('\n').map(|(offset, _)| offset).collect(),
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Some(source.table(document.into_inner()));
    }
    faults.extend(errors.iter().map(|error| {
        let place = source.place(error.span().map_or(0, |span| span.start));
        Refusal::new(
            Code::ConfigMalformed,
            place.to_string(),
            "valid TOML",
            message(error),
        )
        .with_remedy("correct the line")
    }));
    None
}

fn message(error: &toml::de::Error) -> String {
    error.message().replace('\n', ", ")
}

/// Puts `over` on top of `base`: tables are merged, lists of tables are appended, everything else
/// is replaced.
pub(crate) fn merge(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key).map(|node| &mut node.value), node.value) {
            (Some(Value::Table(base)), Value::Table(over)) => merge(base, over),
            (Some(Value::List(base)), Value::List(over))
                if base.iter().chain(&over).all(Node::is_table) =>
            {
                base.extend(over);
            }
            (_, value) => {
                base.insert(
                    key,
                    Node {
                        place: node.place,
                        value,
                    },
                );
            }
        }
    }
}

/// Puts `over` on top of `base`: tables are merged, everything else is replaced, lists of tables
/// too. What `over` names is then as it says, and nothing of `base` is beside it.
pub(crate) fn overrule(base: &mut Table, over: Table) {
    for (key, node) in over {
        match (base.get_mut(&key).map(|node| &mut node.value), node.value) {
            (Some(Value::Table(base)), Value::Table(over)) => overrule(base, over),
            (_, value) => {
                let place = node.place;
                base.insert(key, Node { place, value });
            }
        }
    }
}

struct Source {
    file: Rc<str>,
    /// Byte offsets, found once: every value asks for its line.
    line_ends: Vec<usize>,
}

// === impl Source ===

impl Source {
    fn place(&self, offset: usize) -> Place {
        let line = self.line_ends.partition_point(|end| *end < offset) + 1;
        Place {
            file: Rc::clone(&self.file),
            line,
        }
    }

    fn table(&self, table: DeTable<'_>) -> Table {
        table
            .into_iter()
            .map(|(key, value)| {
                let line = self.place(key.span().start);
                let mut node = self.node(value);
                node.place = line;
                (key.into_inner().into_owned(), node)
            })
            .collect()
    }

    fn node(&self, value: Spanned<DeValue<'_>>) -> Node {
        let place = self.place(value.span().start);
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Value::Other("a number beyond 64 bits"), Value::Integer),
            DeValue::Boolean(boolean) => Value::Boolean(boolean),
            DeValue::Array(list) => {
                Value::List(list.into_iter().map(|item| self.node(item)).collect())
            }
            DeValue::Table(table) => Value::Table(self.table(table)),
            DeValue::Float(_) => Value::Other("a number with a fraction"),
            DeValue::Datetime(_) => Value::Other("a date without quotes"),
        };
        Node { place, value }
    }
}

// === impl Node ===

impl Node {
    const fn is_table(&self) -> bool {
        matches!(self.value, Value::Table(_))
    }

    /// The value for the `found` of a fault.
    pub(crate) fn shown(&self) -> String {
        match &self.value {
            Value::Text(text) => quote(text),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(boolean) => boolean.to_string(),
            Value::List(_) => "a list".to_owned(),
            Value::Table(_) => "a table".to_owned(),
            Value::Other(kind) => (*kind).to_owned(),
        }
    }

    /// The value in full, for a comparison that people read.
    pub(crate) fn spelled(&self) -> String {
        match &self.value {
            Value::List(items) if items.iter().any(Self::is_table) => {
                format!("{} of [[…]]", items.len())
            }
            Value::List(items) => {
                let items: Vec<String> = items.iter().map(Self::spelled).collect();
                format!("[{}]", items.join(", "))
            }
            _ => self.shown(),
        }
    }
}

// === impl Place ===

impl std::fmt::Display for Place {
    /// Quoted, as the subject of a fault: `'/etc/portcullis/portcullis.toml:14'`.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&quote(&format!("{}:{}", self.file, self.line)))
    }
}
