//! What `portcullis-seccomp` says a section does, beside what compilers and the kernel make of it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_seccomp::{
    Abi, Action, Answers, CallData, Circumstances, Instruction, Section, Verdict, intersect, number,
};
use portcullis_tests::run;
use serde_json::{Value, json};

/// Numbers at which comparisons of 32 or 64 bits change.
const NUMBERS: [u64; 10] = [
    0,
    1,
    2,
    3,
    0xffff_ffff,
    0x1_0000_0000,
    0x1_0000_0001,
    0x1_0000_0003,
    u64::MAX - 1,
    u64::MAX,
];

/// Calls without meaning for a start of a container, each for a random set of rules.
const CALLS: [&str; 12] = [
    "socket",
    "personality",
    "keyctl",
    "quotactl",
    "acct",
    "swapon",
    "mremap",
    "ptrace",
    "kcmp",
    "semop",
    "msgget",
    "getitimer",
];

/// Random numbers that are the same each time (xorshift64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }

    fn number(&mut self) -> u64 {
        NUMBERS[self.roll(NUMBERS.len())]
    }

    /// A rule that permits `call`, with each argument at most once.
    fn rule(&mut self, call: &str, operators: &[&str]) -> Value {
        let args: Vec<Value> = (0..3)
            .filter(|_| self.roll(2) == 0)
            .collect::<Vec<u64>>()
            .into_iter()
            .map(|index| {
                let operator = operators[self.roll(operators.len())];
                json!({
                    "index": index, "value": self.number(), "valueTwo": self.number(),
                    "op": format!("SCMP_CMP_{operator}"),
                })
            })
            .collect();
        json!({"names": [call], "action": "SCMP_ACT_ALLOW", "args": args})
    }

    /// A section with up to three rules for each call.
    fn section(&mut self, operators: &[&str]) -> Value {
        let mut entries = Vec::new();
        for call in CALLS {
            for _ in 0..=self.roll(3) {
                entries.push(self.rule(call, operators));
            }
        }
        list(&json!(entries))
    }

    fn arguments(&mut self) -> [u64; 6] {
        [0, 1, 2, 3, 4, 5].map(|_| match self.roll(3) {
            0 => self.number().wrapping_add(1),
            _ => self.number(),
        })
    }
}

fn native() -> Abi {
    Abi::from_machine(std::env::consts::ARCH).unwrap()
}

fn audit_arch() -> u32 {
    match native() {
        Abi::X86_64 => 0xc000_003e,
        _ => 0xc000_00b7,
    }
}

fn list(entries: &Value) -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "architectures": [native().oci()], "syscalls": entries,
    })
}

fn read(section: &Value) -> Section {
    let circumstances = Circumstances {
        native: native(),
        capabilities: [].into(),
    };
    Section::read(section, &circumstances).unwrap()
}

fn answers(section: &Value, call: &str) -> Answers {
    Answers::new(&read(section), native(), native(), call).unwrap()
}

fn filtered(program: &[Instruction], call: &str, arguments: [u64; 6]) -> Action {
    let data = CallData {
        number: number(native(), call).unwrap(),
        arch: audit_arch(),
        arguments,
    };
    Action::from_return_value(portcullis_seccomp::run(program, &data).unwrap())
}

/// Instructions as the kernel keeps them on this kind of machine, little-endian.
fn instructions(bytes: &[u8]) -> Vec<Instruction> {
    let (instructions, rest) = bytes.as_chunks::<8>();
    assert_eq!(rest, [0_u8; 0], "half an instruction");
    let read = |[low, high, jt, jf, k @ ..]: &[u8; 8]| Instruction {
        code: u16::from_le_bytes([*low, *high]),
        jt: *jt,
        jf: *jf,
        k: u32::from_le_bytes(*k),
    };
    instructions.iter().map(read).collect()
}

