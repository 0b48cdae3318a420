//! Tests that make files of root's.

/// Whether this runs as root; says that the test is skipped if it does not.
pub(crate) fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root; run as root, or with 'cargo xtask test'");
    }
    is_root
}
