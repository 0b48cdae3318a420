//! The mounts inside a world.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Plan, Shape, cgroups};
use crate::failure::{Doing, Failure, Outcome};

/// Trees that become writable copies, in a world with this machine's root.
const COPIES: [&str; 3] = ["etc", "usr", "var"];
/// Folders that are empty inside, whatever the machine has there, and their modes.
const EMPTY: [(&str, u32); 7] = [
    ("/etc/cni", 0o755),
    ("/etc/containerd", 0o755),
    ("/etc/portcullis", 0o755),
    ("/usr/lib/portcullis", 0o755),
    ("/var/lib/cni", 0o755),
    ("/var/lib/containerd", 0o711),
    ("/var/lib/portcullis", 0o700),
];

/// The one with root file systems, whose ids a user namespace has mapped.
const SNAPSHOTS: &str = "/var/lib/containerd";
/// First Linux whose file systems in memory can have their ids mapped.
const MAPS_MEMORY: (u32, u32) = (6, 3);

/// Size of each of them, so that a test can fill one.
const SIZE: &str = "256m";
/// Size of all copied trees together: programs built for debugging are big.
const WORLD_SIZE: &str = "2g";

/// Builds all mounts. The caller has its own mount namespace.
pub(super) fn build(plan: &Plan) -> Outcome {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .doing("keep mounts to ourselves")?;
    let groups = cgroups::hierarchies()?;
    let world = plan.scratch.join("world");
    memory(&world, 0o755, WORLD_SIZE)?;
    fs::create_dir(world.join("tmp")).doing("make a folder for temporary files")?;
    if let Some(root) = &plan.root {
        root.enter(&plan.scratch, &world)?;
    } else {
        for tree in COPIES {
            let tree = Path::new("/").join(tree);
            overlay(&world, &tree, &tree)?;
        }
    }
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .doing("mount /proc")?;
    for (folder, mode) in EMPTY {
        fs::create_dir_all(folder).doing(format!("make '{folder}'"))?;
        if folder == SNAPSHOTS {
            mappable(&plan.scratch, folder.as_ref(), mode)?;
        } else {
            memory(folder.as_ref(), mode, SIZE)?;
        }
    }
    memory("/run".as_ref(), 0o755, SIZE)?;
    let served = Path::new("/srv");
    // A root of few folders may have none.
    if served.is_dir() {
        memory(served, 0o755, SIZE)?;
    }
    // Pods get a copy of this file; a link to the machine's resolver would lead nowhere.
    let resolver = Path::new("/etc/resolv.conf");
    if resolver.is_symlink() {
        fs::remove_file(resolver).doing("remove the link '/etc/resolv.conf'")?;
    }
    fs::write(resolver, "nameserver 127.0.0.1\n").doing("write '/etc/resolv.conf'")?;
    mount_cgroups(&groups, plan.shape)
}

/// Brings the loopback device of this network namespace up.
pub(super) fn loopback_up() -> Outcome {
    let busybox = crate::image::busybox().ok_or_else(|| Failure::new("busybox is missing"))?;
    let status = Command::new(busybox)
        .args(["ip", "link", "set", "lo", "up"])
        .status()
        .doing("bring the loopback device up")?;
    if status.success() {
        return Ok(());
    }
    Err(Failure::new(format!(
        "cannot bring the loopback device up: {status}"
    )))
}

/// Mounts an empty file system whose ids can be mapped: in memory if this kernel can map those, else
/// on the disk, in `scratch`, which goes with the world.
pub(super) fn mappable(scratch: &Path, at: &Path, mode: u32) -> Outcome {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").doing("read the release")?;
    if version(&release) >= Some(MAPS_MEMORY) {
        return memory(at, mode, SIZE);
    }
    let folder = scratch
        .join("disk")
        .join(at.file_name().unwrap_or_default());
    fs::create_dir_all(&folder).doing(format!("make '{}'", folder.display()))?;
    fs::set_permissions(&folder, fs::Permissions::from_mode(mode))
        .doing(format!("set the mode of '{}'", folder.display()))?;
    mount(
        Some(&folder),
        at,
        None::<&str>,
        MsFlags::MS_BIND,
        None::<&str>,
    )
    .doing(format!("show a folder of the disk at '{}'", at.display()))
}

/// Sample: `6.1.0-50-cloud-amd64`.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(['.', '-']).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Mounts an empty file system in memory.
fn memory(at: &Path, mode: u32, size: &str) -> Outcome {
    mount(
        Some("tmpfs"),
        at,
        Some("tmpfs"),
        MsFlags::MS_NODEV | MsFlags::MS_NOSUID,
        Some(format!("mode={mode:o},size={size}").as_str()),
    )
    .doing(format!("mount memory on '{}'", at.display()))
}

/// Shows a writable copy of folder `from` at `at`; what is written goes to memory, in `world`.
pub(super) fn overlay(world: &Path, from: &Path, at: &Path) -> Outcome {
    let name = at.file_name().unwrap_or_default().to_string_lossy();
    let [upper, work] = ["written", "work"].map(|part| world.join(format!("{name}.{part}")));
    for folder in [&upper, &work] {
        fs::create_dir(folder).doing(format!("make '{}'", folder.display()))?;
    }
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        from.display(),
        upper.display(),
        work.display()
    );
    mount(
        Some("overlay"),
        at,
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .doing(format!(
        "lay a writable copy of '{}' over '{}'",
        from.display(),
        at.display()
    ))
}

/// Mounts the hierarchies anew, so that the world's own cgroups are their roots.
fn mount_cgroups(groups: &[cgroups::Hierarchy], shape: Shape) -> Outcome {
    let root = Path::new(cgroups::ROOT);
    umount2(root, MntFlags::MNT_DETACH).doing("take the machine's cgroups away")?;
    let only_unified = groups.iter().any(|group| group.at == root);
    if !only_unified {
        memory(root, 0o755, SIZE)?;
    }
    for group in groups {
        if group.controllers.is_none() && !only_unified && !shape.unified {
            continue;
        }
        fs::create_dir_all(&group.at).doing(format!("make '{}'", group.at.display()))?;
        let kind = if group.controllers.is_some() {
            "cgroup"
        } else {
            "cgroup2"
        };
        mount(
            Some(kind),
            &group.at,
            Some(kind),
            MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC,
            group.controllers.as_deref(),
        )
        .doing(format!("mount cgroups on '{}'", group.at.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{MAPS_MEMORY, version};

    #[test]
    fn a_release_has_two_numbers_first() {
        assert_eq!(version("6.1.0-50-cloud-amd64\n"), Some((6, 1)));
        assert!(version("6.18.44") >= Some(MAPS_MEMORY));
        assert!(version("next") < Some(MAPS_MEMORY));
    }
}
