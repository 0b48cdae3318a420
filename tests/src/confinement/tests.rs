//! Tests of the comparison: each promise is broken once.

use super::*;

const STATUS: &str = "Name:\tsleep\nUid:\t1000\t1000\t1000\t1000\nCapInh:\t0000000000000000\n\
    CapPrm:\t0000000000000000\nCapEff:\t0000000000000000\nCapBnd:\t0000000000000000\n\
    CapAmb:\t0000000000000000\nNoNewPrivs:\t1\nSeccomp:\t2\n";
const LIMITS: &str = "Limit                     Soft Limit           Hard Limit           Units\n\
    Max core file size        0                    0                    bytes\n\
    Max open files            1024                 1048576              files\n\
    Max realtime priority     0                    0\n";
const MOUNTS: &str = "1 0 0:1 / / ro,relatime - overlay overlay rw\n\
    2 1 0:2 / /proc rw,nosuid,nodev,noexec - proc proc rw\n\
    3 1 0:3 / /dev rw,nosuid,noexec - tmpfs tmpfs rw,size=65536k\n\
    4 1 0:4 / /sys ro,nosuid,nodev,noexec - sysfs sysfs rw\n\
    5 1 0:5 / /tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=65536k\n\
    6 1 0:6 / /var/tmp rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=65536k\n\
    7 1 0:7 / /run rw,nosuid,nodev,noexec - tmpfs tmpfs rw,size=16384k\n\
    8 2 0:2 /sys /proc/sys ro,nosuid,nodev,noexec - proc proc rw\n\
    9 4 0:9 / /sys/firmware ro,nosuid,nodev - tmpfs tmpfs ro\n";
const PRESENT: [&str; 2] = ["proc/sys", "sys/firmware"];

/// What a process under `restricted` has, edited.
fn held(edit: impl Fn(&str) -> String) -> (tempfile::TempDir, Held) {
    let root = tempfile::tempdir().unwrap();
    for path in PRESENT {
        fs::create_dir_all(root.path().join(path)).unwrap();
    }
    let held = Held {
        status: edit(STATUS),
        limits: edit(LIMITS),
        oom_score_adj: 0,
        mounts: Mount::table(&edit(MOUNTS)).unwrap(),
        shared_namespaces: vec!["user".to_owned(), "time".to_owned()],
        root: root.path().to_owned(),
    };
    (root, held)
}

fn differences(profile: &str, edit: impl Fn(&str) -> String) -> Vec<String> {
    let (_root, held) = held(edit);
    Promise::of(profile).unwrap().differences(&held)
}

#[test]
fn what_is_promised_is_found() {
    assert_eq!(differences("restricted", str::to_owned), [""; 0]);
}

#[test]
fn each_broken_promise_is_found() {
    for (from, to, difference) in [
        (
            "CapBnd:\t0000000000000000",
            "CapBnd:\t0000000000002000",
            "CapBnd is 0x2000, beyond 0x0",
        ),
        (
            "CapAmb:\t0000000000000000",
            "",
            "CapAmb is 0xffffffffffffffff, beyond 0x0",
        ),
        ("NoNewPrivs:\t1", "NoNewPrivs:\t0", "NoNewPrivs is not 1"),
        ("Seccomp:\t2", "Seccomp:\t0", "Seccomp is not 2"),
        ("1000\n", "0\n", "Uid is [1000, 1000, 1000, 0], below 1"),
        (
            "size        0  ",
            "size        7  ",
            "Max core file size is [7, 0], above 0",
        ),
        (
            "priority     0                    0",
            "priority     0   9",
            "Max realtime priority is [0, 9], above 0",
        ),
        ("/ / ro", "/ / rw", "/ lacks ro"),
        ("/ /sys ro", "/ /sys rw", "/sys lacks ro"),
        ("proc rw,nosuid", "proc rw", "/proc lacks nosuid"),
        ("- overlay", "shared:4 - overlay", "/ is shared"),
        ("size=16384k", "size=16385k", "/run lacks size=16384k"),
        (
            "/proc/sys ro",
            "/proc/sys rw",
            "/proc/sys can be written to",
        ),
        ("/sys/firmware ro", "/sys/firmware rw", ""),
        (
            "/sys/firmware ",
            "/sys/firmwarx ",
            "/sys/firmware can be seen",
        ),
    ] {
        let found = differences("restricted", |text| text.replacen(from, to, 1));
        if difference.is_empty() {
            // The file system itself is read-only.
            assert_eq!(found, [""; 0], "{from}");
        } else {
            assert!(found.iter().any(|it| it == difference), "{from}: {found:?}");
        }
    }
}

#[test]
fn a_temporary_directory_that_the_caller_brings_has_its_own_size() {
    let edit = |text: &str| text.replace("size=16384k", "size=65536k");
    let (_root, held) = held(edit);
    let promise = Promise::of("restricted").unwrap();
    assert_eq!(promise.differences(&held), ["/run lacks size=16384k"]);
    assert_eq!(promise.brought("/run").differences(&held), [""; 0]);
}

#[test]
fn the_profile_decides() {
    let chown = |text: &str| text.replace("CapBnd:\t0000000000000000", "CapBnd:\t0000000000000001");
    let found = differences("baseline", |text| {
        chown(text).replace("NoNewPrivs:\t1", "NoNewPrivs:\t0")
    });
    assert_eq!(found, [""; 0]);
    let without = |text: &str| {
        text.replace(
            "/var/tmp rw,nosuid,nodev,noexec",
            "/var/tmp rw,nosuid,nodev",
        )
    };
    let found = differences("strict", without).join("; ");
    assert!(
        found.contains("Uid is [1000, 1000, 1000, 1000], below 65536"),
        "{found}"
    );
    assert!(
        found.contains("the user namespace is the host's"),
        "{found}"
    );
    assert!(found.contains("/var/tmp lacks noexec"), "{found}");
}
