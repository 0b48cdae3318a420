//! Hardened configurations as runc and crun run them: what the process inside really has.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use portcullis_config::profile_from;
use portcullis_hardening::{
    Concessions, Hardened, MountSource, OciConfig, Profile, clamp_exec, harden,
};
use portcullis_host::{FactsPolicy, facts};
use portcullis_tests::run;
use serde_json::{Value, json};

const CTR: &str = include_str!("../../crates/hardening/tests/data/ctr-1.6.20-run.json");

/// The runtimes, each as words of a command. crun 1.8 refuses hybrid control groups, so it runs
/// where the unified one is not mounted.
const RUNC: &[&str] = &["runc"];
const CRUN: &[&str] = &[
    "unshare",
    "-m",
    "sh",
    "-c",
    "if mountpoint -q /sys/fs/cgroup/unified; then umount /sys/fs/cgroup/unified; fi; exec crun \"$@\"",
    "crun",
];

/// What the image has at `/tmp`.
#[derive(Debug, Clone, Copy)]
enum Tmp {
    Sticky,
    OfRoot,
    Absent,
}

/// A bundle in a directory of its own.
struct Bundle {
    scratch: tempfile::TempDir,
    runtime: &'static [&'static str],
}

impl Bundle {
    fn new(runtime: &'static [&'static str], tmp: Tmp) -> Self {
        let scratch = tempfile::tempdir().unwrap();
        fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let root = scratch.path().join("bundle/rootfs");
        for directory in ["bin", "etc", "run/httpd", "data"] {
            fs::create_dir_all(root.join(directory)).unwrap();
        }
        fs::copy(
            portcullis_tests::image::busybox().unwrap(),
            root.join("bin/busybox"),
        )
        .unwrap();
        for applet in [
            "sh", "cat", "ls", "touch", "id", "mount", "ping", "sleep", "cp",
        ] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        let mode = match tmp {
            Tmp::Sticky => Some(0o1777),
            Tmp::OfRoot => Some(0o755),
            Tmp::Absent => None,
        };
        if let Some(mode) = mode {
            for directory in ["tmp", "var/tmp"] {
                fs::create_dir_all(root.join(directory)).unwrap();
                fs::set_permissions(root.join(directory), fs::Permissions::from_mode(mode))
                    .unwrap();
            }
        }
        Self { scratch, runtime }
    }

    fn path(&self) -> PathBuf {
        self.scratch.path().join("bundle")
    }

    /// Hardens `config` against facts of this host and writes it to the bundle.
    fn write(&self, config: &Value, profile: &Profile) -> Hardened {
        let hardened = self.harden(config, profile);
        fs::write(self.path().join("config.json"), hardened.config.to_bytes()).unwrap();
        hardened
    }

    fn harden(&self, config: &Value, profile: &Profile) -> Hardened {
        let mut config = config.clone();
        // Deleting a container kills everything in its group, so each has its own.
        config["linux"]["cgroupsPath"] = format!("/portcullis-{}", self.id()).into();
        let config = OciConfig::parse(config.to_string().as_bytes()).unwrap();
        let rootfs = self.path().join("rootfs");
        let allowed = FactsPolicy {
            mounts_allow: vec![self.scratch.path().join("volume")],
            ..FactsPolicy::default()
        };
        let facts = facts(&config, Some(&rootfs), &allowed).unwrap();
        let hardened =
            harden(config, profile, &facts, &Concessions::none()).unwrap_or_else(|refusals| {
                panic!("{:#}", refusals.to_json(&portcullis_gate::RecordId([0; 4])))
            });
        let again = OciConfig::parse(&hardened.config.to_bytes()).unwrap();
        let facts = self::facts(&again, Some(&rootfs), &allowed).unwrap();
        let twice = harden(again, profile, &facts, &Concessions::none()).unwrap();
        assert_eq!(twice.changes, [], "a second pass finds nothing to change");
        assert_eq!(twice.config, hardened.config);
        hardened
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let (program, rest) = self.runtime.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(rest)
            .arg("--root")
            .arg(self.scratch.path().join("state"));
        command.args(arguments).current_dir(self.path());
        command
    }

    fn id(&self) -> String {
        let name = self.scratch.path().file_name().unwrap().to_str().unwrap();
        format!("hardened{}", name.replace('.', "-"))
    }

    /// Runs the container to its end.
    fn run(&self) -> String {
        run::to_end(&mut self.command(&["run", &self.id()]))
            .unwrap()
            .success()
            .unwrap()
    }
}

