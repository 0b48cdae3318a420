use super::*;
use proptest::prelude::*;
use serde_json::json;

const LIMITS: Limits = Limits {
    max_bytes: 4096,
    max_depth: 16,
};

fn refusal(input: &[u8]) -> String {
    let line = parse(input, LIMITS)
        .expect_err("must be refused")
        .to_string();
    assert!(!line.contains(['\n', '\u{1b}']), "one plain line: {line:?}");
    line
}

#[test]
fn reads_what_serde_json_reads() {
    let text = r#"{"a":[1,-2,3.5,true,null,"\u00e9\ud83d\ude00"],"b":{"":{}}}"#;
    let expected: Value = serde_json::from_str(text).expect("valid");
    assert_eq!(parse(text.as_bytes(), LIMITS).expect("valid"), expected);
}

#[test]
fn refuses_a_duplicate_key_at_every_depth() {
    assert_eq!(
        refusal(b"{\"a\":1,\n\"a\":2}"),
        "cannot accept key 'a' twice in one object at line 2 column 3"
    );
    refusal(br#"[{"x":{"y":1,"z":2,"y":1}}]"#);
    refusal(br#"{"a":null,"a":null}"#);
}

#[test]
fn refuses_a_duplicate_key_hidden_by_an_escape() {
    assert!(refusal(br#"{"process":1,"\u0070rocess":2}"#).contains("'process'"));
}

#[test]
fn accepts_one_key_in_two_objects() {
    parse(br#"[{"a":1},{"a":{"a":2}}]"#, LIMITS).expect("valid");
}

#[test]
fn a_hostile_key_cannot_write_a_second_line() {
    let key = r"x\nportcullis: permitted\u001b[2J";
    let line = refusal(format!(r#"{{"{key}":1,"{key}":2}}"#).as_bytes());
    assert!(line.contains(r"x\nportcullis"), "{line}");
}

#[test]
fn a_long_key_is_cut() {
    let key = "k".repeat(300);
    let line = refusal(format!(r#"{{"{key}":1,"{key}":2}}"#).as_bytes());
    assert!(line.len() < 160, "{line}");
}

#[test]
fn names_the_place_of_a_number_that_would_change() {
    assert_eq!(
        refusal(b"{\n \"limit\": 18446744073709551616}"),
        "cannot keep number 18446744073709551616 unchanged at line 2 column 11"
    );
    for number in [
        "-0",
        "1e400",
        "1e-400",
        "1.0000000000000000001",
        "0.30000000000000000001",
    ] {
        assert!(refusal(number.as_bytes()).contains(number));
    }
}

#[test]
fn refuses_one_byte_and_one_level_too_many() {
    let limits = Limits {
        max_bytes: 6,
        max_depth: 3,
    };
    parse(b"[[[]]]", limits).expect("at the limit");
    assert!(matches!(
        parse(b"[[[]]] ", limits),
        Err(JsonError::Size {
            size_bytes: 7,
            limit_bytes: 6
        })
    ));
    let limits = Limits {
        max_bytes: 8,
        max_depth: 3,
    };
    assert!(matches!(
        parse(b"[[[[]]]]", limits),
        Err(JsonError::Depth {
            limit: 3,
            line: 1,
            column: 4
        })
    ));
}

#[test]
fn a_caller_without_a_depth_limit_still_cannot_exhaust_the_stack() {
    let limits = Limits {
        max_bytes: 1 << 20,
        max_depth: usize::MAX,
    };
    parse("[".repeat(1 << 20).as_bytes(), limits).expect_err("too deep");
}

#[test]
fn refuses_trailing_bytes_and_half_documents() {
    for input in [
        "{} {}",
        "{}x",
        "[1,]",
        "{\"a\":1",
        "",
        " ",
        "\u{feff}{}",
        "{a:1}",
        "'a'",
        "01",
        "+1",
        "NaN",
        "1.",
        ".5",
        "\"\\ud800\"",
        "\"\t\"",
        "// c\n1",
    ] {
        let line = refusal(input.as_bytes());
        assert!(line.contains("line"), "{input:?}: {line}");
    }
}

#[test]
fn refuses_bytes_that_are_not_utf_8_and_names_the_place() {
    assert_eq!(
        refusal(b"{\n\"a\": \"\xff\"}"),
        "cannot read JSON that is not UTF-8 at line 2 column 7"
    );
    // An overlong encoding of '/': other readers may take it for a path separator.
    refusal(b"\"\xc0\xaf\"");
}

#[test]
fn white_space_around_the_document_is_allowed() {
    assert_eq!(
        parse(b" \n{\"a\" : 1}\r\n\t", LIMITS).expect("valid"),
        json!({"a": 1})
    );
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>()
            .prop_filter("JSON has no NaN", |n| n.is_finite())
            .prop_map(Value::from),
        ".*".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::btree_map(".*", inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn what_was_written_reads_back_unchanged(value in tree()) {
        let text = serde_json::to_vec(&value).expect("a tree is writable");
        let limits = Limits { max_bytes: usize::MAX, max_depth: 64 };
        prop_assert_eq!(parse(&text, limits).expect("own output is strict"), value);
    }

    #[test]
    fn reading_and_writing_twice_gives_the_same_bytes(number in r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,22})?([eE][+-]?[0-9]{1,3})?") {
        if let Ok(value) = parse(number.as_bytes(), LIMITS) {
            let written = value.to_string();
            let again = parse(written.as_bytes(), LIMITS).expect("own output is strict");
            prop_assert_eq!(again.to_string(), written);
        }
    }

    #[test]
    fn a_doubled_member_is_always_refused(value in tree(), key in ".*", members in prop::collection::btree_map(".*", any::<u8>(), 0..4)) {
        let key = Value::from(key).to_string();
        let mut text = format!("{{{key}:{value}");
        for (name, number) in &members {
            text.push_str(&format!(",{}:{number}", Value::from(name.as_str())));
        }
        text.push_str(&format!(",{key}:{value}}}"));
        let limits = Limits { max_bytes: usize::MAX, max_depth: 64 };
        let refused = parse(text.as_bytes(), limits);
        let is_duplicate = matches!(refused, Err(JsonError::DuplicateKey { .. }));
        prop_assert!(is_duplicate);
    }

    #[test]
    fn no_bytes_make_it_panic(input in prop::collection::vec(any::<u8>(), 0..256)) {
        if let Err(refused) = parse(&input, LIMITS) {
            prop_assert!(!refused.to_string().contains('\n'));
        }
    }

    #[test]
    fn it_is_never_laxer_than_serde_json(input in r#"[\[\]{}",:0-9a-e.+\\ -]{0,40}"#) {
        if parse(input.as_bytes(), LIMITS).is_ok() {
            prop_assert!(serde_json::from_str::<Value>(&input).is_ok());
        }
    }
}
