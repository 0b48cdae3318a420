//! The guest's disk: an EFI system partition with the boot chain, and a root file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::product::Product;
use super::root::{Root, remove, write};
use crate::privilege;
use crate::step::{self, Failed, Outcome, timed};

/// The boot loader's settings; the kernel's command line is in them.
pub(super) const GRUB: &str = include_str!("grub.cfg");
/// First program of the kernel.
const INIT: &str = include_str!("init.sh");
/// What it loads: the disk's driver and what that needs, below `kernel/drivers`.
const MODULES: [&str; 6] = [
    "virtio/virtio_ring",
    "virtio/virtio",
    "virtio/virtio_pci_legacy_dev",
    "virtio/virtio_pci_modern_dev",
    "virtio/virtio_pci",
    "block/virtio_blk",
];
/// Size of the EFI system partition, in MiB.
const ESP_MIB: u32 = 64;
/// Size of the root file system, in MiB.
const ROOT_MIB: u32 = 2400;
/// Space before the first partition, in MiB.
const GAP_MIB: u32 = 1;
/// Fixed, because PCR 5 measures them: a new one would be another machine.
const GUID: &str = "6f0d1c2e-0000-4000-8000-00000000000";
/// Sectors in a MiB.
const SECTORS: u32 = 2048;

/// Makes the disk below `vm` unless a complete one is there; returns its path.
pub(super) fn provide(vm: &Path, root: &Root, product: &Product) -> Outcome<PathBuf> {
    let disk = vm.join("disk.img");
    // Written when the disk is complete; holds what it was made from.
    let mark = vm.join("disk.made");
    let recipe = [
        Root::recipe(),
        Root::additions(),
        format!("{GRUB}{INIT}{MODULES:?} {ESP_MIB} {ROOT_MIB} {GUID}\n"),
        product.digest()?,
    ]
    .concat();
    if disk.is_file() && fs::read_to_string(&mark).is_ok_and(|made| made == recipe) {
        return Ok(disk);
    }
    remove(&[&mark, &disk])?;
    let esp = vm.join("esp.img");
    timed("EFI system partition", || system_partition(vm, root, &esp))?;
    let file_system = vm.join("root.img");
    timed("root file system", || {
        let staged = vm.join("staged");
        root.with(product, &staged)?;
        blank(&file_system, ROOT_MIB)?;
        let mut make = privilege::as_root("mke2fs");
        make.args(["-q", "-F", "-t", "ext4", "-L", "root", "-d"]);
        step::run(make.args([&staged, &file_system]))?;
        remove(&[&staged])
    })?;
    timed("disk", || assemble(&disk, &esp, &file_system))?;
    remove(&[&esp, &file_system])?;
    write(&mark, &recipe)?;
    Ok(disk)
}

/// Puts other boot loader settings on a disk, as whoever may write its first partition could.
pub(super) fn set_grub(disk: &Path, text: &str) -> Outcome {
    let file = disk.with_file_name("grub.cfg");
    write(&file, text)?;
    let partition = format!("{}@@{GAP_MIB}M", disk.display());
    let mut copy = Command::new("mcopy");
    copy.args(["-o", "-i", &partition]).arg(&file);
    step::run(copy.arg("::/EFI/debian/grub.cfg"))
}

/// shim, grub with its settings, kernel and initrd.
fn system_partition(vm: &Path, root: &Root, esp: &Path) -> Outcome {
    let kernel = root.kernel()?;
    let initrd = vm.join("initrd.img");
    make_initrd(vm, root, &kernel, &initrd)?;
    let grub = vm.join("grub.cfg");
    write(&grub, GRUB)?;
    blank(esp, ESP_MIB)?;
    let mut format = Command::new("mkfs.vfat");
    format.args(["-F", "32", "-i", "706f7274", "-n", "ESP"]);
    step::run(format.arg(esp).stdout(Stdio::null()))?;
    let mut folders = Command::new("mmd");
    folders.arg("-i").arg(esp);
    step::run(folders.args(["::/EFI", "::/EFI/BOOT", "::/EFI/debian"]))?;
    let files = [
        (
            root.boot.join("usr/lib/shim/shimx64.efi.signed"),
            "::/EFI/BOOT/BOOTX64.EFI",
        ),
        (
            root.boot
                .join("usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed"),
            "::/EFI/BOOT/grubx64.efi",
        ),
        // The signed grub looks for its file there.
        (grub, "::/EFI/debian/grub.cfg"),
        (
            root.boot.join(format!("boot/vmlinuz-{kernel}")),
            "::/vmlinuz",
        ),
        (initrd, "::/initrd.img"),
    ];
    for (from, to) in files {
        let mut copy = Command::new("mcopy");
        copy.arg("-i").arg(esp).arg(from).arg(to);
        step::run(&mut copy)?;
    }
    Ok(())
}

