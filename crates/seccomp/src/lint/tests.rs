use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::*;
use crate::section::Circumstances;

fn findings(document: &Value) -> Vec<Finding> {
    found_on(document, Abi::X86_64)
}

fn found_on(document: &Value, native: Abi) -> Vec<Finding> {
    let circumstances = Circumstances {
        native,
        capabilities: BTreeSet::new(),
    };
    lint(&Section::read(document, &circumstances).unwrap(), native).unwrap()
}

/// A section about which nothing is to be said, and `entries`.
fn with(entries: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": entries,
    })
}

fn allow(name: &str, args: &Value) -> Value {
    json!({"names": [name], "action": "SCMP_ACT_ALLOW", "args": args})
}

fn arg(index: u64, op: &str, value: u64) -> Value {
    json!({"index": index, "value": value, "op": format!("SCMP_CMP_{op}")})
}

fn masked(index: u64, value: u64) -> Value {
    json!({
        "index": index, "value": 0xffff_ffff_u64, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"
    })
}

/// For each rule sections that it is about: what they have beside or instead of a section about
/// which nothing is to be said, the pointer of the finding, and the call that shows it.
fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../../tests/data/findings.json")).unwrap()
}

#[test]
fn every_rule_finds_what_it_is_about() {
    let mut tried = BTreeSet::new();
    for case in cases() {
        let mut section = with(&json!([]));
        for (key, value) in case["section"].as_object().unwrap() {
            section[key] = value.clone();
        }
        let found = findings(&section);
        let matching = found
            .iter()
            .find(|it| case["rule"] == it.rule.as_str() && case["pointer"] == it.pointer)
            .unwrap_or_else(|| panic!("{case} not in {found:#?}"));
        let shown = matching.witness.as_ref().map(ToString::to_string);
        assert_eq!(json!(shown), case["witness"], "{case}");
        tried.insert(matching.rule);
    }
    assert_eq!(tried.len(), Rule::ALL.len(), "a rule without a case");
}

#[test]
fn nothing_is_said_about_rules_that_mean_what_they_say() {
    let section = with(&json!([
        {"names": ["read", "write", "clone3"], "action": "SCMP_ACT_ALLOW"},
        allow("socket", &json!([masked(0, 1)])),
        allow("socket", &json!([masked(0, 16), masked(2, 0)])),
        allow("mremap", &json!([arg(0, "EQ", 1 << 40)])),
        {"names": ["bpf"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1},
    ]));
    assert_eq!(findings(&section), []);
}

#[test]
fn our_own_lists_are_clean() {
    for (native, text) in [
        (
            Abi::X86_64,
            include_str!("../../../../config/seccomp/x86_64.json"),
        ),
        (
            Abi::AARCH64,
            include_str!("../../../../config/seccomp/aarch64.json"),
        ),
    ] {
        let list: Value = serde_json::from_str(text).unwrap();
        assert_eq!(found_on(&list, native), [], "{native}");
    }
}

#[test]
fn the_same_about_several_calls_is_said_once() {
    let section = with(&json!([
        {"names": ["stat64", "lstat64", "read"], "action": "SCMP_ACT_ALLOW"}
    ]));
    let [finding] = findings(&section).try_into().unwrap();
    assert_eq!(finding.calls, ["stat64", "lstat64"]);
}

#[test]
fn a_repeated_argument_makes_an_unrelated_condition_an_alternative_too() {
    let section = with(&json!([allow(
        "mremap",
        &json!([arg(0, "EQ", 1), arg(0, "EQ", 2), arg(1, "EQ", 7)])
    )]));
    let finding = findings(&section)
        .into_iter()
        .find(|it| it.rule == Rule::ConditionsBecomeOr)
        .unwrap();
    assert_eq!(finding.witness.unwrap().to_string(), "mremap(0, 7, …)");
}
