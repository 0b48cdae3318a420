//! The floor of a node: what no container and no exec can do, whatever its profile.

use std::fs;
use std::path::Path;
use std::process::Command;

use portcullis_seccomp::{Abi, Action, CallData, Floor, Instruction, number};
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::shim_tasks::BUNDLES;
use portcullis_tests::world::{Shape, World};
use portcullis_tests::{containerd, in_world, needs, run};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};

/// Where containers find perl, which can make any system call.
const TOOLS: &str = "/srv/tools";
/// `sched_rr_get_interval(2)`, which every profile allows and no runtime needs, for process 0.
const NAME: &str = "sched_rr_get_interval";
const NUMBER: u32 = if cfg!(target_arch = "x86_64") {
    148
} else {
    127
};
/// The kernel's numbers of errors.
const ENOSYS: u32 = 38;
const EFAULT: u32 = 14;
const EAFNOSUPPORT: u32 = 97;

/// Puts perl and its libraries into one folder.
fn install_perl() -> Outcome {
    fs::create_dir_all(TOOLS).doing("make a folder")?;
    let listed = run::to_end(Command::new("ldd").arg("/usr/bin/perl"))?.success()?;
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    for file in libraries.chain(["/usr/bin/perl"]) {
        let name = Path::new(file).file_name().unwrap_or_default();
        let name = if name.to_string_lossy().starts_with("ld-linux") {
            "loader".as_ref()
        } else {
            name
        };
        fs::copy(file, Path::new(TOOLS).join(name)).doing(format!("copy '{file}'"))?;
    }
    Ok(())
}

/// A shell command that prints the error of the call.
fn call() -> String {
    // An address that cannot be written to: a kernel that has the call says so.
    let script = format!("syscall({NUMBER}, 0, 1); print $! + 0, qq(\\n);");
    format!("{TOOLS}/loader --library-path {TOOLS} {TOOLS}/perl -e '{script}'")
}

fn mount() -> String {
    format!("type=bind,src={TOOLS},dst={TOOLS},options=rbind:ro")
}

fn error(printed: &str) -> Outcome<u32> {
    printed
        .trim()
        .parse()
        .doing(format!("read '{}'", printed.trim()))
}

/// What a new container's own program finds.
fn in_init(node: &Node) -> Outcome<u32> {
    let ran = node.run("probe", &["--mount", &mount()], &["sh", "-c", &call()])?;
    error(&ran.success()?)
}

/// What a further process of container 'long' finds.
fn in_exec(node: &Node, exec_id: &str) -> Outcome<u32> {
    let call = call();
    let words = [
        "task",
        "exec",
        "--exec-id",
        exec_id,
        "long",
        "sh",
        "-c",
        &call,
    ];
    error(&node.containerd.run_ctr(&words)?.success()?)
}

/// How many filters the kernel holds for the init of container 'long'.
fn filters() -> Outcome<u32> {
    let path = format!("{BUNDLES}/{}/long/init.pid", containerd::NAMESPACE);
    let pid = fs::read_to_string(path).doing("read a pid")?;
    let status = fs::read_to_string(format!("/proc/{}/status", pid.trim()));
    let status = status.doing("look at a process")?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Seccomp_filters:"));
    let count = line.ok_or_else(|| Failure::new("no count of filters"))?;
    count.trim().parse().doing("read a count")
}

fn floor(node: &Node, calls: &str) -> Outcome {
    node.set("60-floor", &format!("[floor]\ndeny_syscalls = [{calls}]\n"))
}

fn denied_to_all(node: &Node, runtime: &str) -> Outcome {
    install_perl()?;
    node.set(
        "50-tools",
        &format!("[mounts]\nallow = [\"{TOOLS}\"]\n[runtime]\nbinary = \"{runtime}\"\n"),
    )?;
    for profile in ["baseline", "restricted"] {
        node.set(
            "55-profile",
            &format!("[profile]\ndefault = \"{profile}\"\n"),
        )?;
        assert_eq!(in_init(node)?, EFAULT, "{profile}");
        floor(node, &format!("\"{NAME}\""))?;
        assert_eq!(in_init(node)?, ENOSYS, "{profile}");
        node.unset("60-floor")?;
    }
    node.unset("55-profile")?;

    node.start("long", &["--mount", &mount()], &["sleep", "600"])?;
    assert_eq!(filters()?, 2, "the default floor and the profile's filter");
    assert_eq!(in_exec(node, "before")?, EFAULT);
    floor(node, &format!("\"{NAME}\""))?;
    assert_eq!(
        in_exec(node, "after")?,
        ENOSYS,
        "a running container's next exec"
    );
    node.remove("long")?;

    node.set(
        "60-floor",
        "[floor]\ndeny_syscalls = []\ndeny_socket_families = []\n",
    )?;
    node.start("long", &["--mount", &mount()], &["sleep", "600"])?;
    assert_eq!(filters()?, 1, "no floor");
    node.remove("long")?;
    Ok(())
}