/// Always the same bytes for the same kernel: PCR 9 measures them.
fn make_initrd(vm: &Path, root: &Root, kernel: &str, to: &Path) -> Outcome {
    let tree = vm.join("initrd");
    remove(&[&tree])?;
    for folder in ["bin", "mod", "dev", "proc", "sys", "mnt"] {
        let folder = tree.join(folder);
        fs::create_dir_all(&folder).map_err(|source| Failed::File {
            deed: format!("make '{}'", folder.display()),
            source,
        })?;
    }
    let drivers = root
        .boot
        .join(format!("lib/modules/{kernel}/kernel/drivers"));
    let copies = MODULES.iter().map(|module| {
        let name = module.rsplit('/').next().unwrap_or(module);
        (
            drivers.join(format!("{module}.ko")),
            tree.join(format!("mod/{name}.ko")),
        )
    });
    let busybox = (PathBuf::from("/bin/busybox"), tree.join("bin/busybox"));
    for (from, to) in copies.chain([busybox]) {
        fs::copy(&from, &to).map_err(|source| Failed::File {
            deed: format!("copy '{}'", from.display()),
            source,
        })?;
    }
    write(&tree.join("init"), INIT)?;
    // The paths are given apart, so that none is read by the shell.
    let script = "chmod 755 init && find . -exec touch -hd @0 {} + && find . | LC_ALL=C sort | \
                  cpio -o -H newc --quiet --reproducible -R 0:0 | gzip -9n >\"$1\"";
    let mut pack = Command::new("sh");
    pack.args(["-euc", script, "sh"]).arg(to);
    step::run(pack.current_dir(&tree))
}

/// A GPT disk with both partitions.
fn assemble(disk: &Path, esp: &Path, file_system: &Path) -> Outcome {
    let root_at = GAP_MIB + ESP_MIB;
    // The table is kept twice, the second time at the end.
    blank(disk, root_at + ROOT_MIB + GAP_MIB)?;
    let partition =
        |number: u32, at: u32, size: u32| format!("--new={number}:{}:+{size}M", at * SECTORS);
    let mut table = Command::new("sgdisk");
    table
        .arg(partition(1, GAP_MIB, ESP_MIB))
        .args(["--typecode=1:ef00", &format!("--partition-guid=1:{GUID}1")])
        .arg(partition(2, root_at, ROOT_MIB))
        .args(["--typecode=2:8304", &format!("--partition-guid=2:{GUID}2")])
        .arg(format!("--disk-guid={GUID}0"))
        .arg(disk)
        .stdout(Stdio::null());
    step::run(&mut table)?;
    for (from, at) in [(esp, GAP_MIB), (file_system, root_at)] {
        let mut copy = Command::new("dd");
        copy.arg(format!("if={}", from.display()))
            .arg(format!("of={}", disk.display()))
            .arg(format!("seek={at}"))
            .args(["bs=1M", "conv=notrunc,sparse", "status=none"]);
        step::run(&mut copy)?;
    }
    Ok(())
}

/// An empty file of `mib` MiB, with nothing stored.
pub(super) fn blank(file: &Path, mib: u32) -> Outcome {
    fs::write(file, "")
        .and_then(|()| fs::OpenOptions::new().write(true).open(file))
        .and_then(|new| new.set_len(u64::from(mib) << 20))
        .map_err(|source| Failed::File {
            deed: format!("make '{}'", file.display()),
            source,
        })
}
