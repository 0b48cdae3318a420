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

fn found(first: &Value, second: &Value) -> Vec<Difference> {
    differences(&read(first), &read(second), NATIVE).unwrap()
}

fn verdict(section: &Value, arguments: [u64; 6]) -> Verdict {
    let (name, errno) = by_point::answer(section, arguments);
    Action::from_oci(&name, Some(errno)).unwrap().verdict()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_witness_is_a_call_about_which_they_differ(
        first in by_point::section(),
        second in by_point::section(),
    ) {
        for difference in found(&first, &second) {
            if difference.witness.name.as_deref() != Some("socket") {
                continue;
            }
            let arguments = difference.witness.arguments;
            let (one, other) = (verdict(&first, arguments), verdict(&second, arguments));
            match difference.direction {
                Direction::FirstPermits => prop_assert!(one > other),
                Direction::SecondPermits => prop_assert!(one < other),
                Direction::OtherAnswer => {
                    prop_assert_eq!(one, other);
                    let answers = [&first, &second].map(|it| by_point::answer(it, arguments));
                    prop_assert_ne!(&answers[0], &answers[1]);
                }
            }
        }
    }

    #[test]
    fn where_nothing_is_said_no_call_differs(
        first in by_point::section(),
        second in by_point::section(),
    ) {
        let said = found(&first, &second);
        let said = |direction| said.iter().any(|it| it.direction == direction);
        for arguments in by_point::points(&[&first, &second]) {
            let (one, other) = (verdict(&first, arguments), verdict(&second, arguments));
            prop_assert!(one <= other || said(Direction::FirstPermits), "{:?}", arguments);
            prop_assert!(one >= other || said(Direction::SecondPermits), "{:?}", arguments);
        }
    }

    #[test]
    fn a_section_does_not_differ_from_itself(section in by_point::section()) {
        prop_assert_eq!(found(&section, &section), vec![]);
    }
}

#[test]
fn the_upper_half_of_a_register_is_a_difference() {
    let section = |arg: Value| {
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"],
            "syscalls": [{"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [arg]}],
        })
    };
    let masked = json!({
        "index": 0, "value": 0xffff_ffff_u64, "valueTwo": 1, "op": "SCMP_CMP_MASKED_EQ"
    });
    let equal = json!({"index": 0, "value": 1, "op": "SCMP_CMP_EQ"});
    let [difference] = found(&section(masked), &section(equal)).try_into().unwrap();
    assert_eq!(difference.direction, Direction::FirstPermits);
    assert_eq!(difference.witness.to_string(), "socket(0x100000001, …)");
    assert_eq!(difference.first, Action::ALLOW);
    assert_eq!(difference.second, Action::errno(1));
}

#[test]
fn calls_without_a_name_and_other_abis_are_compared_too() {
    let closed = json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_X86_64"]});
    let mut open = closed.clone();
    open["defaultAction"] = "SCMP_ACT_ALLOW".into();
    let said = found(&open, &closed);
    assert_eq!(said.len(), 386);
    assert_eq!(said[385].witness.to_string(), "call 472(…)");
    let mut foreign = closed.clone();
    foreign["architectures"] = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
    foreign["syscalls"] = json!([{"names": ["socketcall"], "action": "SCMP_ACT_ALLOW"}]);
    let said = found(&closed, &foreign);
    let calls: Vec<String> = said.iter().map(|it| it.witness.to_string()).collect();
    assert_eq!(calls, ["socketcall(…)", "any other call(…)"]);
    assert_eq!(said[0].direction, Direction::SecondPermits);
    assert_eq!(said[0].first, Action::KILL_THREAD);
    assert_eq!(said[1].direction, Direction::OtherAnswer);
}