impl Drop for Bundle {
    fn drop(&mut self) {
        let id = self.id();
        let deleted = run::to_end(&mut self.command(&["delete", "--force", &id]));
        if let Err(failure) = deleted {
            eprintln!("container {id} stays: {failure}");
        }
    }
}

fn profile(name: &str) -> Profile {
    let none = tempfile::tempdir().unwrap();
    profile_from(&portcullis_config::Root::scratch(none.path(), 0), name).unwrap()
}

/// What `ctr run` of containerd 1.6 makes, with another command.
fn ctr(script: &str) -> Value {
    let mut config: Value = serde_json::from_str(CTR).unwrap();
    config["process"]["args"] = json!(["/bin/sh", "-c", script]);
    config["root"]["path"] = "rootfs".into();
    config
}

fn status_field<'a>(status: &'a str, name: &str) -> &'a str {
    let line = status
        .lines()
        .find(|line| line.starts_with(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name} in {status}"))
        .split_once(':')
        .unwrap()
        .1
        .trim()
}

fn assert_is_confined(status: &str) {
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(status_field(status, set), "0000000000000000", "{set}");
    }
    assert_eq!(status_field(status, "NoNewPrivs"), "1");
    assert_eq!(status_field(status, "Seccomp"), "2");
}

/// Prints what the process has, and tries what it must not and what it must be able to do.
const PROBE: &str = r#"
cat /proc/self/status
try() { name=$1; shift; if "$@" 2>/dev/null; then echo "$name: yes"; else echo "$name: no"; fi; }
try root-writable touch /file
try tmp-writable touch /tmp/file
try var-tmp-writable touch /var/tmp/file
try run-writable touch /run/file
try run-copied-up ls /run/httpd
try tmp-executable sh -c 'cp /bin/busybox /tmp/busybox && /tmp/busybox true'
try keys-readable sh -c 'test -s /proc/keys'
try kallsyms-readable sh -c 'test -s /proc/kallsyms'
try sys-writable touch /proc/sys/kernel/hostname
echo core: $(ulimit -c)
"#;

fn probe(runtime: &'static [&'static str], tmp: Tmp) -> String {
    let bundle = Bundle::new(runtime, tmp);
    let mut config = ctr(PROBE);
    // As CRI: nothing is mounted at /run.
    config["mounts"]
        .as_array_mut()
        .unwrap()
        .retain(|mount| mount["destination"] != "/run");
    bundle.write(&config, &profile("restricted"));
    bundle.run()
}

fn assert_probe(seen: &str, tmp: bool) {
    assert_is_confined(seen);
    let writable = if tmp { "yes" } else { "no" };
    for (name, expected) in [
        ("root-writable", "no"),
        ("tmp-writable", writable),
        ("var-tmp-writable", writable),
        ("run-writable", "yes"),
        ("run-copied-up", "yes"),
        ("tmp-executable", "no"),
        ("keys-readable", "no"),
        ("kallsyms-readable", "no"),
        ("sys-writable", "no"),
        ("core", "0"),
    ] {
        assert_eq!(status_field(seen, name), expected, "{name} in {seen}");
    }
}

