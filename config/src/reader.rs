//! Typed reading of a tree. What cannot be read is noted, and reading goes on: the operator sees
//! all faults at once.

use portcullis_gate::{Code, Refusal};

use crate::keys;
use crate::tree::{Node, Place, Table, Value};

/// One table, or the absence of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'t> {
    table: Option<&'t Table>,
    /// The table's name and a dot, or nothing for the top.
    prefix: &'static str,
}

/// Collects faults.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    pub(crate) faults: Vec<Refusal>,
}

// === impl Section ===

impl<'t> Section<'t> {
    pub(crate) const fn new(prefix: &'static str, table: &'t Table) -> Self {
        Self {
            table: Some(table),
            prefix,
        }
    }

    pub(crate) fn node(self, key: &str) -> Option<&'t Node> {
        self.table?.get(key)
    }

    /// Where `key` stands, and what it says: for a fault about two keys.
    pub(crate) fn cited(self, key: &str, value: &str) -> String {
        let name = format!("'{}{key}={value}'", self.prefix);
        match self.node(key) {
            Some(node) => format!("{name} in {}", node.place),
            None => format!("{name} by default"),
        }
    }
}

// === impl Reader ===

impl Reader {
    /// Notes a fault about a key.
    pub(crate) fn fault(
        &mut self,
        code: Code,
        place: &Place,
        key: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) {
        self.faults.push(Refusal::new(
            code,
            format!("'{key}' in {place}"),
            expected,
            found,
        ));
    }

    /// Notes every key that is not a setting.
    pub(crate) fn unknown_keys(&mut self, root: &Table) {
        for (key, node) in root {
            let table = keys::TABLES.iter().find(|(name, _)| name == key);
            let list = keys::LISTS.iter().find(|(name, _)| name == key);
            match (&node.value, table, list) {
                (Value::Table(table), Some((_, known)), _) => self.unknown_in(table, known),
                (Value::List(items), _, Some((_, known))) => {
                    for item in items {
                        if let Value::Table(table) = &item.value {
                            self.unknown_in(table, known);
                        } else {
                            let found = item.shown();
                            self.fault(Code::ConfigMalformed, &item.place, key, "a table", found);
                        }
                    }
                }
                (_, Some(_), _) => {
                    let expected = format!("a table '[{key}]'");
                    self.fault(
                        Code::ConfigMalformed,
                        &node.place,
                        key,
                        expected,
                        node.shown(),
                    );
                }
                (_, _, Some(_)) => {
                    let expected = format!("a list of tables '[[{key}]]'");
                    self.fault(
                        Code::ConfigMalformed,
                        &node.place,
                        key,
                        expected,
                        node.shown(),
                    );
                }
                _ if keys::TOP.contains(&key.as_str()) => {}
                _ => {
                    let tables = keys::TABLES.iter().map(|(name, _)| *name);
                    let lists = keys::LISTS.iter().map(|(name, _)| *name);
                    let known: Vec<&str> = keys::TOP
                        .iter()
                        .copied()
                        .chain(tables)
                        .chain(lists)
                        .collect();
                    self.unknown(key, node, &known);
                }
            }
        }
    }

    /// Notes every key of `table` that is not `known`.
    pub(crate) fn unknown_in(&mut self, table: &Table, known: &[&str]) {
        for (key, node) in table {
            if !known.contains(&key.as_str()) {
                self.unknown(key, node, known);
            }
        }
    }

    fn unknown(&mut self, key: &str, node: &Node, known: &[&str]) {
        self.faults.push(Refusal::new(
            Code::ConfigKeyUnknown,
            node.place.to_string(),
            format!("one of '{}'", known.join("', '")),
            portcullis_gate::quote(key),
        ));
    }

    /// The table `name` of `root`.
    pub(crate) fn section<'t>(
        &self,
        root: &'t Table,
        name: &'static str,
        prefix: &'static str,
    ) -> Section<'t> {
        let table = match root.get(name).map(|node| &node.value) {
            Some(Value::Table(table)) => Some(table),
            _ => None,
        };
        Section { table, prefix }
    }

    /// The tables of the list `name` of `root`, each with its place.
    pub(crate) fn list<'t>(
        &self,
        root: &'t Table,
        name: &'static str,
        prefix: &'static str,
    ) -> Vec<(&'t Place, Section<'t>)> {
        let Some(Value::List(items)) = root.get(name).map(|node| &node.value) else {
            return Vec::new();
        };
        items
            .iter()
            .filter_map(|item| match &item.value {
                Value::Table(table) => Some((&item.place, Section::new(prefix, table))),
                _ => None,
            })
            .collect()
    }

    /// The value of `key` through `read`; `None` if it is absent or, with a fault noted, if it is
    /// not what `expected` says.
    pub(crate) fn optional<'t, T>(
        &mut self,
        section: Section<'t>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&'t Value) -> Option<T>,
    ) -> Option<T> {
        let node = section.node(key)?;
        let value = read(&node.value);
        if value.is_none() {
            let name = format!("{}{key}", section.prefix);
            self.fault(
                Code::ConfigMalformed,
                &node.place,
                &name,
                expected,
                node.shown(),
            );
        }
        value
    }

    /// The same for text.
    pub(crate) fn text<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        self.optional(section, key, expected, |value| match value {
            Value::Text(text) => read(text),
            _ => None,
        })
    }

    /// The same for a text that a fault must not repeat.
    pub(crate) fn secret<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let node = section.node(key)?;
        let value = match &node.value {
            Value::Text(text) => read(text),
            _ => None,
        };
        if value.is_none() {
            let name = format!("{}{key}", section.prefix);
            let found = "something else";
            self.fault(Code::ConfigMalformed, &node.place, &name, expected, found);
        }
        value
    }

    /// The same for a list of texts.
    pub(crate) fn texts<T>(
        &mut self,
        section: Section<'_>,
        key: &str,
        expected: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Option<Vec<T>> {
        self.optional(section, key, expected, |value| match value {
            Value::List(items) => items
                .iter()
                .map(|item| match &item.value {
                    Value::Text(text) => read(text),
                    _ => None,
                })
                .collect(),
            _ => None,
        })
    }

    /// The same for a switch.
    pub(crate) fn switch(&mut self, section: Section<'_>, key: &str) -> Option<bool> {
        self.optional(section, key, "true or false", |value| match value {
            Value::Boolean(boolean) => Some(*boolean),
            _ => None,
        })
    }

    /// A text that must be there in the table at `place`.
    pub(crate) fn required<T>(
        &mut self,
        place: &Place,
        section: Section<'_>,
        key: &str,
        expected: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        if section.node(key).is_none() {
            let name = format!("{}{key}", section.prefix);
            self.fault(Code::ConfigKeyMissing, place, &name, expected, "nothing");
        }
        self.text(section, key, expected, read)
    }
}
