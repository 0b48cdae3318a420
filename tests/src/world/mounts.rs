//! The mounts inside a world.

use std::fs;
use std::path::Path;
use std::process::Command;

use nix::mount::{MntFlags, MsFlags, mount, umount2};

use super::{Shape, cgroups};
use crate::failure::{Doing, Failure, Outcome};

/// Trees that become writable copies.
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

/// Size of each of them, so that a test can fill one.
const SIZE: &str = "256m";
/// Size of all copied trees together: programs built for debugging are big.
const WORLD_SIZE: &str = "2g";

/// Builds all mounts. The caller has its own mount namespace.
pub(super) fn build(scratch: &Path, shape: Shape) -> Outcome {
    mount(
        None::<&str>,
        "/",
        None::<&str>,
        MsFlags::MS_REC | MsFlags::MS_PRIVATE,
        None::<&str>,
    )
    .doing("keep mounts to ourselves")?;
    let groups = cgroups::hierarchies()?;
    mount(
        Some("proc"),
        "/proc",
        Some("proc"),
        MsFlags::empty(),
        None::<&str>,
    )
    .doing("mount /proc")?;
    let world = scratch.join("world");
    memory(&world, 0o755, WORLD_SIZE)?;
    fs::create_dir(world.join("tmp")).doing("make a folder for temporary files")?;
    for tree in COPIES {
        copy_on_write(&world, tree)?;
    }
    for (folder, mode) in EMPTY {
        fs::create_dir_all(folder).doing(format!("make '{folder}'"))?;
        memory(folder.as_ref(), mode, SIZE)?;
    }
    memory("/run".as_ref(), 0o755, SIZE)?;
    // Pods get a copy of this file; a link to the machine's resolver would lead nowhere.
    let resolver = Path::new("/etc/resolv.conf");
    if resolver.is_symlink() {
        fs::remove_file(resolver).doing("remove the link '/etc/resolv.conf'")?;
    }
    fs::write(resolver, "nameserver 127.0.0.1\n").doing("write '/etc/resolv.conf'")?;
    mount_cgroups(&groups, shape)
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

/// Lays a writable layer over `/<tree>`.
fn copy_on_write(world: &Path, tree: &str) -> Outcome {
    let (upper, work) = (world.join(tree), world.join(format!("{tree}.work")));
    for folder in [&upper, &work] {
        fs::create_dir(folder).doing(format!("make '{}'", folder.display()))?;
    }
    let options = format!(
        "lowerdir=/{tree},upperdir={},workdir={}",
        upper.display(),
        work.display()
    );
    let at = format!("/{tree}");
    mount(
        Some("overlay"),
        at.as_str(),
        Some("overlay"),
        MsFlags::empty(),
        Some(options.as_str()),
    )
    .doing(format!("lay a writable copy over '{at}'"))
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
