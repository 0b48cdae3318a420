use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use portcullis_gate::Code;
use tempfile::TempDir;

use super::{FILE_LIMIT_BYTES, Root};

const DIRECTORY: &str = "/etc/portcullis";
const FILE: &str = "/etc/portcullis/portcullis.toml";

/// An empty scratch root that the user of the test owns.
pub(crate) fn scratch() -> (TempDir, Root) {
    let directory = tempfile::tempdir().expect("scratch directory");
    let root = Root::scratch(directory.path(), nix::unistd::geteuid().as_raw());
    (directory, root)
}

fn beneath(directory: &TempDir, path: &str) -> std::path::PathBuf {
    directory.path().join(path.trim_start_matches('/'))
}

/// Writes the file at the absolute path `path` beneath the scratch root, with the modes that a
/// package would give it and its directories, whatever the umask of the user is.
pub(crate) fn write(directory: &TempDir, path: &str, content: impl AsRef<[u8]>) {
    let file = beneath(directory, path);
    let parent = file.parent().expect("a directory");
    fs::create_dir_all(parent).expect("directories");
    for made in parent
        .ancestors()
        .take_while(|made| *made != directory.path())
    {
        set_mode(made, 0o755);
    }
    fs::write(&file, content).expect("file");
    set_mode(&file, 0o644);
}

fn with_file(text: &str) -> (TempDir, Root) {
    let (directory, root) = scratch();
    write(&directory, FILE, text);
    (directory, root)
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("chmod");
}

fn code(root: &Root) -> Code {
    root.file(FILE).expect_err("an untrusted file").code
}

#[test]
fn a_file_of_the_owner_is_read() {
    let (_directory, root) = with_file("mode = 'audit'\n");
    let file = root.file(FILE).expect("trusted").expect("there");
    assert_eq!(file.text, "mode = 'audit'\n");
    assert!(file.path.ends_with(FILE));
}

#[test]
fn an_absent_file_or_directory_is_no_fault_here() {
    let (_directory, root) = scratch();
    assert!(root.file(FILE).expect("nothing wrong").is_none());
    assert!(root.directory(DIRECTORY).expect("nothing wrong").is_none());
}

#[test]
fn what_cannot_be_opened_is_a_fault_of_the_host() {
    let (directory, root) = scratch();
    drop(directory);
    assert_eq!(code(&root), Code::HostUnreadable);
}

#[test]
fn a_file_of_another_owner_is_refused() {
    let (directory, _) = with_file("");
    let other = Root::scratch(directory.path(), nix::unistd::geteuid().as_raw() + 1);
    let fault = other.file(FILE).expect_err("wrong owner");
    assert_eq!(fault.code, Code::ConfigUntrusted);
    assert!(fault.expected.starts_with("owner uid "));
}

#[test]
fn a_file_or_directory_that_others_may_write_is_refused() {
    for (path, mode, refused) in [
        (FILE, 0o644, false),
        (FILE, 0o400, false),
        (FILE, 0o664, true),
        (FILE, 0o646, true),
        (DIRECTORY, 0o755, false),
        (DIRECTORY, 0o775, true),
        (DIRECTORY, 0o757, true),
        (DIRECTORY, 0o1777, true),
        ("/etc", 0o775, true),
        ("/", 0o777, true),
    ] {
        let (directory, root) = with_file("");
        set_mode(&beneath(&directory, path), mode);
        let outcome = root.file(FILE).map(|file| file.is_some());
        match outcome {
            Ok(there) => assert!(there && !refused, "{path} {mode:o}"),
            Err(fault) => {
                assert!(refused, "{path} {mode:o}: {fault}");
                assert_eq!(fault.code, Code::ConfigUntrusted, "{path} {mode:o}");
                assert!(fault.remedy.starts_with("run 'chmod go-w "), "{fault}");
            }
        }
    }
}

#[test]
fn links_are_not_followed_anywhere() {
    let (directory, root) = with_file("");
    let file = beneath(&directory, FILE);
    fs::rename(&file, file.with_extension("real")).expect("rename");
    symlink(file.with_extension("real"), &file).expect("symlink");
    assert_eq!(code(&root), Code::ConfigUntrusted);

    let (directory, root) = with_file("");
    let linked = beneath(&directory, DIRECTORY);
    fs::rename(&linked, linked.with_extension("real")).expect("rename");
    symlink(linked.with_extension("real"), &linked).expect("symlink");
    assert_eq!(code(&root), Code::ConfigUntrusted);
}

#[test]
fn only_regular_files_are_read() {
    let (directory, root) = with_file("");
    let file = beneath(&directory, FILE);
    fs::remove_file(&file).expect("remove");
    fs::create_dir(&file).expect("directory");
    assert_eq!(code(&root), Code::ConfigUntrusted);

    fs::remove_dir(&file).expect("remove");
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRUSR).expect("fifo");
    assert_eq!(code(&root), Code::ConfigUntrusted);

    fs::remove_file(&file).expect("remove");
    let _listener = std::os::unix::net::UnixListener::bind(&file).expect("socket");
    assert_eq!(code(&root), Code::ConfigUntrusted);
}

#[test]
fn a_file_may_be_as_large_as_the_limit_and_no_larger() {
    let limit = usize::try_from(FILE_LIMIT_BYTES).expect("fits");
    let (_directory, root) = with_file(&"#".repeat(limit));
    assert_eq!(
        root.file(FILE).expect("trusted").expect("there").text.len(),
        limit
    );
    let (_directory, root) = with_file(&"#".repeat(limit + 1));
    assert_eq!(code(&root), Code::ConfigMalformed);
}

#[test]
fn text_that_is_not_utf_8_is_refused_with_its_offset() {
    let (directory, root) = with_file("");
    write(&directory, FILE, b"mode = \"\xff\"");
    let fault = root.file(FILE).expect_err("not text");
    assert_eq!(fault.found, "another byte at offset 8");
}

#[test]
fn files_come_in_the_order_of_their_names_and_hidden_ones_do_not_count() {
    let (directory, root) = with_file("");
    for name in [
        "20-b.toml",
        "10-a.toml",
        ".10-a.toml",
        "30-c.toml~",
        "README",
    ] {
        write(&directory, &format!("{DIRECTORY}/{name}"), name);
    }
    let mut faults = Vec::new();
    let directory = root.directory(DIRECTORY).expect("trusted").expect("there");
    let texts: Vec<String> = directory
        .files(".toml", &mut faults)
        .into_iter()
        .map(|file| file.text)
        .collect();
    assert_eq!(texts, ["10-a.toml", "20-b.toml", ""]);
    assert_eq!(faults, []);
}
