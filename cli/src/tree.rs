//! Small edits of JSON trees.

use serde_json::Value;
use serde_json::map::Entry;

/// Puts `to` at `key` of `object`; nothing happens if it is none.
pub(crate) fn put(object: &mut Value, key: &str, to: impl Into<Value>) {
    if let Some(map) = object.as_object_mut() {
        map.insert(key.to_owned(), to.into());
    }
}

/// The value at `key` of `object`, which must be one; `otherwise`, put there, if there is none of
/// its kind.
pub(crate) fn part<'a>(object: &'a mut Value, key: &str, otherwise: Value) -> &'a mut Value {
    let Value::Object(map) = object else {
        return object;
    };
    match map.entry(key) {
        Entry::Vacant(place) => place.insert(otherwise),
        Entry::Occupied(place) => {
            let value = place.into_mut();
            if value.is_array() != otherwise.is_array() || value.is_null() {
                *value = otherwise;
            }
            value
        }
    }
}
