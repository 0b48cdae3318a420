use super::*;

/// A node with the kubelet on the root file system: an empty directory, a secret, a subpath of
/// the empty directory, a subpath of a host path, a local volume on a disk of its own, one of a
/// disk that the host does not mount, and a part of a disk of which the host shows another part.
const NODE: &str = "\
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
23 22 0:21 / /proc rw shared:2 - proc proc rw
40 22 8:17 / /mnt/disks/ssd\\0401 rw shared:9 - ext4 /dev/sdb1 rw
41 22 8:33 /b /srv/b rw shared:9 - ext4 /dev/sdc1 rw
50 22 0:44 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~secret/s rw - tmpfs tmpfs rw
51 22 8:1 /var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/e/x /var/lib/kubelet/pods/u/volume-subpaths/e/c/0 rw - ext4 /dev/sda1 rw
52 22 8:1 /etc/kubernetes /var/lib/kubelet/pods/u/volume-subpaths/h/c/1 rw - ext4 /dev/sda1 rw
53 22 8:17 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~local-volume/l rw - ext4 /dev/sdb1 rw
54 22 8:49 / /var/lib/kubelet/plugins/kubernetes.io/csi/x/globalmount rw - ext4 /dev/sdd1 rw
55 22 8:49 / /var/lib/kubelet/pods/u/volumes/kubernetes.io~csi/c/mount rw - ext4 /dev/sdd1 rw
56 22 8:33 /a /var/lib/kubelet/pods/u/volumes/kubernetes.io~local-volume/a rw - ext4 /dev/sdc1 rw
57 22 8:1 /etc/shadow /var/lib/kubelet/pods/u/volume-subpaths/h/c/2 rw - ext4 /dev/sda1 rw
58 23 0:4 mnt:[4026531840] /run/ns rw - nsfs nsfs rw
";

/// The same with a disk for the kubelet, in a node that is itself a container.
const NESTED: &str = "\
100 1 0:60 / / rw,relatime - overlay overlay rw
101 100 8:1 /docker/volumes/v/_data /var rw - ext4 /dev/sda1 rw
102 101 8:1 /docker/volumes/v/_data/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/e /var/lib/kubelet/pods/u/volume-subpaths/e/c/0 rw - ext4 /dev/sda1 rw
103 100 8:17 / /var/lib/kubelet rw - ext4 /dev/sdb1 rw
104 103 8:17 /pods/u/volumes/kubernetes.io~empty-dir/f /var/lib/kubelet/pods/u/volume-subpaths/f/c/0 rw - ext4 /dev/sdb1 rw
105 103 8:17 / /var/lib/kubelet/pods/u/volume-subpaths/whole/c/0 rw - ext4 /dev/sdb1 rw
";

const KUBELET: &str = "/var/lib/kubelet";

fn origin(table: &str, id: u64, path: &str) -> Option<Origin> {
    let table = MountTable::parse(table.as_bytes()).unwrap();
    table.origin(id, &Path::new(KUBELET).join(path), &[Path::new(KUBELET)])
}

fn elsewhere(paths: &[&str]) -> Option<Origin> {
    let paths = paths.iter().map(PathBuf::from).collect();
    Some(Origin::Elsewhere(paths))
}

#[test]
fn what_no_mount_shows_lies_where_it_is() {
    let plain = "pods/u/volumes/kubernetes.io~empty-dir/e";
    assert_eq!(origin(NODE, 22, plain), Some(Origin::Here));
    // The mount of the kubelet's own directory counts as the host's.
    assert_eq!(origin(NESTED, 103, plain), Some(Origin::Here));
}

#[test]
fn a_file_system_of_a_volume_is_its_own() {
    let secret = "pods/u/volumes/kubernetes.io~secret/s/token";
    assert_eq!(origin(NODE, 50, secret), Some(Origin::Own));
    let disk = "pods/u/volumes/kubernetes.io~csi/c/mount/directory";
    assert_eq!(origin(NODE, 55, disk), Some(Origin::Own));
}

#[test]
fn a_bind_leads_to_its_source() {
    for (id, path, source) in [
        (
            51,
            "pods/u/volume-subpaths/e/c/0/y",
            "/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/e/x/y",
        ),
        (52, "pods/u/volume-subpaths/h/c/1", "/etc/kubernetes"),
        (
            52,
            "pods/u/volume-subpaths/h/c/1/pki",
            "/etc/kubernetes/pki",
        ),
        (57, "pods/u/volume-subpaths/h/c/2", "/etc/shadow"),
        (
            53,
            "pods/u/volumes/kubernetes.io~local-volume/l",
            "/mnt/disks/ssd 1",
        ),
    ] {
        assert_eq!(origin(NODE, id, path), elsewhere(&[source]), "{path}");
    }
    // The host shows another part of this disk.
    let hidden = "pods/u/volumes/kubernetes.io~local-volume/a";
    assert_eq!(origin(NODE, 56, hidden), elsewhere(&[]));
}

#[test]
fn a_part_of_a_file_system_leads_to_its_source_too() {
    assert_eq!(
        origin(NESTED, 102, "pods/u/volume-subpaths/e/c/0"),
        elsewhere(&["/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/e"])
    );
    assert_eq!(
        origin(NESTED, 104, "pods/u/volume-subpaths/f/c/0"),
        elsewhere(&["/var/lib/kubelet/pods/u/volumes/kubernetes.io~empty-dir/f"])
    );
    assert_eq!(
        origin(NESTED, 105, "pods/u/volume-subpaths/whole/c/0"),
        elsewhere(&["/var/lib/kubelet"])
    );
}

#[test]
fn the_same_volume_by_another_name_of_the_directory_is_no_source() {
    let table = format!("{NODE}60 22 8:17 / /alias/pods/u/volumes/l rw - ext4 /dev/sdb1 rw\n");
    let table = MountTable::parse(table.as_bytes()).unwrap();
    let directory = [Path::new("/alias"), Path::new(KUBELET)];
    assert_eq!(
        table.origin(60, Path::new("/alias/pods/u/volumes/l"), &directory),
        elsewhere(&["/mnt/disks/ssd 1"])
    );
}

#[test]
fn what_the_table_does_not_know_has_no_origin() {
    assert_eq!(origin(NODE, 999, "pods"), None);
    assert_eq!(origin(NODE, 52, "pods/u/elsewhere"), None);
}

#[test]
fn a_text_that_is_no_table_is_not_read() {
    for line in [
        "x",
        "1 2 3",
        "1 2 8:1 / relative rw",
        "1 2 8:1 / /a\\04 rw",
        "1 2 8:1 / /\\777",
    ] {
        assert_eq!(MountTable::parse(line.as_bytes()), None, "{line}");
    }
    let here = MountTable::read().unwrap();
    assert!(here.0.iter().any(|mount| mount.point == Path::new("/")));
}
