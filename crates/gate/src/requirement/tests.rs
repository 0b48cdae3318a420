use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{REQUIREMENT_LIMIT_BYTES, Requirement};

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn holds(text: &str, pairs: &[(&str, &str)]) -> bool {
    Requirement::parse(text).expect(text).matches(&tags(pairs))
}

fn complaint(text: &str) -> String {
    Requirement::parse(text).expect_err(text).to_string()
}

#[test]
fn every_operator_holds_and_fails_where_it_should() {
    let host = [("country", "DE"), ("pool", ""), ("rack", "12")];
    for (text, expected) in [
        ("", true),
        (" \t\r\n ", true),
        ("country", true),
        ("site", false),
        ("!site", true),
        ("! site", true),
        ("!country", false),
        ("country=DE", true),
        ("country == DE", true),
        ("country=FR", false),
        ("site=DE", false),
        ("country!=FR", true),
        ("country != DE", false),
        ("site!=DE", true),
        ("country in (DE, FR)", true),
        ("country in(FR,US)", false),
        ("site in (DE)", false),
        ("country notin (FR, US)", true),
        ("country notin (DE,FR)", false),
        ("site notin (DE)", true),
        ("pool=", true),
        ("pool in ()", true),
        ("pool in (a,)", true),
        ("country=", false),
        ("pool!=", false),
        ("rack>11", true),
        ("rack > 12", false),
        ("rack<13", true),
        ("rack<12", false),
        ("rack>0", true),
        ("rack>012", false),
        ("rack<013", true),
        ("country>1", false),
        ("site<1", false),
        ("country in (DE, FR), pool", true),
        ("country in (DE, FR),site", false),
        ("country,country=DE,!site", true),
    ] {
        assert_eq!(holds(text, &host), expected, "{text}");
    }
}

/// Selectors of Kubernetes' own tests (`TestSelectorParse`, `TestParserParse`) with what its parser
/// makes of them.
#[test]
fn reads_what_kubernetes_reads() {
    for text in [
        "",
        "x=a,y=b,z=c",
        "x!=a,y=b",
        "x=",
        "x= ",
        "x=,z= ",
        "x= ,z= ",
        "!x",
        "x>1",
        "x>1,z<5",
        "x in (foo,,baz),y,z notin ()",
        "x in (,)",
        "x in (,a)",
        "x in (a,,b)",
        "x in (a,,,b)",
        "in",
        "in=foo",
        "x notin (in,notin)",
        "foo=notin",
        "a\nin\t( b )",
    ] {
        Requirement::parse(text).expect(text);
    }
    for text in [
        "x=a||y=b",
        "x==a==b",
        "!x=a",
        "x<a",
        "x,a,",
        "x in a",
        "x in (a",
        "x in (b,,) c",
        "x notin",
        "x in (a b)",
        "a/b/c",
        "x=a/b",
        "x y",
        "x!",
        "()",
        "a,\u{0}",
    ] {
        complaint(text);
    }
    // The empty value is one like any other.
    assert!(holds("x in (foo,,baz)", &[("x", "")]));
    assert!(holds("x in (,a)", &[("x", "")]));
    assert!(!holds("z notin ()", &[("z", "")]));
    assert!(holds("z notin ()", &[]));
}

#[test]
fn operator_words_may_be_names_and_values() {
    assert!(holds("in in (in, notin)", &[("in", "notin")]));
    assert!(holds("notin=in", &[("notin", "in")]));
}

#[test]
fn names_may_have_a_dns_prefix() {
    assert!(holds(
        "example.org/pool=pci",
        &[("example.org/pool", "pci")]
    ));
    assert!(complaint("Example.org/pool").contains("a DNS name before '/'"));
    assert!(complaint("example..org/pool").contains("a DNS name before '/'"));
    assert!(complaint("/pool").contains("a DNS name before '/'"));
    assert!(complaint("example.org/").contains("a name of at most 63"));
    assert!(complaint("a/b/c").contains("a name of at most 63"));
}

