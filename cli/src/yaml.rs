//! YAML as Kubernetes reads it, and nothing that two readers could read differently.
//!
//! `kubectl` turns YAML into JSON by the rules of YAML 1.1 before anything looks at it; so does
//! this. Keys given twice, merge keys, tags and numbers that JSON has not are refused with their
//! place. What an alias stands for counts as often as it is used, so that a few lines cannot become
//! gigabytes.

mod emit;
mod scalar;

use std::collections::HashMap;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Tag};
use serde_json::{Map, Value};

pub(crate) use emit::emit;

/// Collections inside each other. A pod has about ten.
const DEPTH_LIMIT: usize = 64;
/// Values of all documents, aliases written out; a long text counts for several. A pod has about a
/// hundred.
const VALUES_LIMIT: usize = 100_000;
/// Bytes of a text that count for one value more, so that an anchor on a long one is no way round
/// the limit.
const VALUE_BYTES: usize = 64;

/// Why a text is not read. Every message is one line and names the place.
#[derive(Debug, thiserror::Error)]
pub(crate) enum YamlError {
    #[error("cannot parse YAML: {reason} at line {line} column {column}")]
    Syntax {
        reason: String,
        line: usize,
        column: usize,
    },
    #[error("cannot accept {what} at line {line} column {column}")]
    Denied {
        what: String,
        line: usize,
        column: usize,
    },
}

/// A collection that is not closed yet.
#[derive(Debug)]
enum Open {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Object(Map<String, Value>, Option<String>),
}

/// Builds trees out of events.
#[derive(Debug, Default)]
struct Builder {
    documents: Vec<Value>,
    open: Vec<(Open, Anchor)>,
    /// What aliases stand for, with the number of values in it.
    anchors: HashMap<usize, (Value, usize)>,
    values: usize,
}

/// The anchor of a collection, and how many values there were before it.
#[derive(Debug, Clone, Copy)]
struct Anchor {
    id: usize,
    before: usize,
}

/// Reads all documents of `text`; those without content are left out.
pub(crate) fn parse(text: &str) -> Result<Vec<Value>, YamlError> {
    let mut parser = Parser::new_from_str(text);
    let mut builder = Builder::default();
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| YamlError::Syntax {
            reason: error.info().to_owned(),
            line: error.marker().line(),
            column: error.marker().col().saturating_add(1),
        })?;
        builder.take(event, span.start)?;
    }
    builder.documents.retain(|document| !document.is_null());
    Ok(builder.documents)
}

fn denied(what: impl Into<String>, at: Marker) -> YamlError {
    YamlError::Denied {
        what: what.into(),
        line: at.line(),
        column: at.col().saturating_add(1),
    }
}

// === impl Builder ===

impl Builder {
    fn take(&mut self, event: Event<'_>, at: Marker) -> Result<(), YamlError> {
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let quoted = style != ScalarStyle::Plain;
                let value = resolve(&text, quoted, tag.as_deref(), at)?;
                let count = (text.len() / VALUE_BYTES).saturating_add(1);
                self.count(count, at)?;
                if anchor != 0 {
                    self.anchors.insert(anchor, (value.clone(), count));
                }
                self.put(value, at)
            }
            Event::SequenceStart(id, tag) => {
                self.open(Open::List(Vec::new()), id, tag.as_deref(), at)
            }
            Event::MappingStart(id, tag) => {
                self.open(Open::Object(Map::new(), None), id, tag.as_deref(), at)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(at),
            Event::Alias(id) => {
                let Some(count) = self.anchors.get(&id).map(|(_, count)| *count) else {
                    return Err(denied("an alias inside of what it stands for", at));
                };
                // Before it is copied.
                self.count(count, at)?;
                let value = self.anchors.get(&id).map(|(value, _)| value.clone());
                self.put(value.unwrap_or_default(), at)
            }
            Event::DocumentEnd => {
                self.anchors.clear();
                Ok(())
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) => {
                Ok(())
            }
        }
    }

    fn count(&mut self, more: usize, at: Marker) -> Result<(), YamlError> {
        self.values = self.values.saturating_add(more);
        if self.values > VALUES_LIMIT {
            let what = format!("more than {VALUES_LIMIT} values, aliases written out");
            return Err(denied(what, at));
        }
        Ok(())
    }

    fn open(
        &mut self,
        open: Open,
        id: usize,
        tag: Option<&Tag>,
        at: Marker,
    ) -> Result<(), YamlError> {
        if tag.is_some() {
            return Err(denied("a tag", at));
        }
        if self.open.len() >= DEPTH_LIMIT {
            let what = format!("collections nested deeper than {DEPTH_LIMIT}");
            return Err(denied(what, at));
        }
        if let Some((Open::Object(_, None), _)) = self.open.last() {
            return Err(denied("a key that is no text", at));
        }
        let before = self.values;
        self.count(1, at)?;
        self.open.push((open, Anchor { id, before }));
        Ok(())
    }

    fn close(&mut self, at: Marker) -> Result<(), YamlError> {
        let Some((open, anchor)) = self.open.pop() else {
            return Err(denied("an end without a beginning", at));
        };
        let value = match open {
            Open::List(items) => Value::Array(items),
            Open::Object(map, _) => Value::Object(map),
        };
        if anchor.id != 0 {
            let count = self.values.saturating_sub(anchor.before);
            self.anchors.insert(anchor.id, (value.clone(), count));
        }
        self.put(value, at)
    }

    /// Puts a whole value where it belongs.
    fn put(&mut self, value: Value, at: Marker) -> Result<(), YamlError> {
        match self.open.last_mut() {
            None => self.documents.push(value),
            Some((Open::List(items), _)) => items.push(value),
            Some((Open::Object(map, key @ None), _)) => {
                let Value::String(name) = value else {
                    return Err(denied("a key that is no text; quote it", at));
                };
                if name == "<<" {
                    return Err(denied("a merge key", at));
                }
                if map.contains_key(&name) {
                    let name = portcullis_gate::quote(&name);
                    return Err(denied(format!("key {name} twice in one object"), at));
                }
                *key = Some(name);
            }
            Some((Open::Object(map, key), _)) => {
                if let Some(name) = key.take() {
                    map.insert(name, value);
                }
            }
        }
        Ok(())
    }
}

fn resolve(text: &str, quoted: bool, tag: Option<&Tag>, at: Marker) -> Result<Value, YamlError> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() && tag.suffix == "str" => Ok(text.into()),
        Some(_) => Err(denied("a tag", at)),
        None if quoted => Ok(text.into()),
        None => scalar::plain(text).map_err(|what| denied(what, at)),
    }
}

#[cfg(test)]
mod tests;
