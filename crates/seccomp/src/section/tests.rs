use serde_json::json;

use super::*;

fn circumstances(native: Abi, capabilities: &[&str]) -> Circumstances {
    Circumstances {
        native,
        capabilities: capabilities.iter().map(|it| (*it).to_owned()).collect(),
    }
}

fn read(document: &Value) -> Result<Section, SectionError> {
    Section::read(document, &circumstances(Abi::X86_64, &[]))
}

/// In the form of moby's file, with what that file has of each kind.
fn profile() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [
            {"architecture": "SCMP_ARCH_X86_64",
             "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": ["SCMP_ARCH_ARM"]},
        ],
        "syscalls": [
            {"names": ["read", "write"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW",
             "includes": {"arches": ["amd64", "x32"]}},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW",
             "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
             "args": [{"index": 0, "value": 2_114_060_288_u64, "op": "SCMP_CMP_MASKED_EQ"}],
             "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390", "s390x"]}},
            {"names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
             "excludes": {"caps": ["CAP_SYS_ADMIN"]}, "comment": "glibc falls back", "args": null},
        ],
    })
}

fn names(section: &Section) -> Vec<&str> {
    let names = section.entries.iter().flat_map(|entry| &entry.names);
    names.map(String::as_str).collect()
}

#[test]
fn a_profile_is_resolved_for_a_processor_and_its_capabilities() {
    let plain = read(&profile()).unwrap();
    assert_eq!(
        names(&plain),
        ["read", "write", "ptrace", "arch_prctl", "clone", "clone3"]
    );
    assert_eq!(plain.abis.len(), 3);
    assert_eq!(plain.entries[3].pointer, "/syscalls/4");
    assert_eq!(plain.unknown_keys, [""; 0]);
    let admin = circumstances(Abi::AARCH64, &["CAP_SYS_ADMIN"]);
    let admin = Section::read(&profile(), &admin).unwrap();
    assert_eq!(names(&admin), ["read", "write", "ptrace", "mount"]);
    assert_eq!(admin.abis[0], Abi::AARCH64);
}

#[test]
fn a_configuration_has_its_section_within() {
    let section = json!({
        "defaultAction": "SCMP_ACT_ALLOW", "flags": [],
        "syscalls": [{"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}],
    });
    let config = json!({"ociVersion": "1.0.2", "linux": {"seccomp": section}});
    let section = read(&config).unwrap();
    assert_eq!(section.entries[0].pointer, "/linux/seccomp/syscalls/0");
    assert_eq!(section.flags, Some(BTreeSet::new()));
    let error = read(&json!({"ociVersion": "1.0.2", "linux": {}})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot read '/linux/seccomp': expected a seccomp section; without one every call is \
         permitted"
    );
}

#[test]
fn what_runtimes_refuse_is_refused_with_its_place() {
    let entry = |entry: Value| json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [entry]});
    let arg =
        |arg: Value| entry(json!({"names": ["socket"], "action": "SCMP_ACT_ALLOW", "args": [arg]}));
    for (document, place) in [
        (json!([]), "the document"),
        (json!({}), "'/defaultAction'"),
        (
            json!({"defaultAction": "SCMP_ACT_DENY"}),
            "'/defaultAction'",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": {}}),
            "'/syscalls'",
        ),
        (
            json!({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["x86_64"]}),
            "'/architectures/0'",
        ),
        (entry(json!({"names": ["read"]})), "'/syscalls/0/action'"),
        (
            entry(json!({"names": [""], "action": "SCMP_ACT_LOG"})),
            "'/syscalls/0/names/0'",
        ),
        (
            entry(json!({"names": ["read"], "action": "SCMP_ACT_ERRNO", "errnoRet": -1})),
            "'/syscalls/0/errnoRet'",
        ),
        (
            arg(json!({"index": 6, "value": 0, "op": "SCMP_CMP_EQ"})),
            "'/syscalls/0/args/0'",
        ),
        (
            arg(json!({"index": 0, "value": 0.5, "op": "SCMP_CMP_EQ"})),
            "'/syscalls/0/args/0'",
        ),
        (
            arg(json!({"index": 0, "value": 0, "op": "=="})),
            "'/syscalls/0/args/0'",
        ),
    ] {
        let error = read(&document).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("cannot read {place}: expected")),
            "{error}"
        );
    }
}

#[test]
fn a_profile_that_contradicts_itself_is_refused() {
    let mut both = profile();
    both["architectures"] = json!(["SCMP_ARCH_X86_64"]);
    assert_eq!(read(&both).unwrap_err().pointer, "/archMap");
    let mut odd = profile();
    odd["syscalls"][1]["includes"] = json!({"kernel": "4.8"});
    assert_eq!(
        read(&odd).unwrap_err().pointer,
        "/syscalls/1/includes/kernel"
    );
}