/// The section as seccompiler compiles it.
fn by_seccompiler(section: &Value) -> Vec<Instruction> {
    use seccompiler::{
        BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let mut rules = std::collections::BTreeMap::<i64, Vec<SeccompRule>>::new();
    for entry in section["syscalls"].as_array().unwrap() {
        let call = number(native(), entry["names"][0].as_str().unwrap()).unwrap();
        let conditions: Vec<SeccompCondition> = entry["args"]
            .as_array()
            .unwrap()
            .iter()
            .map(|arg| {
                let (value, second) = (&arg["value"], &arg["valueTwo"]);
                let (value, second) = (value.as_u64().unwrap(), second.as_u64().unwrap());
                let (operator, value) = match arg["op"].as_str().unwrap() {
                    "SCMP_CMP_EQ" => (SeccompCmpOp::Eq, value),
                    "SCMP_CMP_NE" => (SeccompCmpOp::Ne, value),
                    "SCMP_CMP_LT" => (SeccompCmpOp::Lt, value),
                    "SCMP_CMP_LE" => (SeccompCmpOp::Le, value),
                    "SCMP_CMP_GT" => (SeccompCmpOp::Gt, value),
                    "SCMP_CMP_GE" => (SeccompCmpOp::Ge, value),
                    "SCMP_CMP_MASKED_EQ" => (SeccompCmpOp::MaskedEq(value), second & value),
                    other => panic!("{other}"),
                };
                let index = u8::try_from(arg["index"].as_u64().unwrap()).unwrap();
                SeccompCondition::new(index, SeccompCmpArgLen::Qword, operator, value).unwrap()
            })
            .collect();
        let call = rules.entry(call.into()).or_default();
        if !conditions.is_empty() {
            call.push(SeccompRule::new(conditions).unwrap());
        }
    }
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let denied = SeccompAction::Errno(1);
    let filter = SeccompFilter::new(rules, denied, SeccompAction::Allow, arch).unwrap();
    let program: BpfProgram = filter.try_into().unwrap();
    program
        .iter()
        .map(|it| Instruction {
            code: it.code,
            jt: it.jt,
            jf: it.jf,
            k: it.k,
        })
        .collect()
}

#[test]
fn seccompiler_makes_the_same_of_one_rule_with_any_comparison() {
    let operators = ["EQ", "NE", "LT", "LE", "GT", "GE", "MASKED_EQ"];
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..200 {
        let entries: Vec<Value> = CALLS
            .iter()
            .map(|call| dice.rule(call, &operators))
            .collect();
        let section = list(&json!(entries));
        let program = by_seccompiler(&section);
        for call in CALLS {
            let answers = answers(&section, call);
            for _ in 0..20 {
                let arguments = dice.arguments();
                let found = filtered(&program, call, arguments);
                assert_eq!(
                    found,
                    answers.to(&arguments),
                    "{call}{arguments:?} {section}"
                );
            }
        }
    }
}

/// The runtimes, each as words of a command; why crun's are so many: see `hardened_bundle.rs`.
const RUNC: &[&str] = &["runc"];
const CRUN: &[&str] = &[
    "unshare",
    "-m",
    "sh",
    "-c",
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec crun \"$@\"",
    "crun",
];

/// A container that is made and, maybe, run.
struct Container {
    scratch: tempfile::TempDir,
    runtime: &'static [&'static str],
}