fn mistakes_start_nothing(node: &Node) -> Outcome {
    for calls in ["\"kexec_laod\"", "\"mount\"", "7"] {
        floor(node, calls)?;
        let refused = node.refuses(&[])?;
        assert_eq!(refused.short(), "fault [config-malformed]", "{refused}");
        assert!(refused.line.contains("floor.deny_syscalls"), "{refused}");
    }
    node.unset("60-floor")?;
    node.starts()
}

fn audit_mode_lays_none(node: &Node) -> Outcome {
    install_perl()?;
    node.set("50-tools", "mode = \"audit\"\n")?;
    floor(node, &format!("\"{NAME}\""))?;
    assert_eq!(in_init(node)?, EFAULT);
    Ok(())
}

/// Denials as seccompiler compiles them; it has one answer for each filter.
fn by_seccompiler(rules: Vec<(i64, Vec<SeccompRule>)>, errno: u32) -> Vec<Instruction> {
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let (allow, deny) = (SeccompAction::Allow, SeccompAction::Errno(errno));
    let filter = SeccompFilter::new(rules.into_iter().collect(), allow, deny, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    let read = |it: &seccompiler::sock_filter| Instruction {
        code: it.code,
        jt: it.jt,
        jf: it.jf,
        k: it.k,
    };
    program.iter().map(read).collect()
}

#[test]
fn the_floor_answers_as_two_filters_of_seccompiler_do() {
    let native = Abi::from_machine(std::env::consts::ARCH).unwrap();
    let numbered = |name: &str| i64::from(number(native, name).unwrap());
    let (calls, families) = (
        ["kexec_load", "io_uring_setup"],
        [("AF_ALG", 38), ("AF_VSOCK", 40)],
    );
    let mut floor = Floor::default();
    for call in calls {
        floor.deny_call(call).unwrap();
    }
    for (family, _) in families {
        floor.deny_family(family).unwrap();
    }
    let plain = calls
        .iter()
        .map(|call| (numbered(call), Vec::new()))
        .collect();
    let rule = |(_, family): (&str, u64)| {
        let length = SeccompCmpArgLen::Dword;
        let condition = SeccompCondition::new(0, length, SeccompCmpOp::Eq, family).unwrap();
        SeccompRule::new(vec![condition]).unwrap()
    };
    let sockets =
        ["socket", "socketpair"].map(|call| (numbered(call), families.map(rule).to_vec()));
    let theirs = [
        by_seccompiler(plain, ENOSYS),
        by_seccompiler(sockets.to_vec(), EAFNOSUPPORT),
    ];
    let ours = floor.program(false);
    let arch = if native == Abi::X86_64 {
        0xc000_003e
    } else {
        0xc000_00b7
    };
    for number in 0..600 {
        for first in [0, 1, 38, 40, 41, 38 | 1 << 32, u64::MAX] {
            let data = CallData {
                number,
                arch,
                arguments: [first, 0, 0, 0, 0, 0],
            };
            let allow = Action::ALLOW.return_value();
            let expected = theirs
                .iter()
                .map(|it| portcullis_seccomp::run(it, &data).unwrap())
                .find(|it| *it != allow);
            assert_eq!(
                portcullis_seccomp::run(&ours, &data).unwrap(),
                expected.unwrap_or(allow),
                "{data:?}"
            );
        }
    }
}

mod needs_containerd {
    use super::*;

    fn on_a_node(world: &World, case: impl FnOnce(&Node) -> Outcome) -> Outcome {
        let node = Node::provision(world)?;
        case(&node)?;
        node.finish()
    }

    #[test]
    fn runc_is_started_on_the_floor() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, |node| denied_to_all(node, "runc")))
    }

    #[test]
    fn crun_is_started_on_the_floor() -> Outcome {
        needs!(Root, Busybox, Containerd, Crun, Cni, Swtpm, Programs);
        let shape = Shape { unified: false };
        in_world!(shape, |world| on_a_node(world, |node| denied_to_all(
            node, "crun"
        )))
    }

    #[test]
    fn a_mistake_in_the_floor_starts_nothing() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, mistakes_start_nothing))
    }

    #[test]
    fn audit_mode_changes_nothing() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| on_a_node(world, audit_mode_lays_none))
    }
}
