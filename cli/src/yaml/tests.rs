use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn reads_documents() {
    let text = "# a comment\na: 1\nb:\n- x: [yes, 'yes', \"on\"]\n  z: |\n    two\n    lines\n---\n---\n{\"c\": null}\n";
    let expected = [
        json!({"a": 1, "b": [{"x": [true, "yes", "on"], "z": "two\nlines\n"}]}),
        json!({"c": null}),
    ];
    assert_eq!(parse(text).unwrap(), expected);
}

#[test]
fn an_alias_is_written_out() {
    let text = "a: &x {k: [1, 2]}\nb: *x\n";
    let expected = json!({"a": {"k": [1, 2]}, "b": {"k": [1, 2]}});
    assert_eq!(parse(text).unwrap(), [expected]);
}

#[test]
fn what_two_readers_could_read_differently_is_refused_with_its_place() {
    for (text, expected) in [
        (
            "a: 1\nb: 2\na: 3\n",
            "cannot accept key 'a' twice in one object at line 3 column 1",
        ),
        ("a: &x 1\n<<: *x\n", "cannot accept a merge key at line 2"),
        ("1: a\n", "cannot accept a key that is no text; quote it"),
        ("[a]: b\n", "cannot accept a key that is no text"),
        ("a: !!int 7\n", "cannot accept a tag at line 1"),
        ("a: !mine x\n", "cannot accept a tag at line 1"),
        ("a: !x {}\n", "cannot accept a tag"),
        ("a: y\n", "cannot accept 'y', which may be a text or not"),
        ("a: *x\n", "cannot parse YAML"),
        ("a: &x [*x]\n", "cannot accept an alias inside"),
        ("a: [1\n", "cannot parse YAML"),
        ("a: b: c\n", "cannot parse YAML"),
    ] {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.starts_with(expected), "{text:?}: {error}");
        assert!(error.contains("line ") && !error.contains('\n'), "{error}");
    }
}

#[test]
fn a_few_lines_do_not_become_gigabytes() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let below = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{below}]\n"));
    }
    let error = parse(&text).unwrap_err().to_string();
    assert!(
        error.starts_with("cannot accept more than 100000 values"),
        "{error}"
    );
    let deep = "[".repeat(100);
    let error = parse(&deep).unwrap_err().to_string();
    assert!(error.contains("nested deeper than 64"), "{error}");
    let wide = format!("[{}]", "1,".repeat(200_000));
    parse(&wide).unwrap_err();
}

proptest! {
    #[test]
    fn nothing_panics(text in "[ \\n\\t\\-:?\\[\\]{},&*!|>'\"%@`#a0~<.e+]{0,60}") {
        let _either = parse(&text).is_ok();
    }
}

#[test]
fn a_long_text_behind_aliases_is_counted_by_its_length() {
    let text = format!("a: &x {}\nb: [{}]\n", "y".repeat(640_000), "*x,".repeat(20));
    let error = parse(&text).unwrap_err().to_string();
    assert!(error.contains("aliases written out at line 2"), "{error}");
    let few = format!("a: &x {}\nb: [*x, *x]\n", "y".repeat(64_000));
    parse(&few).unwrap();
}