impl Container {
    /// With `section`, and a program that is `script` for perl.
    fn new(runtime: &'static [&'static str], section: &Value, script: &str) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = scratch.path().join("rootfs");
        for file in perl() {
            let place = root.join(file.strip_prefix("/").unwrap());
            fs::create_dir_all(place.parent().unwrap()).unwrap();
            fs::copy(&file, &place).unwrap();
        }
        for directory in ["proc", "dev", "sys"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        let namespaces = ["pid", "network", "ipc", "uts", "mount"].map(|it| json!({"type": it}));
        let container = Self { scratch, runtime };
        let config = json!({
            "ociVersion": "1.0.2",
            "process": {
                "args": ["/usr/bin/perl", "-e", script], "cwd": "/", "env": [],
                "user": {"uid": 0, "gid": 0}, "noNewPrivileges": true,
            },
            "root": {"path": "rootfs", "readonly": true},
            "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
            "linux": {
                "namespaces": namespaces, "seccomp": section,
                "cgroupsPath": format!("/portcullis-{}", container.id()),
            },
        });
        let place = container.scratch.path().join("config.json");
        fs::write(place, config.to_string()).unwrap();
        container
    }

    fn id(&self) -> String {
        let name = self.scratch.path().file_name().unwrap().to_str().unwrap();
        format!("seccomp{}", name.replace('.', "-"))
    }

    fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (program, rest) = self.runtime.split_first().unwrap();
        let mut command = Command::new(program);
        command.args(rest).arg("--root").arg(self.state());
        command.args(arguments).current_dir(self.scratch.path());
        command
    }

    fn run(&self) -> String {
        let ran = run::to_end(&mut self.command(&["run", &self.id()]));
        ran.unwrap().success().unwrap()
    }

    /// What libseccomp made of the section: crun keeps it beside the container's state.
    fn filter(&self) -> Vec<Instruction> {
        let id = self.id();
        let mut create = self.command(&["create", &id]);
        // A container keeps the descriptors it was given.
        create.stdin(std::process::Stdio::null());
        create.stdout(std::process::Stdio::null());
        create.stderr(std::process::Stdio::null());
        assert!(create.status().unwrap().success());
        let filter = fs::read(self.state().join(&id).join("seccomp.bpf")).unwrap();
        instructions(&filter)
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let id = self.id();
        if self.state().join(&id).exists() {
            let deleted = run::to_end(&mut self.command(&["delete", "--force", &id]));
            if let Err(failure) = deleted {
                eprintln!("container {id} stays: {failure}");
            }
        }
    }
}

/// perl and its libraries; part of every Debian.
fn perl() -> Vec<PathBuf> {
    let listed = run::to_end(Command::new("ldd").arg("/usr/bin/perl"));
    let listed = listed.unwrap().success().unwrap();
    let libraries = listed
        .split_whitespace()
        .filter(|word| word.starts_with('/'));
    libraries
        .chain(["/usr/bin/perl"])
        .map(|file| Path::new(file).to_path_buf())
        .collect()
}

/// Our own list for this processor.
fn our_list() -> Value {
    let name = format!("../config/seccomp/{}.json", std::env::consts::ARCH);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// Rules that read otherwise than they are compiled, each with an errno of its own.
fn misleading() -> Value {
    let deny = |call: &str, errno: u64, args: Value| json!({"names": [call], "action": "SCMP_ACT_ERRNO", "errnoRet": errno, "args": args});
    json!({
        "defaultAction": "SCMP_ACT_ALLOW", "architectures": [native().oci()],
        "syscalls": [
            deny("personality", 71, json!([
                {"index": 0, "value": 5, "op": "SCMP_CMP_GE"},
                {"index": 0, "value": 9, "op": "SCMP_CMP_LE"},
            ])),
            {"names": ["keyctl"], "action": "SCMP_ACT_LOG"},
            deny("keyctl", 72, json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}])),
            deny("quotactl", 73, json!([])),
            deny("quotactl", 74, json!([])),
            deny("semop", 75, json!([
                {"index": 0, "value": 1, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
            ])),
            deny("msgget", 76, json!([
                {"index": 0, "value": 0, "valueTwo": 3, "op": "SCMP_CMP_MASKED_EQ"},
            ])),
            deny("kcmp", 77, json!([{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}])),
            deny("no_such_call", 77, json!([])),
        ],
    })
}

mod needs_root {
    use super::*;

    #[test]
    fn libseccomp_makes_the_same_of_several_rules() {
        portcullis_tests::needs!(Root, Crun);
        let mut dice = Dice(0x2545_f491_4f6c_dd1d);
        for _ in 0..12 {
            let section = dice.section(&["EQ", "MASKED_EQ"]);
            let program = Container::new(CRUN, &section, "").filter();
            for call in CALLS {
                let answers = answers(&section, call);
                for _ in 0..100 {
                    let arguments = dice.arguments();
                    let found = filtered(&program, call, arguments);
                    assert_eq!(
                        found,
                        answers.to(&arguments),
                        "{call}{arguments:?} {section}"
                    );
                }
            }
        }
    }