/// Starts a container that waits, runs `exec` in it, and returns what that printed.
fn exec(runtime: &'static [&'static str], exec: &Value) -> String {
    let bundle = Bundle::new(runtime, Tmp::Sticky);
    let hardened = bundle.write(&ctr("sleep 60"), &profile("restricted"));
    let clamped = clamp_exec(exec.to_string().as_bytes(), &hardened.baseline).unwrap();
    let process = bundle.path().join("process.json");
    fs::write(&process, clamped.to_bytes()).unwrap();
    let id = bundle.id();
    // A detached container keeps the descriptors it was given.
    let mut start = bundle.command(&["run", "--detach", &id]);
    start.stdin(std::process::Stdio::null());
    let log = fs::OpenOptions::new()
        .create_new(true)
        .append(true)
        .open(bundle.scratch.path().join("log"))
        .unwrap();
    start.stdout(log.try_clone().unwrap()).stderr(log);
    assert!(start.status().unwrap().success());
    let process = process.to_str().unwrap();
    let ran = run::to_end(&mut bundle.command(&["exec", "--process", process, &id]));
    ran.unwrap().success().unwrap()
}

/// What a runtime caller sends for `ctr task exec`: the capabilities of the configuration as it
/// was before hardening, and no `noNewPrivileges`.
fn unhardened_exec() -> Value {
    let config = ctr("cat /proc/self/status; echo core: $(ulimit -c)");
    let mut process = config["process"].clone();
    process.as_object_mut().unwrap().remove("noNewPrivileges");
    process
}

mod needs_root {
    use super::*;

    #[test]
    fn runc_runs_a_hardened_container_on_every_shape_of_image() {
        portcullis_tests::needs!(Root, Runc, Busybox);
        assert_probe(&probe(RUNC, Tmp::Sticky), true);
        assert_probe(&probe(RUNC, Tmp::OfRoot), true);
        assert_probe(&probe(RUNC, Tmp::Absent), false);
    }

    #[test]
    fn crun_runs_a_hardened_container_on_every_shape_of_image() {
        portcullis_tests::needs!(Root, Crun, Busybox);
        assert_probe(&probe(CRUN, Tmp::Sticky), true);
        assert_probe(&probe(CRUN, Tmp::OfRoot), true);
        assert_probe(&probe(CRUN, Tmp::Absent), false);
    }

    #[test]
    fn an_exec_has_no_more_than_its_container() {
        portcullis_tests::needs!(Root, Runc, Crun, Busybox);
        for runtime in [RUNC, CRUN] {
            let seen = exec(runtime, &unhardened_exec());
            assert_is_confined(&seen);
            assert_eq!(status_field(&seen, "core"), "0");
        }
    }

    #[test]
    fn a_read_only_volume_is_read_only_in_its_submounts_too() {
        portcullis_tests::needs!(Root, Runc, Crun, Busybox);
        for runtime in [RUNC, CRUN] {
            let bundle = Bundle::new(runtime, Tmp::Sticky);
            let volume = bundle.scratch.path().join("volume");
            fs::create_dir_all(volume.join("sub")).unwrap();
            let _inner = Mounted::tmpfs(&volume.join("sub"));
            let mut config = ctr(
                "touch /data/file 2>/dev/null && echo outer: yes || echo outer: no
                 touch /data/sub/file 2>/dev/null && echo inner: yes || echo inner: no
                 cat /proc/self/mounts",
            );
            config["mounts"].as_array_mut().unwrap().push(json!({
                "destination": "/data", "type": "bind", "source": volume,
                "options": ["rbind", "ro", "rprivate"],
            }));
            bundle.write(&config, &profile("restricted"));
            let seen = bundle.run();
            assert_eq!(status_field(&seen, "outer"), "no");
            assert_eq!(status_field(&seen, "inner"), "no", "{seen}");
            let data = seen.lines().find(|line| line.contains(" /data ")).unwrap();
            assert!(data.contains("nosuid") && data.contains("nodev"), "{data}");
        }
    }

    /// Shows `source` at `place`, in the mount namespace of this thread.
    fn bind(source: &Path, place: &Path) {
        let none: Option<&str> = None;
        let flags = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(Some(source), place, none, flags, none).unwrap();
    }

