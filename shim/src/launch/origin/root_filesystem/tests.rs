use super::*;

/// A snapshotter's directory with one snapshot of directories, one file, and one in a directory.
struct Snapshots {
    _dir: tempfile::TempDir,
    root: String,
}

fn snapshots() -> Snapshots {
    let dir = tempfile::tempdir().unwrap();
    let root = dir
        .path()
        .join("io.containerd.snapshotter.v1.test/snapshots");
    std::fs::create_dir_all(root.join("1/fs")).unwrap();
    std::fs::write(root.join("2"), "").unwrap();
    std::fs::write(root.join("1/layer.erofs"), "").unwrap();
    std::fs::write(root.join("1/fs/image"), "").unwrap();
    std::os::unix::fs::symlink("/etc", root.join("3")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", root.join("4")).unwrap();
    Snapshots {
        root: root.display().to_string(),
        _dir: dir,
    }
}

fn mount(fstype: &str, source: &str, options: &[&str]) -> Mount {
    Mount {
        type_: fstype.to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|&option| option.to_owned()).collect(),
        ..Mount::default()
    }
}

fn oci(text: &str) -> OciConfig {
    OciConfig::parse(text.as_bytes()).unwrap()
}

fn judged(mount: &Mount, directories: &[String], sources: &[SourcePattern]) -> Option<Code> {
    let mapped = r#"{"ociVersion":"1.0.2","linux":{
        "uidMappings":[{"containerID":0,"hostID":100000,"size":65536}],
        "gidMappings":[{"containerID":0,"hostID":100000,"size":10},
                       {"containerID":10,"hostID":300000,"size":1}]}}"#;
    let allowed = Allowed {
        directories,
        sources,
    };
    refusal(&oci(mapped), mount, allowed).map(|refusal| refusal.code)
}

const DENIED: Option<Code> = Some(Code::RootFilesystemDenied);

#[test]
fn takes_directories_of_snapshots_and_no_other_of_the_host() {
    let at = snapshots();
    let own = format!("{}/1/fs", at.root);
    let overlay = |dirs: &str| mount("overlay", "overlay", &[&format!("lowerdir={dirs}")]);
    assert_eq!(
        judged(&mount("bind", &own, &["rbind", "rro"]), &[], &[]),
        None
    );
    assert_eq!(judged(&overlay(&format!("{own}:{own}")), &[], &[]), None);
    let etc = mount("bind", "/etc", &["rbind"]);
    assert_eq!(judged(&etc, &["/etc".to_owned()], &[]), None);
    for denied in [
        mount("bind", "/", &["rbind"]),
        etc,
        mount("bind", &format!("{}/3", at.root), &["rbind"]),
        mount("bind", &format!("{}/2", at.root), &["rbind"]),
        overlay(&format!("{own}:/etc")),
        overlay(&format!("{own}:")),
        overlay("snapshots/1/fs"),
    ] {
        assert_eq!(judged(&denied, &[], &[]), DENIED, "{denied:?}");
    }
}

#[test]
fn an_option_smuggles_no_directory_in() {
    let at = snapshots();
    let own = format!("lowerdir={}/1/fs", at.root);
    for option in [
        "index=off,lowerdir=/etc",
        "lowerdir+=/etc",
        "datadir+=/etc",
        "ro,lowerdir=/etc",
        "unheard-of",
    ] {
        let overlay = mount("overlay", "overlay", &[&own, option]);
        assert_eq!(judged(&overlay, &[], &[]), DENIED, "{option}");
    }
    let overlay = mount("overlay", "overlay", &[&own, "index=off", "volatile", "ro"]);
    assert_eq!(judged(&overlay, &[], &[]), None);
}

#[test]
fn takes_files_that_a_snapshotter_made_and_none_of_an_image() {
    let at = snapshots();
    let file = |path: &str| format!("{}/{path}", at.root);
    let layer = file("1/layer.erofs");
    let device = format!("device={layer}");
    assert_eq!(
        judged(&mount("erofs", &layer, &["ro", "loop"]), &[], &[]),
        None
    );
    assert_eq!(
        judged(&mount("erofs", &layer, &["ro", &device]), &[], &[]),
        None
    );
    assert_eq!(
        judged(&mount("ext4", &file("2"), &["loop", "direct-io"]), &[], &[]),
        None
    );
    let all = [at.root.clone(), "/etc".to_owned()];
    for denied in [
        mount("ext4", &file("1/fs/image"), &["loop"]),
        mount("ext4", &file("1"), &["loop"]),
        mount("ext4", &file("4"), &["loop"]),
        mount("ext4", "/etc/passwd", &["loop"]),
        mount("ext4", &file("2"), &["loop", "journal_path=/dev/sda1"]),
        mount("xfs", &file("2"), &["loop", "logdev=/dev/sda1"]),
        mount("erofs", &layer, &["device=/etc/passwd"]),
        mount("erofs", &layer, &["fsid=x"]),
        mount("squashfs", &layer, &["loop"]),
    ] {
        // A directory in 'mounts.allow=' is one in which containers may write files.
        assert_eq!(judged(&denied, &all, &[]), DENIED, "{denied:?}");
    }
}

#[test]
fn takes_devices_and_datasets_that_node_policy_names() {
    let named = ["/dev/mapper/pool-snap-*", "tank/containerd/*", "/dev/sdb1"]
        .map(|text| SourcePattern::parse(text).unwrap());
    let thin = "/dev/mapper/pool-snap-7";
    for (taken, mount) in [
        (true, mount("ext4", thin, &["discard"])),
        (true, mount("xfs", thin, &["nouuid", "ro"])),
        (true, mount("zfs", "tank/containerd/42", &[])),
        (true, mount("btrfs", "/dev/sdb1", &["subvolid=300"])),
        (false, mount("ext4", "/dev/mapper/vg-root", &[])),
        (false, mount("ext4", thin, &["loop"])),
        (false, mount("zfs", "tank/home", &[])),
        (false, mount("btrfs", "/dev/sdb1", &["subvol=/"])),
        (false, mount("btrfs", "/dev/sdb1", &["device=/dev/sda1"])),
        (false, mount("vfat", "/dev/sdb1", &[])),
    ] {
        let expected = if taken { None } else { DENIED };
        assert_eq!(judged(&mount, &[], &named), expected, "{mount:?}");
        assert_eq!(judged(&mount, &[], &[]), DENIED, "{mount:?}");
    }
}

#[test]
fn ids_are_mapped_as_the_configuration_says() {
    let at = snapshots();
    let own = format!("lowerdir={}/1/fs", at.root);
    let (uids, gids) = ("uidmap=0:100000:65536", "gidmap=0:100000:10,10:300000:1");
    let overlay = |uids, gids| mount("overlay", "overlay", &[&own, uids, gids]);
    assert_eq!(judged(&overlay(uids, gids), &[], &[]), None);
    for (uids, gids) in [
        ("uidmap=0:0:65536", gids),
        (uids, "gidmap=0:100000:10"),
        ("uidmap=", gids),
        ("uidmap=0:100000:10,10:300000:1", "gidmap=0:100000:65536"),
    ] {
        assert_eq!(
            judged(&overlay(uids, gids), &[], &[]),
            DENIED,
            "{uids} {gids}"
        );
    }
    let unmapped = oci(r#"{"ociVersion":"1.0.2"}"#);
    let allowed = Allowed {
        directories: &[],
        sources: &[],
    };
    assert!(refusal(&unmapped, &overlay(uids, gids), allowed).is_some());
}
