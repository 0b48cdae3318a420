use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

use super::*;

/// A host in a scratch directory: a kubelet with one volume of each sort, a containerd, a
/// protected directory and an allowed one in it.
struct Host {
    scratch: tempfile::TempDir,
    judge: Judge,
}

const FILES: [&str; 8] = [
    "kubelet/pods/1234/volumes/kubernetes.io~secret/token/ca.crt",
    "kubelet/pods/1234/volumes/kubernetes.io~empty-dir/cache/file",
    "kubelet/pods/1234/etc-hosts",
    "kubelet/pki/key.pem",
    "containerd/io.containerd.grpc.v1.cri/sandboxes/abcd/hosts",
    "containerd/io.containerd.content.v1.content/blob",
    "protected/secret",
    "protected/shared/file",
];

impl Host {
    fn new() -> Self {
        let scratch = tempfile::tempdir().unwrap();
        for file in FILES {
            let path = scratch.path().join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(scratch.path().join("open/data")).unwrap();
        let policy = FactsPolicy {
            mounts_allow: vec![scratch.path().join("protected/shared")],
            containerd: vec![scratch.path().join("containerd")],
            kubelet: scratch.path().join("kubelet"),
            denied: vec![scratch.path().join("protected")],
            hooks: Vec::new(),
        };
        let judge = Judge::new(&policy).unwrap();
        Self { scratch, judge }
    }

    fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().unwrap().to_owned()
    }

    fn judge_path(&self, path: &str) -> Option<MountSource> {
        let found = self.judge.judge(path).unwrap();
        found.map(|found| found.source)
    }

    fn judge(&self, name: &str) -> Option<MountSource> {
        self.judge_path(&self.path(name))
    }
}

fn is_denied(source: &Option<MountSource>) -> bool {
    matches!(source, Some(MountSource::Denied { .. }))
}

#[test]
fn volumes_of_the_kubelet_are_told_from_the_rest_of_its_directory() {
    let host = Host::new();
    let secret = "kubelet/pods/1234/volumes/kubernetes.io~secret/token";
    let settings = Some(MountSource::KubeletVolume { settings: true });
    assert_eq!(host.judge(secret), settings);
    assert_eq!(host.judge(FILES[0]), settings);
    let cache = "kubelet/pods/1234/volumes/kubernetes.io~empty-dir/cache";
    assert_eq!(
        host.judge(cache),
        Some(MountSource::KubeletVolume { settings: false })
    );
    assert_eq!(
        host.judge("kubelet/pods/1234/etc-hosts"),
        Some(MountSource::SandboxFile)
    );
    for inside in [
        "kubelet",
        "kubelet/pods",
        "kubelet/pods/1234",
        "kubelet/pki/key.pem",
    ] {
        assert!(is_denied(&host.judge(inside)), "{inside}");
    }
    assert!(is_denied(
        &host.judge("kubelet/pods/1234/volumes/kubernetes.io~secret")
    ));
}

#[test]
fn a_file_is_told_from_a_directory() {
    let host = Host::new();
    for (name, is_directory) in [
        (FILES[0], false),
        ("kubelet/pods/1234/volumes/kubernetes.io~secret/token", true),
    ] {
        let found = host.judge.judge(&host.path(name)).unwrap().unwrap();
        assert_eq!(found.is_directory, is_directory, "{name}");
    }
}

#[test]
fn files_of_a_sandbox_are_told_from_the_rest_of_containerd() {
    let host = Host::new();
    assert_eq!(host.judge(FILES[4]), Some(MountSource::SandboxFile));
    assert!(is_denied(&host.judge(FILES[5])));
    assert!(is_denied(
        &host.judge("containerd/io.containerd.grpc.v1.cri/sandboxes/abcd")
    ));
}

#[test]
fn the_nearest_of_allowed_and_denied_decides() {
    let host = Host::new();
    assert!(is_denied(&host.judge("protected")));
    assert!(is_denied(&host.judge("protected/secret")));
    assert_eq!(host.judge("protected/shared"), Some(MountSource::Allowed));
    assert_eq!(
        host.judge("protected/shared/file"),
        Some(MountSource::Allowed)
    );
    assert_eq!(host.judge("open/data"), Some(MountSource::Unlisted));
}

#[test]
fn what_holds_a_denied_part_is_denied() {
    let host = Host::new();
    assert!(is_denied(&host.judge("")));
    for path in [
        "/",
        "/var",
        "/var/lib",
        "/opt",
        "/etc",
        "/etc/passwd",
        "/run",
        "/var/run",
    ] {
        let exists = Path::new(path).exists();
        let judged = host.judge_path(path);
        let holds_nothing = path == "/opt" && !Path::new("/opt/cni").exists();
        assert!(!exists || holds_nothing || is_denied(&judged), "{path}");
    }
}

#[test]
fn a_link_is_judged_by_what_it_leads_to() {
    let host = Host::new();
    symlink(host.path("protected"), host.path("open/link")).unwrap();
    symlink(host.path("open/link/secret"), host.path("open/second")).unwrap();
    assert!(is_denied(&host.judge("open/link")));
    assert!(is_denied(&host.judge("open/second")));
    assert!(is_denied(&host.judge("open/data/../../protected")));
}

#[test]
fn sockets_and_devices_are_named_as_such() {
    let host = Host::new();
    let _listener = UnixListener::bind(host.path("open/sock")).unwrap();
    assert_eq!(host.judge("open/sock"), Some(MountSource::Socket));
    assert_eq!(
        host.judge_path("/dev/null"),
        Some(MountSource::CharacterDevice)
    );
}

#[test]
fn file_systems_of_the_kernel_are_denied_wherever_they_are() {
    let host = Host::new();
    assert!(is_denied(&host.judge_path("/proc/self/status")));
    assert!(is_denied(&host.judge_path("/sys/kernel")));
    assert!(is_denied(&host.judge_path("/proc/self/ns/net")));
}

#[test]
fn what_is_not_there_or_not_absolute_is_not_judged() {
    let host = Host::new();
    assert_eq!(host.judge("open/nothing"), None);
    assert_eq!(host.judge_path("open/data"), None);
    assert_eq!(host.judge_path(""), None);
}