    /// What a host says of sources beneath its kubelet's directory.
    fn judge_volumes(scratch: &Path) {
        let volumes = scratch.join("kubelet/pods/u/volumes");
        let subpaths = scratch.join("kubelet/pods/u/volume-subpaths");
        let of = |directory: &Path, name: &str| {
            let place = directory.join(name);
            fs::create_dir_all(&place).unwrap();
            place
        };
        let (protected, open, disk) = (
            of(scratch, "protected/inner"),
            of(scratch, "open"),
            of(scratch, "disks/one"),
        );
        fs::write(protected.join("key"), "").unwrap();
        let cache = of(&volumes, "kubernetes.io~empty-dir/cache");
        let secret = of(&volumes, "kubernetes.io~secret/token");
        let _secret = Mounted::tmpfs(&secret);
        let shown = |source: &Path, directory: &Path, name: &str| {
            let place = of(directory, name);
            bind(source, &place);
            place
        };
        let of_cache = of(&cache, "sub");
        let key = of(&subpaths, "h/c").join("1");
        fs::write(&key, "").unwrap();
        bind(&protected.join("key"), &key);
        let volume = MountSource::KubeletVolume { settings: false };
        let denied = MountSource::Denied {
            what: scratch.join("protected").display().to_string(),
        };
        let expected = [
            (cache.clone(), volume.clone()),
            (shown(&cache, &cache, "../again"), volume.clone()),
            (shown(&of_cache, &subpaths, "e/c/0"), volume),
            (secret, MountSource::KubeletVolume { settings: true }),
            (shown(&protected, &subpaths, "h/c/0"), denied.clone()),
            (key, denied),
            (
                shown(&open, &volumes, "kubernetes.io~local-volume/o"),
                MountSource::Unlisted,
            ),
            (
                shown(&disk, &volumes, "kubernetes.io~local-volume/d"),
                MountSource::Allowed,
            ),
        ];
        let mut config = ctr("true");
        config["mounts"] = expected
            .iter()
            .map(|(source, _)| json!({"destination": "/data", "type": "bind", "source": source}))
            .collect();
        let config = OciConfig::parse(config.to_string().as_bytes()).unwrap();
        let policy = FactsPolicy {
            mounts_allow: vec![scratch.join("disks")],
            kubelet: scratch.join("kubelet"),
            denied: vec![scratch.join("protected")],
            ..FactsPolicy::default()
        };
        let facts = facts(&config, None, &policy).unwrap();
        for (index, (source, judged)) in expected.iter().enumerate() {
            assert_eq!(
                facts.mount_sources.get(&index),
                Some(judged),
                "{}",
                source.display()
            );
        }
    }

    #[test]
    fn a_volume_that_shows_a_directory_of_the_host_is_judged_as_that() {
        portcullis_tests::needs!(Root);
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().canonicalize().unwrap();
        // What the thread mounts goes away with it.
        let judged = std::thread::spawn(move || {
            let none: Option<&str> = None;
            let private = nix::mount::MsFlags::MS_REC | nix::mount::MsFlags::MS_PRIVATE;
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            nix::mount::mount(none, "/", none, private, none).unwrap();
            judge_volumes(&path);
        });
        judged.join().unwrap();
    }

    /// A mount that goes away with the test.
    struct Mounted(PathBuf);

    impl Mounted {
        fn tmpfs(place: &Path) -> Self {
            let none: Option<&str> = None;
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(
                Some("tmpfs"),
                place,
                Some("tmpfs"),
                flags,
                Some("mode=1777"),
            )
            .unwrap();
            nix::mount::mount(none, place, none, nix::mount::MsFlags::MS_PRIVATE, none).unwrap();
            Self(place.to_owned())
        }
    }

    impl Drop for Mounted {
        fn drop(&mut self) {
            if let Err(cause) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
                eprintln!("{} stays mounted: {cause}", self.0.display());
            }
        }
    }
}
