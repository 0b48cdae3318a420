//! Where a container's root filesystem and cgroup come from: containerd's own places, not a
//! directory or a cgroup of the host that a client of containerd names.

use std::fs::File;
use std::path::{Component, Path, PathBuf};

use containerd_shim_protos::api::Mount;
use nix::fcntl::{AT_FDCWD, OFlag, OpenHow, ResolveFlag, openat2};
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::OciConfig;

/// Directories of this name hold snapshots, beneath containerd's root directory.
const SNAPSHOTTER: &str = "io.containerd.snapshotter.v1.";

/// Overlay options that name directories of the host.
const OVERLAY_DIRECTORIES: [&str; 3] = ["lowerdir=", "upperdir=", "workdir="];

/// Where cgroups are mounted.
const CGROUPS: &str = "/sys/fs/cgroup";

/// What speaks against the origin of this container's parts. `allowed` are the node policy's own
/// directories, for snapshotters that keep their data elsewhere.
pub(super) fn refusals(
    oci: &OciConfig,
    bundle: &Path,
    mounts: &[Mount],
    allowed: &[String],
) -> Vec<Refusal> {
    let root = root_path(oci, bundle, allowed);
    let mounts = mounts.iter().find_map(|mount| snapshot(mount, allowed));
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

fn snapshot(mount: &Mount, allowed: &[String]) -> Option<Refusal> {
    let denied = |found: String| {
        let expected = "snapshots of containerd, or of a directory in 'mounts.allow='";
        Some(Refusal::new(
            Code::RootFilesystemDenied,
            "root filesystem",
            expected,
            found,
        ))
    };
    let directories = match mount.type_.as_str() {
        "bind" => vec![mount.source.as_str()],
        "overlay" => mount
            .options
            .iter()
            .flat_map(|option| overlay_directories(option))
            .collect(),
        other => return denied(format!("a mount of type {}", quote(other))),
    };
    let foreign = directories
        .into_iter()
        .find(|path| !is_snapshot(Path::new(path), allowed))?;
    denied(quote(foreign))
}

/// The directories in one option of an overlay mount.
fn overlay_directories(option: &str) -> Vec<&str> {
    let mut names = OVERLAY_DIRECTORIES.iter();
    names
        .find_map(|name| option.strip_prefix(name))
        .map_or_else(Vec::new, |list| list.split(':').collect())
}

/// Whether `path` is a directory beneath a snapshotter's, reached through no link at all.
fn is_snapshot(path: &Path, allowed: &[String]) -> bool {
    let plain = path
        .components()
        .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    if !path.is_absolute() || !plain {
        return false;
    }
    let beneath_snapshotter = path.parent().is_some_and(|parent| {
        parent
            .iter()
            .any(|part| part.to_string_lossy().starts_with(SNAPSHOTTER))
    });
    let beneath_allowed = allowed.iter().any(|allowed| path.starts_with(allowed));
    let how = OpenHow::new()
        .flags(OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_SYMLINKS);
    (beneath_snapshotter || beneath_allowed) && openat2(AT_FDCWD, path, how).map(File::from).is_ok()
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
    fn takes_snapshots_and_no_other_directory_of_the_host() {
        let dir = tempfile::tempdir().unwrap();
        let snapshots = dir
            .path()
            .join("io.containerd.snapshotter.v1.overlayfs/snapshots/1/fs");
        std::fs::create_dir_all(&snapshots).unwrap();
        let link = dir
            .path()
            .join("io.containerd.snapshotter.v1.overlayfs/snapshots/2");
        std::os::unix::fs::symlink("/etc", &link).unwrap();
        let own = snapshots.display().to_string();
        let mount = |kind: &str, source: &str, option: String| Mount {
            type_: kind.to_owned(),
            source: source.to_owned(),
            options: vec![option],
            ..Mount::default()
        };
        let overlay = |dirs: &str| mount("overlay", "overlay", format!("lowerdir={dirs}"));
        assert_eq!(
            snapshot(&mount("bind", &own, "rbind".to_owned()), &[]),
            None
        );
        assert_eq!(snapshot(&overlay(&format!("{own}:{own}")), &[]), None);
        assert_eq!(
            snapshot(
                &mount("bind", "/etc", "rbind".to_owned()),
                &["/etc".to_owned()]
            ),
            None
        );
        for denied in [
            mount("bind", "/", "rbind".to_owned()),
            mount("bind", "/etc", "rbind".to_owned()),
            mount("bind", &link.display().to_string(), "rbind".to_owned()),
            mount("ext4", "/dev/sda1", "rw".to_owned()),
            overlay(&format!("{own}:/etc")),
            overlay("snapshots/1/fs"),
        ] {
            let code = snapshot(&denied, &[]).map(|refusal| refusal.code);
            assert_eq!(code, Some(Code::RootFilesystemDenied), "{denied:?}");
        }
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
