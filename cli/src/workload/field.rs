//! Fields of a manifest, each with its place.

use serde_json::Value;

/// A place in a manifest and what stands there; null counts as nothing.
#[derive(Debug, Clone)]
pub(super) struct Field<'a> {
    value: Option<&'a Value>,
    pub(super) pointer: String,
}

/// A field that holds something else than Kubernetes allows there.
#[derive(Debug, thiserror::Error)]
#[error("cannot read manifest at '{pointer}': expected {expected}, found {found}")]
pub(crate) struct FieldError {
    pointer: String,
    expected: &'static str,
    found: &'static str,
}

pub(super) type Read<T> = Result<T, FieldError>;

/// One step of a JSON pointer.
pub(crate) fn escaped(key: &str) -> String {
    key.replace('~', "~0").replace('/', "~1")
}

const fn noun(value: Option<&Value>) -> &'static str {
    match value {
        None | Some(Value::Null) => "nothing",
        Some(Value::Bool(_)) => "true or false",
        Some(Value::Number(_)) => "a number",
        Some(Value::String(_)) => "a text",
        Some(Value::Array(_)) => "a list",
        Some(Value::Object(_)) => "an object",
    }
}

// === impl Field ===

impl<'a> Field<'a> {
    /// The place that `pointer` names in `document`.
    pub(super) fn at(document: &'a Value, pointer: &str) -> Self {
        Self {
            value: document.pointer(pointer).filter(|value| !value.is_null()),
            pointer: pointer.to_owned(),
        }
    }

    pub(super) const fn is_set(&self) -> bool {
        self.value.is_some()
    }

    pub(super) const fn value(&self) -> Option<&'a Value> {
        self.value
    }

    /// The field `key` of the object here.
    pub(super) fn get(&self, key: &str) -> Self {
        let value = self.value.and_then(|value| value.get(key));
        Self {
            value: value.filter(|value| !value.is_null()),
            pointer: format!("{}/{}", self.pointer, escaped(key)),
        }
    }

    /// This field if it is set, else `other`.
    pub(super) fn or(self, other: &Self) -> Self {
        if self.is_set() || !other.is_set() {
            self
        } else {
            other.clone()
        }
    }

    pub(super) fn fault(&self, expected: &'static str) -> FieldError {
        FieldError {
            pointer: self.pointer.clone(),
            expected,
            found: noun(self.value),
        }
    }

    pub(super) fn text(&self) -> Read<Option<&'a str>> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.fault("a text")),
        }
    }

    pub(super) fn needed_text(&self) -> Read<&'a str> {
        self.text()?.ok_or_else(|| self.fault("a text"))
    }

    pub(super) fn flag(&self) -> Read<Option<bool>> {
        match self.value {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(self.fault("true or false")),
        }
    }

    pub(super) fn is_true(&self) -> Read<bool> {
        Ok(self.flag()? == Some(true))
    }

    /// An id of a user or group.
    pub(super) fn id(&self) -> Read<Option<u32>> {
        let Some(value) = self.value else {
            return Ok(None);
        };
        let id = value.as_u64().and_then(|id| u32::try_from(id).ok());
        id.map(Some)
            .ok_or_else(|| self.fault("a whole number from 0 to 4294967295"))
    }

    /// The elements of a list; none if there is no list.
    pub(super) fn list(&self) -> Read<Vec<Self>> {
        let items = match self.value {
            None => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(self.fault("a list")),
        };
        let element = |(index, value): (usize, &'a Value)| Self {
            value: Some(value).filter(|value| !value.is_null()),
            pointer: format!("{}/{index}", self.pointer),
        };
        Ok(items.iter().enumerate().map(element).collect())
    }

    /// The texts of a list.
    pub(super) fn texts(&self) -> Read<Vec<&'a str>> {
        self.list()?.iter().map(Field::needed_text).collect()
    }

    /// The fields of an object; none if there is no object.
    pub(super) fn entries(&self) -> Read<Vec<(&'a str, Self)>> {
        match self.value {
            None => Ok(Vec::new()),
            Some(Value::Object(map)) => Ok(map
                .keys()
                .map(|key| (key.as_str(), self.get(key)))
                .collect()),
            Some(_) => Err(self.fault("an object")),
        }
    }

    /// Fails unless an object, or nothing, stands here.
    pub(super) fn object(self) -> Read<Self> {
        match self.value {
            None | Some(Value::Object(_)) => Ok(self),
            Some(_) => Err(self.fault("an object")),
        }
    }
}
