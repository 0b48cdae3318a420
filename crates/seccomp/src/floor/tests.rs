use super::*;
use crate::abi::Abi;
use crate::bpf::{CallData, run};
use crate::convention::{X32, X86_64};
use crate::syscall;

const I386: u32 = 0x4000_0003;

fn floor(calls: &[&str], families: &[&str]) -> Floor {
    let mut floor = Floor::default();
    for name in calls {
        floor.deny_call(name).unwrap();
    }
    for name in families {
        floor.deny_family(name).unwrap();
    }
    floor
}

fn answer(program: &[Instruction], arch: u32, number: u32, first: u64) -> Action {
    let call = CallData {
        arch,
        number,
        arguments: [first, 0, 0, 0, 0, 0],
    };
    Action::from_return_value(run(program, &call).unwrap())
}

#[test]
#[cfg(target_arch = "x86_64")]
fn what_runtimes_need_exists_and_cannot_be_denied() {
    assert!(NEEDED.is_sorted());
    for name in NEEDED {
        assert_eq!(
            Floor::default().deny_call(name),
            Err(FloorError::NeededCall),
            "{name}"
        );
    }
}

#[test]
fn names_that_cannot_be_denied_are_refused() {
    let mut floor = Floor::default();
    assert_eq!(floor.deny_call("kexec_laod"), Err(FloorError::UnknownCall));
    assert_eq!(floor.deny_call("mount"), Err(FloorError::NeededCall));
    for family in ["AF_UNIX", "AF_INET", "AF_NETLINK", "alg", ""] {
        assert_eq!(floor.deny_family(family), Err(FloorError::UnknownFamily));
    }
    assert!(floor.is_empty());
}

#[test]
#[cfg(target_arch = "x86_64")]
fn calls_and_families_are_denied_in_every_abi() {
    let program = floor(&["kexec_load", "io_uring_setup"], &["AF_ALG", "AF_VSOCK"]).program(false);
    let enosys = Action::errno(38);
    let no_family = Action::errno(97);
    let native = |number, first| answer(&program, X86_64, number, first);
    let i386 = |number, first| answer(&program, I386, number, first);
    assert_eq!(native(246, 0), enosys, "kexec_load");
    assert_eq!(native(425, 0), enosys, "io_uring_setup");
    assert_eq!(native(425 | X32, 0), enosys, "x32");
    assert_eq!(native(X32, 0), enosys, "read of x32");
    assert_eq!(native(0, 0), Action::ALLOW, "read");
    for call in [41, 53] {
        assert_eq!(native(call, 38), no_family);
        assert_eq!(
            native(call, 40 | 0xffff_ffff_0000_0000),
            no_family,
            "the kernel reads 32 bits"
        );
        assert_eq!(native(call, 1), Action::ALLOW);
    }
    assert_eq!(i386(283, 0), enosys, "kexec_load");
    assert_eq!(i386(246, 0), Action::ALLOW, "io_destroy, not kexec_load");
    assert_eq!(i386(359, 38), no_family, "socket");
    assert_eq!(i386(102, 1), enosys, "socketcall, socket");
    assert_eq!(i386(102, 8), enosys, "socketcall, socketpair");
    assert_eq!(i386(102, 3), Action::ALLOW, "socketcall, connect");
    assert_eq!(
        answer(&program, 0xc000_00b7, 0, 0),
        Action::KILL_PROCESS,
        "another processor"
    );
    let open = floor(&[], &["AF_ALG"]).program(true);
    assert_eq!(answer(&open, I386, 102, 1), Action::ALLOW);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn every_call_of_an_empty_list_passes_and_of_a_full_one_none_too_many() {
    let all: Vec<&str> = syscall::names(Abi::X86_64)
        .into_iter()
        .filter(|name| !NEEDED.contains(name))
        .collect();
    let program = floor(&all, &[]).program(true);
    assert!(program.len() < 4096, "the kernel takes no more");
    for name in syscall::names(Abi::X86_64) {
        let number = syscall::number(Abi::X86_64, name).unwrap();
        let expected = if NEEDED.contains(&name) {
            Action::ALLOW
        } else {
            Action::errno(38)
        };
        assert_eq!(answer(&program, X86_64, number, 0), expected, "{name}");
    }
}