    #[test]
    fn libseccomp_makes_the_stricter_answer_of_an_intersection() {
        portcullis_tests::needs!(Root, Crun);
        let operators = ["EQ", "MASKED_EQ", "NE", "GE", "LT"];
        let mut dice = Dice(0x0123_4567_89ab_cdef);
        for _ in 0..12 {
            let (first, second) = (dice.section(&operators), dice.section(&operators));
            let met = intersect(&read(&first), &read(&second), native(), true).unwrap();
            let denied: Vec<String> = met.notes.iter().map(ToString::to_string).collect();
            let program = Container::new(CRUN, &met.section, "").filter();
            for call in CALLS {
                let [one, other] = [&first, &second].map(|it| answers(it, call));
                let tightened = denied.iter().any(|note| note.starts_with(call));
                for _ in 0..100 {
                    let arguments = dice.arguments();
                    let wanted = one.to(&arguments).stricter(other.to(&arguments));
                    let found = filtered(&program, call, arguments);
                    if tightened {
                        assert!(found.verdict() <= wanted.verdict(), "{call}{arguments:?}");
                    } else {
                        assert_eq!(found, wanted, "{call}{arguments:?} {}", met.section);
                    }
                }
            }
        }
    }

    #[test]
    fn the_kernel_answers_as_our_own_list_says() {
        portcullis_tests::needs!(Root, Runc, Crun);
        let list = our_list();
        let mut asked = Vec::new();
        for family in [1, 2, 10, 16, 17, 38, 40] {
            for upper in [0, 1 << 32] {
                for protocol in [0, 1, 9] {
                    asked.push(("socket", [family | upper, 99, protocol, 0, 0, 0]));
                }
            }
        }
        for name in [
            "clone3",
            "io_uring_setup",
            "ptrace",
            "mount",
            "bpf",
            "unshare",
            "getppid",
        ] {
            asked.push((name, [u64::MAX, u64::MAX, u64::MAX, u64::MAX, 0, 0]));
        }
        for persona in [0xffff_ffff, 0x1234, 0x1_ffff_ffff] {
            asked.push(("personality", [persona, 0, 0, 0, 0, 0]));
        }
        for runtime in [RUNC, CRUN] {
            for ((name, arguments), errno) in asked.iter().zip(errnos(runtime, &list, &asked)) {
                let answer = answers(&list, name).to(arguments);
                // What passes fails for its arguments, never with the errno of a filter.
                if answer == Action::ALLOW {
                    assert!(![1, 38].contains(&errno), "{name}{arguments:x?}: {errno}");
                } else {
                    assert_eq!(Action::errno(errno), answer, "{name}{arguments:x?}");
                }
            }
        }
    }

    #[test]
    fn the_kernel_answers_to_misleading_rules_as_the_model_does() {
        portcullis_tests::needs!(Root, Runc, Crun);
        let section = misleading();
        let mut asked = Vec::new();
        for name in [
            "personality",
            "keyctl",
            "quotactl",
            "semop",
            "msgget",
            "kcmp",
        ] {
            for first in [0, 1, 2, 7, 1 << 32 | 1] {
                asked.push((name, [first, 99, 0, 0, 0, 0]));
            }
        }
        for runtime in [RUNC, CRUN] {
            for ((name, arguments), errno) in asked.iter().zip(errnos(runtime, &section, &asked)) {
                let answer = answers(&section, name).to(arguments);
                if answer.verdict() == Verdict::Permitted {
                    assert!(!(71..=77).contains(&errno), "{name}{arguments:x?}: {errno}");
                } else {
                    assert_eq!(Action::errno(errno), answer, "{name}{arguments:x?}");
                }
            }
        }
    }

    /// What the kernel answers to calls from a container with `section`.
    fn errnos(
        runtime: &'static [&'static str],
        section: &Value,
        asked: &[(&str, [u64; 6])],
    ) -> Vec<u16> {
        let lines: Vec<String> = asked
            .iter()
            .map(|(name, arguments)| {
                let number = number(native(), name).unwrap();
                let [a, b, c, d, e, f] = arguments;
                format!(
                    "$! = 0; syscall({number}, {a}, {b}, {c}, {d}, {e}, {f}); print $! + 0, \"\\n\";"
                )
            })
            .collect();
        let seen = Container::new(runtime, section, &lines.concat()).run();
        let seen: Vec<u16> = seen.lines().map(|it| it.parse().unwrap()).collect();
        assert_eq!(seen.len(), asked.len());
        seen
    }
}
