//! Where a container's root filesystem and cgroup come from: containerd's own places, not a
//! directory or a cgroup of the host that a client of containerd names.

mod root_filesystem;

use std::path::{Path, PathBuf};

use containerd_shim_protos::api::Mount;
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::OciConfig;

pub(super) use root_filesystem::Allowed;
use root_filesystem::is_snapshot;

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What speaks against the origin of this container's parts.
pub(super) fn refusals(
    oci: &OciConfig,
    bundle: &Path,
    mounts: &[Mount],
    allowed: Allowed<'_>,
) -> Vec<Refusal> {
    let root = root_path(oci, bundle, allowed.directories);
    let mounts = mounts
        .iter()
        .find_map(|mount| root_filesystem::refusal(oci, mount, allowed));
    root.into_iter()
        .chain(mounts)
        .chain(cgroup(oci, Path::new(CGROUPS)))
        .collect()
}

/// The root filesystem is the bundle's; another one, which Docker's own storage makes, must lie
/// where the node's policy says.
fn root_path(oci: &OciConfig, bundle: &Path, allowed: &[String]) -> Option<Refusal> {
    let path = oci.root_path().unwrap_or_default();
    // Equal part by part, so that neither `..` nor a link elsewhere is followed.
    let own = bundle
        .join(path)
        .components()
        .eq(bundle.join("rootfs").components());
    if own || is_snapshot(Path::new(path), allowed) {
        return None;
    }
    let expected = "'rootfs' in the bundle, or a directory in 'mounts.allow='";
    let subject = "config.json /root/path";
    Some(Refusal::new(
        Code::RootFilesystemDenied,
        subject,
        expected,
        quote(path),
    ))
}

/// A cgroup in which processes are is somebody else's: our limits, and `kill`, would hit them.
fn cgroup(oci: &OciConfig, root: &Path) -> Option<Refusal> {
    let path = oci.cgroups_path().filter(|path| path.starts_with('/'))?;
    let inner = Path::new(path.trim_start_matches('/'));
    let denied = |found: &str| {
        let subject = format!("config.json /linux/cgroupsPath {}", quote(path));
        Some(Refusal::new(
            Code::ResourceDenied,
            subject,
            "a cgroup of its own",
            found.to_owned(),
        ))
    };
    if inner.as_os_str().is_empty() {
        return denied("the root of all cgroups");
    }
    let controllers = std::fs::read_dir(root)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let mut places = std::iter::once(root.to_path_buf()).chain(controllers);
    let occupied = |place: PathBuf| {
        let processes = std::fs::read(place.join(inner).join("cgroup.procs"));
        processes.is_ok_and(|processes| !processes.is_empty())
    };
    if places.any(occupied) {
        denied("one in which processes are")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn oci(text: &str) -> OciConfig {
        OciConfig::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn takes_the_root_filesystem_of_the_bundle_only() {
        let bundle = Path::new("/run/b/web");
        let with = |path: &str| {
            oci(&format!(
                r#"{{"ociVersion":"1.0.2","root":{{"path":"{path}"}}}}"#
            ))
        };
        for path in ["rootfs", "./rootfs", "/run/b/web/rootfs"] {
            assert_eq!(root_path(&with(path), bundle, &[]), None, "{path}");
        }
        for path in ["/etc", "", "rootfs/../../x", "../web/rootfs", "rootfs/sub"] {
            let refusal = root_path(&with(path), bundle, &[]);
            assert_eq!(
                refusal.map(|refusal| refusal.code),
                Some(Code::RootFilesystemDenied),
                "{path}"
            );
        }
        let allowed = ["/etc".to_owned()];
        assert_eq!(root_path(&with("/etc/ssl"), bundle, &allowed), None);
    }

    #[test]
    fn refuses_a_cgroup_that_somebody_lives_in() {
        let root = tempfile::tempdir().unwrap();
        let make = |path: &str, processes: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(&path).unwrap();
            std::fs::write(path.join("cgroup.procs"), processes).unwrap();
        };
        make("pids/system.slice/sshd", "77\n");
        make("pids/default/empty", "");
        let judge = |path: &str| {
            let text = format!(r#"{{"ociVersion":"1.0.2","linux":{{"cgroupsPath":"{path}"}}}}"#);
            cgroup(&oci(&text), root.path()).map(|refusal| refusal.code)
        };
        assert_eq!(judge("/default/web"), None);
        assert_eq!(judge("/default/empty"), None);
        assert_eq!(judge("system.slice:cri:web"), None);
        assert_eq!(judge("/"), Some(Code::ResourceDenied));
        assert_eq!(judge("/system.slice/sshd"), Some(Code::ResourceDenied));
    }
}
