#![cfg(target_arch = "x86_64")]

use serde_json::json;

use super::*;

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const KILL: u32 = 0;

fn section() -> Map<String, Value> {
    let masked = |index: u64, value: u64| json!({"index": index, "op": "SCMP_CMP_MASKED_EQ", "value": 0xffff_ffff_u64, "valueTwo": value});
    let section = json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [
            {"names": ["getpid", "no_such_call"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [masked(0, 1)]},
            {"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [masked(0, 16), masked(2, 0)]},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38},
        ],
    });
    section.as_object().unwrap().clone()
}

/// What the section says, as a program: answers to another convention, to x32, to `socket` of
/// family 16, and to everything else can be chosen.
fn program(foreign: u32, x32: u32, netlink: u32, default: u32) -> Vec<Instruction> {
    vec![
        Instruction::load(4),
        Instruction::if_equal(convention::X86_64, 1, 0),
        Instruction::answer(foreign),
        Instruction::load(0),
        Instruction::if_at_least(X32, 0, 1),
        Instruction::answer(x32),
        Instruction::if_equal(39, 0, 1),
        Instruction::answer(ALLOW),
        Instruction::if_equal(41, 0, 7),
        Instruction::load(16),
        Instruction::if_equal(1, 0, 1),
        Instruction::answer(ALLOW),
        Instruction::if_equal(16, 0, 3),
        Instruction::load(32),
        Instruction::if_equal(0, 0, 1),
        Instruction::answer(netlink),
        Instruction::answer(default),
    ]
}

fn found(program: &[Instruction]) -> Result<(), String> {
    verify_loaded(&section(), program).map_err(|weaker| weaker.to_string())
}

#[test]
fn a_filter_that_says_what_its_section_says_is_believed() {
    assert_eq!(found(&program(KILL, EPERM, ALLOW, EPERM)), Ok(()));
    assert_eq!(
        found(&program(KILL, KILL, EPERM, KILL)),
        Ok(()),
        "more is no fault"
    );
}

#[test]
fn a_weaker_filter_is_found_with_an_example() {
    let passes = |program: &[Instruction]| found(program).unwrap_err();
    let all = passes(&program(KILL, EPERM, ALLOW, ALLOW));
    assert_eq!(all, "read(0x0, 0x0, 0x0, …) of SCMP_ARCH_X86_64 passes");
    let foreign = passes(&program(ALLOW, EPERM, ALLOW, EPERM));
    assert!(foreign.ends_with("of SCMP_ARCH_X86 passes"), "{foreign}");
    let x32 = passes(&program(KILL, ALLOW, ALLOW, EPERM));
    assert_eq!(
        x32,
        "call 1073741824(0x0, 0x0, 0x0, …) of SCMP_ARCH_X32 passes"
    );

    let mut protocols = program(KILL, EPERM, ALLOW, EPERM);
    protocols[14] = Instruction::if_equal(0, 0, 0);
    let protocols = passes(&protocols);
    assert!(protocols.starts_with("socket(0x10, 0x0, 0x"), "{protocols}");
    let mut families = program(KILL, EPERM, ALLOW, EPERM);
    families[10] = Instruction::if_equal(1, 0, 0);
    assert!(passes(&families).starts_with("socket("));
}

#[test]
fn what_only_a_tracer_would_decide_is_not_denied() {
    let (trace, log) = (0x7ff0_0000, 0x7ffc_0000);
    for answer in [trace, log] {
        found(&program(KILL, EPERM, ALLOW, answer)).unwrap_err();
    }
}

#[test]
fn what_cannot_be_followed_is_not_believed() {
    for broken in [
        vec![],
        vec![Instruction::load(0)],
        vec![Instruction::load(2)],
        vec![Instruction::leap(9)],
    ] {
        assert_eq!(
            found(&broken),
            Err("a program that is no filter".to_owned())
        );
    }
    let program = program(KILL, EPERM, ALLOW, EPERM);
    for (key, value) in [
        ("defaultAction", json!("SCMP_ACT_ALLOW")),
        (
            "syscalls",
            json!([{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]),
        ),
        ("syscalls", json!("none")),
    ] {
        let mut section = section();
        section.insert(key.to_owned(), value);
        assert_eq!(verify_loaded(&section, &program), Err(Weaker::Section));
    }
}
