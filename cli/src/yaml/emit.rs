//! Trees as YAML: a small part of it, which every reader reads alike.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// `value` as a block of YAML, ended by a line break.
pub(crate) fn emit(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => object(map, 0, true, &mut text),
        Value::Array(items) if !items.is_empty() => list(items, 0, &mut text),
        other => line(&mut text, &scalar(other)),
    }
    text
}

fn object(map: &Map<String, Value>, indent: usize, indent_first: bool, text: &mut String) {
    for (place, (key, value)) in map.iter().enumerate() {
        if place > 0 || indent_first {
            text.push_str(&" ".repeat(indent));
        }
        text.push_str(&word(key));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                object(inner, indent.saturating_add(2), true, text);
            }
            Value::Array(items) if !items.is_empty() => {
                text.push('\n');
                list(items, indent, text);
            }
            other => {
                text.push(' ');
                line(text, &scalar(other));
            }
        }
    }
}

fn list(items: &[Value], indent: usize, text: &mut String) {
    for item in items {
        text.push_str(&" ".repeat(indent));
        text.push_str("- ");
        match item {
            Value::Object(inner) if !inner.is_empty() => {
                object(inner, indent.saturating_add(2), false, text);
            }
            // JSON is YAML.
            other => line(text, &scalar(other)),
        }
    }
}

fn line(text: &mut String, words: &str) {
    let _a_string_takes_every_write = writeln!(text, "{words}");
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => word(text),
        other => other.to_string(),
    }
}

/// Plain if nobody could take it for anything else, else as JSON writes it.
fn word(text: &str) -> String {
    let plain = text.starts_with(|first: char| first.is_ascii_alphabetic() || first == '/')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_./".contains(&byte))
        && super::scalar::plain(text).is_ok_and(|value| value.is_string());
    if plain {
        text.to_owned()
    } else {
        Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn writes_blocks() {
        let value = json!({"spec": {
            "containers": [{"name": "a", "args": ["x", "on", "y:"]}, {}],
            "hostPID": false,
            "tail": [[1, 2], []],
            "x y": null,
        }});
        let text = emit(&value);
        assert_eq!(
            text,
            "spec:\n  containers:\n  - args:\n    - x\n    - \"on\"\n    - \"y:\"\n    name: a\n  - {}\n  \
             hostPID: false\n  tail:\n  - [1,2]\n  - []\n  \"x y\": null\n"
        );
        assert_eq!(crate::yaml::parse(&text).unwrap(), [value]);
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(words in proptest::collection::vec(".{0,12}", 0..6)) {
            let value = json!({"words": words, "map": {"key": words.join(" ")}, "none": []});
            assert_eq!(crate::yaml::parse(&emit(&value)).unwrap(), [value]);
        }
    }
}
