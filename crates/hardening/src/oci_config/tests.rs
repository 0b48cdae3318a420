use super::*;

const CTR: &str = include_str!("../../tests/data/ctr-1.6.20-run.json");

fn refusal(text: &str) -> String {
    OciConfig::parse(text.as_bytes()).unwrap_err().to_string()
}

#[test]
fn keys_that_runtimes_match_differently_are_refused_at_every_level() {
    for (text, key) in [
        (r#"{"process": {}, "Process": {}}"#, "Process"),
        (r#"{"Linux": {}}"#, "Linux"),
        (
            r#"{"process": {"capabilities": {"Bounding": []}}}"#,
            "Bounding",
        ),
        (
            r#"{"linux": {"resources": {"devices": [{"Allow": true}]}}}"#,
            "Allow",
        ),
        (
            r#"{"linux": {"seccomp": {"syscalls": [{"args": [{"OP": ""}]}]}}}"#,
            "OP",
        ),
        (r#"{"linux": {"ma\u017fkedPaths": []}}"#, "maſkedPaths"),
        (r#"{"hoo\u212as": {}}"#, "hooKs"),
    ] {
        let line = refusal(text);
        assert!(
            line.starts_with("portcullis: fault [oci-config-malformed] config.json"),
            "{line}"
        );
        assert!(line.contains(&format!("found key '{key}'")), "{line}");
    }
}

#[test]
fn a_duplicate_key_is_refused_with_its_place() {
    let line = refusal(r#"{"process": {"cwd": "/", "cwd": "/"}}"#);
    assert!(
        line.contains("'cwd' twice in one object at line 1"),
        "{line}"
    );
}

#[test]
fn values_of_another_type_are_refused() {
    for text in [
        r#"{"mounts": {}}"#,
        r#"{"process": {"noNewPrivileges": "true"}}"#,
        r#"{"process": {"user": {"uid": -1}}}"#,
        r#"{"process": {"user": {"uid": 4294967296}}}"#,
        r#"{"process": {"capabilities": []}}"#,
        r#"{"root": {"path": 1}}"#,
        r#"{"annotations": {"a": 1}}"#,
        "[]",
        "null",
        "",
    ] {
        let line = refusal(text);
        assert!(
            line.contains("[oci-config-malformed]") && !line.contains('\n'),
            "{line}"
        );
    }
}

#[test]
fn the_place_of_a_fault_is_named() {
    let line = refusal(r#"{"linux": {"resources": {"devices": [{}, {"major": "x"}]}}}"#);
    assert!(line.contains("config.json /linux/resources/devices/1/major: expected a whole number"));
}

#[test]
fn free_keys_and_unknown_fields_are_kept() {
    let text = r#"{"annotations":{"Process":"a","process":"b"},"future":{"x":[1]},"linux":{"sysctl":{"A":"1","a":"2"}}}"#;
    let config = OciConfig::parse(text.as_bytes()).unwrap();
    assert_eq!(String::from_utf8(config.to_bytes()).unwrap(), text);
    assert_eq!(config.annotation("Process"), Some("a"));
}

#[test]
fn limits_of_size_and_depth_hold_on_both_sides() {
    let deep = |levels: usize| format!("{{\"x\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
    let accepts = |text: String| OciConfig::parse(text.as_bytes()).is_ok();
    assert!(accepts(deep(63)) && !accepts(deep(64)));
    let sized = |bytes: usize| format!("{{\"hostname\":\"{}\"}}", "x".repeat(bytes - 15));
    assert_eq!(sized(10 << 20).len(), 10 << 20);
    assert!(accepts(sized(10 << 20)) && !accepts(sized((10 << 20) + 1)));
}

#[test]
fn what_the_fronts_ask_for_is_found() {
    let config = OciConfig::parse(CTR.as_bytes()).unwrap();
    assert_eq!(config.uid(), 65534);
    assert_eq!(config.root_path(), Some("rootfs"));
    assert_eq!(config.cgroups_path(), Some("/default/c1"));
    assert!(!config.terminal());
    assert_eq!(config.bind_mounts().count(), 0);
    assert_eq!(config.joined_namespaces().count(), 0);
}

#[test]
fn a_bind_mount_is_known_by_option_or_type() {
    let text = r#"{"mounts": [
        {"destination": "/a", "type": "none", "source": "/x", "options": ["rbind"]},
        {"destination": "/b", "type": "bind", "source": "/y"},
        {"destination": "/c", "type": "proc", "source": "/z", "options": ["bind"]},
        {"destination": "/d", "type": "tmpfs"}
    ]}"#;
    let config = OciConfig::parse(text.as_bytes()).unwrap();
    let found: Vec<_> = config
        .bind_mounts()
        .map(|it| (it.index, it.source))
        .collect();
    assert_eq!(found, [(0, "/x"), (1, "/y"), (2, "/z")]);
}
