use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::by_point;
use crate::section::Circumstances;

const NATIVE: Abi = Abi::X86_64;

fn read(section: &Value) -> Section {
    let circumstances = Circumstances {
        native: NATIVE,
        capabilities: BTreeSet::new(),
    };
    Section::read(section, &circumstances).unwrap()
}

fn action(name: &str, errno: u64) -> Action {
    Action::from_oci(name, Some(errno)).unwrap()
}

fn answer(section: &Value, arguments: [u64; 6]) -> String {
    let section = read(section);
    let filter = Filter::new(&section);
    let mut diagrams = Diagrams::default();
    let function = filter
        .answer(&mut diagrams, NATIVE, NATIVE, "socket")
        .unwrap();
    Action::from_return_value(diagrams.value(function, &arguments)).to_string()
}

fn with(entries: &Value) -> Value {
    json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": entries})
}

proptest! {
    #[test]
    fn the_diagram_answers_as_the_rules_do(section in by_point::section()) {
        let parsed = read(&section);
        let filter = Filter::new(&parsed);
        let mut diagrams = Diagrams::default();
        let function = filter.answer(&mut diagrams, NATIVE, NATIVE, "socket").unwrap();
        for arguments in by_point::points(&[&section]) {
            let (name, errno) = by_point::answer(&section, arguments);
            let answer = Action::from_return_value(diagrams.value(function, &arguments));
            prop_assert_eq!(answer, action(&name, errno), "{:?}", arguments);
        }
    }
}

#[test]
fn a_rule_without_conditions_stands_whichever_came_first() {
    let plain = json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW"});
    let denied = json!({
        "names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS",
        "args": [{"index": 0, "value": 38, "op": "SCMP_CMP_EQ"}],
    });
    for entries in [json!([plain, denied]), json!([denied, plain])] {
        assert_eq!(answer(&with(&entries), [38, 0, 0, 0, 0, 0]), "ALLOW");
    }
}

#[test]
fn the_first_of_several_without_conditions_stands() {
    let rule = |action: &str| json!({"names": ["socket"], "action": action});
    let entries = json!([rule("SCMP_ACT_LOG"), rule("SCMP_ACT_KILL_PROCESS")]);
    assert_eq!(answer(&with(&entries), [0; 6]), "LOG");
}

#[test]
fn a_mask_of_nothing_is_no_condition() {
    let entries = json!([
        {"names": ["socket"], "action": "SCMP_ACT_ALLOW",
         "args": [{"index": 0, "value": 0, "valueTwo": 5, "op": "SCMP_CMP_MASKED_EQ"}]},
        {"names": ["socket"], "action": "SCMP_ACT_KILL_PROCESS",
         "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]},
    ]);
    assert_eq!(answer(&with(&entries), [1, 0, 0, 0, 0, 0]), "ALLOW");
}

#[test]
fn a_call_of_an_abi_that_is_not_served_ends_the_thread() {
    let section = read(&with(&json!([])));
    let filter = Filter::new(&section);
    let mut diagrams = Diagrams::default();
    let x86 = Abi::from_oci("SCMP_ARCH_X86").unwrap();
    let function = filter.answer(&mut diagrams, x86, NATIVE, "socket").unwrap();
    let value = diagrams.value(function, &[0; 6]);
    assert_eq!(Action::from_return_value(value), Action::KILL_THREAD);
}

#[test]
fn a_name_of_another_abi_is_left_out() {
    let section = read(&with(&json!([
        {"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}
    ])));
    let filter = Filter::new(&section);
    let mut diagrams = Diagrams::default();
    let function = filter
        .answer(&mut diagrams, NATIVE, NATIVE, "socketcall")
        .unwrap();
    let value = diagrams.value(function, &[0; 6]);
    assert_eq!(Action::from_return_value(value), Action::errno(1));
}