#[test]
fn complaints_name_the_column() {
    for (text, column, found) in [
        ("country in DE", 12, "'DE'"),
        ("country in (DE FR)", 16, "'FR'"),
        ("country in (DE", 15, "the end"),
        ("country,", 9, "the end"),
        (",country", 1, "','"),
        ("country DE", 9, "'DE'"),
        ("!country=DE", 9, "'='"),
        ("!", 2, "the end"),
        ("country=(", 9, "'('"),
        ("country=D!E", 10, "'!'"),
        ("rack>x", 6, "'x'"),
        ("rack>-1", 6, "'-1'"),
        ("rack<+1", 6, "'+1'"),
        ("rack>", 6, "the end"),
        ("rack<,pool", 6, "','"),
        ("rack>=1", 6, "'='"),
        ("rack===1", 7, "'='"),
        ("pool in (a;b)", 10, "'a;b'"),
        ("rack>9223372036854775808", 6, "'9223372036854775808'"),
        ("-pool", 1, "'-pool'"),
        ("pool=a-", 6, "'a-'"),
        ("größe", 1, "'größe'"),
        ("a, größe", 4, "'größe'"),
        ("site=\u{1b}[31m", 6, "'\\u{1b}[31m'"),
    ] {
        let error = Requirement::parse(text).expect_err(text);
        assert_eq!(
            (error.column, error.found.as_str()),
            (column, found),
            "{text}"
        );
    }
    assert_eq!(
        complaint("country in DE"),
        "cannot read tag requirement at column 12: expected '(', found 'DE'"
    );
}

#[test]
fn the_lengths_of_names_values_and_text_are_limited() {
    let longest = "a".repeat(63);
    assert!(holds(&longest, &[(longest.as_str(), "")]));
    assert!(complaint(&format!("{longest}a")).contains("at most 63"));
    assert!(holds(&format!("k={longest}"), &[("k", longest.as_str())]));
    assert!(complaint(&format!("k={longest}a")).contains("at most 63"));

    let filler = " ".repeat(REQUIREMENT_LIMIT_BYTES - 1);
    assert!(holds(&format!("k{filler}"), &[("k", "")]));
    assert!(complaint(&format!("k{filler} ")).contains("at most 4096 bytes, found 4097 bytes"));
}

#[test]
fn unmet_terms_are_named() {
    let requirement = Requirement::parse("country in (FR,DE), pool, tier!=spot").expect("valid");
    let host = tags(&[("country", "US"), ("tier", "spot")]);
    let unmet: Vec<String> = requirement.unmet(&host).map(ToString::to_string).collect();
    assert_eq!(unmet, ["country in (DE,FR)", "pool", "tier!=spot"]);
}

/// A label word that is also sometimes an operator, a number or empty-looking.
fn word() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("in".to_owned()),
        Just("notin".to_owned()),
        "[a-zA-Z0-9]([a-zA-Z0-9_.-]{0,6}[a-zA-Z0-9])?",
    ]
}

fn term() -> impl Strategy<Value = String> {
    let space = "[ \t]{0,2}";
    prop_oneof![
        word(),
        word().prop_map(|key| format!("!{key}")),
        (
            word(),
            space,
            prop_oneof![Just("="), Just("=="), Just("!=")],
            space,
            word()
        )
            .prop_map(|(key, before, operator, after, value)| format!(
                "{key}{before}{operator}{after}{value}"
            )),
        (
            word(),
            prop_oneof![Just("in"), Just("notin")],
            space,
            prop::collection::vec(word(), 0..4)
        )
            .prop_map(|(key, operator, gap, values)| format!(
                "{key} {operator}{gap}({})",
                values.join(" ,")
            )),
        (word(), prop_oneof![Just("<"), Just(">")], 0..=i64::MAX)
            .prop_map(|(key, operator, bound)| format!("{key}{operator}{bound}")),
    ]
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_within_its_columns(text in "\\PC{0,40}|[a-c!=,()<> ]{0,24}") {
        if let Err(error) = Requirement::parse(&text) {
            prop_assert!((1..=text.chars().count() + 1).contains(&error.column));
        }
    }

    #[test]
    fn the_grammar_is_read_and_printed_text_reads_back(terms in prop::collection::vec(term(), 0..5)) {
        let requirement = Requirement::parse(&terms.join(", ")).expect("generated from the grammar");
        let printed = requirement.to_string();
        prop_assert_eq!(Requirement::parse(&printed).expect("printed"), requirement);
    }

    #[test]
    fn negations_are_opposites(key in word(), value in word(), other in word(), held in prop::option::of(word())) {
        let host = held.map(|held| BTreeMap::from([(key.clone(), held)])).unwrap_or_default();
        let matches = |text: String| Requirement::parse(&text).expect("valid").matches(&host);
        prop_assert_ne!(matches(format!("{key}={value}")), matches(format!("{key}!={value}")));
        prop_assert_ne!(
            matches(format!("{key} in ({value},{other})")),
            matches(format!("{key} notin ({value},{other})"))
        );
        prop_assert_ne!(matches(key.clone()), matches(format!("!{key}")));
    }

    #[test]
    fn all_terms_must_hold(terms in prop::collection::vec(term(), 0..5), host in prop::collection::btree_map(word(), word(), 0..4)) {
        let each = terms.iter().all(|term| Requirement::parse(term).expect("valid").matches(&host));
        let whole = Requirement::parse(&terms.join(",")).expect("valid").matches(&host);
        prop_assert_eq!(each, whole);
    }
}
