use proptest::prelude::*;

use super::*;
use crate::by_point;
use crate::difference::differences;

const NATIVE: Abi = Abi::X86_64;

fn read(section: &Value) -> Section {
    let circumstances = Circumstances {
        native: NATIVE,
        capabilities: BTreeSet::new(),
    };
    Section::read(section, &circumstances).unwrap()
}

fn of(first: &Value, second: &Value) -> Result<Intersection, IntersectionError> {
    intersect(&read(first), &read(second), NATIVE, false)
}

fn exact(first: &Value, second: &Value) -> Value {
    of(first, second).unwrap().section
}

fn strictest(sections: [&Value; 2], arguments: [u64; 6]) -> Action {
    let [first, second] = sections.map(|section| {
        let (name, errno) = by_point::answer(section, arguments);
        Action::from_oci(&name, Some(errno)).unwrap()
    });
    first.stricter(second)
}

fn entries(entries: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"], "syscalls": entries,
    })
}

fn socket(args: &Value) -> Value {
    json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": args})
}

fn arg(index: u64, op: &str, value: u64) -> Value {
    json!({"index": index, "value": value, "op": format!("SCMP_CMP_{op}")})
}

fn masked(index: u64, mask: u64, value: u64) -> Value {
    json!({"index": index, "value": mask, "valueTwo": value, "op": "SCMP_CMP_MASKED_EQ"})
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn it_answers_with_the_stricter_of_both(
        first in by_point::section(),
        second in by_point::section(),
    ) {
        match of(&first, &second) {
            Ok(met) => {
                prop_assert_eq!(&met.notes, &vec![]);
                let section = with_args(met.section);
                for arguments in by_point::points(&[&first, &second]) {
                    let (name, errno) = by_point::answer(&section, arguments);
                    let answer = Action::from_oci(&name, Some(errno)).unwrap();
                    let wanted = strictest([&first, &second], arguments);
                    prop_assert_eq!(answer, wanted, "{:?}", arguments);
                }
            }
            Err(IntersectionError::Inexact(_)) => {
                let met = intersect(&read(&first), &read(&second), NATIVE, true).unwrap();
                let section = with_args(met.section);
                for arguments in by_point::points(&[&first, &second]) {
                    let (name, errno) = by_point::answer(&section, arguments);
                    let answer = Action::from_oci(&name, Some(errno)).unwrap().verdict();
                    let wanted = strictest([&first, &second], arguments).verdict();
                    prop_assert!(answer <= wanted, "{:?}", arguments);
                }
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn with_itself_it_is_the_same(section in by_point::section()) {
        if let Ok(met) = of(&section, &section) {
            let same = differences(&read(&section), &read(&met.section), NATIVE).unwrap();
            prop_assert_eq!(same, vec![]);
        }
    }
}

/// The form that the other reader expects: `args` everywhere.
fn with_args(mut section: Value) -> Value {
    for entry in section["syscalls"].as_array_mut().unwrap() {
        if entry.get("args").is_none() {
            entry["args"] = json!([]);
        }
    }
    // It answers for 'socket' only.
    section["syscalls"].as_array_mut().unwrap().retain(|entry| {
        entry["names"]
            .as_array()
            .unwrap()
            .contains(&json!("socket"))
    });
    section
}

#[test]
fn comparisons_of_the_sections_are_taken_where_they_suffice() {
    let first = entries(&json!([
        socket(&json!([masked(0, 0xffff_ffff, 1)])),
        socket(&json!([masked(0, 0xffff_ffff, 2)])),
    ]));
    let second = entries(&json!([
        socket(&json!([masked(0, 0xffff_ffff, 2), arg(1, "LE", 9)])),
        socket(&json!([arg(0, "EQ", 40)])),
    ]));
    let met = exact(&first, &second);
    let expected = json!([socket(&json!([masked(0, 0xffff_ffff, 2), arg(1, "LE", 9)]))]);
    assert_eq!(met["syscalls"], expected);
}

#[test]
fn a_set_that_no_comparison_has_is_written_with_masks() {
    let first = entries(&json!([socket(&json!([arg(0, "GE", 4)]))]));
    let second = entries(&json!([socket(&json!([arg(0, "LT", 8)]))]));
    let met = exact(&first, &second);
    let expected = json!([socket(&json!([masked(0, !3, 4)]))]);
    assert_eq!(met["syscalls"], expected);
}

#[test]
fn what_needs_too_many_rules_is_refused_by_name_or_tightened() {
    let range = |index| {
        [
            arg(index, "GT", 0x1111_1111_1111_1111),
            arg(index, "LT", u64::MAX - 9),
        ]
    };
    let [low, high] = range(0);
    let [other_low, other_high] = range(1);
    let first = entries(&json!([socket(&json!([low, other_low]))]));
    let second = entries(&json!([socket(&json!([high, other_high]))]));
    let refused = of(&first, &second).unwrap_err().to_string();
    assert_eq!(
        refused,
        "cannot write the intersection as OCI rules: socket(0x1111111111111112, \
         0x1111111111111112, …) and others of this call would need more than 128 rules"
    );
    let met = intersect(&read(&first), &read(&second), NATIVE, true).unwrap();
    assert_eq!(met.section["syscalls"], json!([]));
    assert_eq!(met.notes[0].to_json()["note"], "call-denied");
}

#[test]
fn what_is_tightened_under_a_default_that_permits_is_denied() {
    let deny = |index, op, value| {
        let mut section = entries(&json!([{
            "names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13,
            "args": [arg(index, op, value), arg(index + 1, op, value)],
        }]));
        section["defaultAction"] = "SCMP_ACT_ALLOW".into();
        section
    };
    let first = deny(0, "GT", 0x1111_1111_1111_1111);
    let second = deny(1, "LT", u64::MAX - 9);
    let refused = of(&first, &second).unwrap_err();
    assert!(
        matches!(refused, IntersectionError::Inexact(_)),
        "{refused}"
    );
    let met = intersect(&read(&first), &read(&second), NATIVE, true).unwrap();
    assert_eq!(met.section["defaultAction"], "SCMP_ACT_ALLOW");
    let expected = json!([{"names": ["socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}]);
    assert_eq!(met.section["syscalls"], expected);
}

#[test]
fn architectures_are_those_of_both_for_which_the_rules_hold() {
    let on = |entry: Value, architectures: &[&str]| {
        let mut section = entries(&json!([entry]));
        section["architectures"] = json!(architectures);
        section
    };
    let all = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"];
    let low = socket(&json!([masked(0, 0xffff_ffff, 1)]));
    let met = exact(&on(low.clone(), &all), &on(low, &all[..2]));
    assert_eq!(
        met["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"])
    );
    // Under 64 bits these are two values, under 32 the same.
    let low = socket(&json!([arg(0, "EQ", 1)]));
    let wide = socket(&json!([arg(0, "EQ", 0x1_0000_0001)]));
    let met = intersect(&read(&on(low, &all)), &read(&on(wide, &all)), NATIVE, true).unwrap();
    assert_eq!(
        met.section["architectures"],
        json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X32"])
    );
    let [note] = met.notes.try_into().unwrap();
    assert_eq!(
        note.to_string(),
        "the rules for socket(1, …) cannot hold for x86, too"
    );
}

#[test]
fn the_flag_that_loosens_is_kept_only_if_both_have_it() {
    let flagged = |flags: Value| {
        let mut section = entries(&json!([]));
        section["flags"] = flags;
        section
    };
    let log = "SECCOMP_FILTER_FLAG_LOG";
    for (first, second, expected) in [
        (json!(null), json!(null), json!(null)),
        (json!([]), json!([SPEC_ALLOW, log]), json!([log])),
        (json!(null), json!([SPEC_ALLOW]), json!([SPEC_ALLOW])),
    ] {
        let met = exact(&flagged(first), &flagged(second));
        assert_eq!(met["flags"], expected);
    }
}

#[test]
fn two_supervisors_cannot_be_one() {
    let asking = |path: &str| {
        let entry = json!({"names": ["mount"], "action": "SCMP_ACT_NOTIFY"});
        let mut section = entries(&json!([entry]));
        section["listenerPath"] = path.into();
        section
    };
    let refused = of(&asking("/run/a"), &asking("/run/b")).unwrap_err();
    assert_eq!(refused, IntersectionError::Supervisors);
    let met = exact(&asking("/run/a"), &asking("/run/a"));
    assert_eq!(met["listenerPath"], "/run/a");
    // Who denies does not ask.
    let met = exact(&asking("/run/a"), &entries(&json!([])));
    assert_eq!(met.get("listenerPath"), None);
}

#[test]
fn of_two_defaults_the_stricter_one_stays() {
    let mut open = entries(&json!([{"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"}]));
    open["defaultAction"] = "SCMP_ACT_ALLOW".into();
    let closed = entries(&json!([{"names": ["bpf", "read"], "action": "SCMP_ACT_ALLOW"}]));
    let met = exact(&open, &closed);
    assert_eq!(met["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(
        met["syscalls"],
        json!([
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["bpf"], "action": "SCMP_ACT_KILL_PROCESS"},
        ])
    );
}
