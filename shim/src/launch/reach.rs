//! Whether the paths that a client names answer at all.
//!
//! A launch looks at them on the shim's one thread: a network filesystem whose server is gone would
//! hold up every container of the pod. So a child looks first, while the TPM is asked. What it
//! finds is not used, because it is judged later and by descriptor; a server that goes away within
//! the milliseconds in between still holds us up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use containerd_shim_protos::api::Mount;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use nix::sys::statfs::fstatfs;
use portcullis_gate::{Code, Refusal, quote};
use portcullis_hardening::OciConfig;

use crate::{errand, log};

/// How long the filesystems may take to answer, all together.
const LIMIT: Duration = Duration::from_secs(5);

/// Looks at every path of the host that `oci` or `mounts` names.
///
/// # Errors
///
/// `host-unreadable` if one of them does not answer.
pub(super) async fn verify(oci: &OciConfig, mounts: &[Mount]) -> Result<(), Refusal> {
    let paths = named(oci, mounts);
    if paths.is_empty() {
        return Ok(());
    }
    let looked = errand::run(LIMIT, || {
        paths.iter().for_each(|path| look(path));
        Ok(())
    });
    looked.await.map_err(|error| {
        let (subject, expected) = ("paths of this host", "filesystems that answer");
        Refusal::new(
            Code::HostUnreadable,
            subject,
            expected,
            quote(&log::chain(&error)),
        )
    })
}

fn named(oci: &OciConfig, mounts: &[Mount]) -> BTreeSet<PathBuf> {
    let binds = oci.bind_mounts().map(|bind| bind.source);
    let options = mounts.iter().flat_map(|mount| &mount.options);
    // What is not a directory of an overlay is not a path, and is not there.
    let listed = options
        .filter_map(|option| option.split_once('='))
        .flat_map(|(_, value)| value.split(':'));
    let sources = mounts.iter().map(|mount| mount.source.as_str());
    binds
        .chain(listed)
        .chain(sources)
        .filter(|path| path.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

/// Whatever comes of it: only that it comes.
fn look(path: &Path) {
    let flags = OFlag::O_PATH | OFlag::O_CLOEXEC;
    let found = open(path, flags, Mode::empty());
    drop(found.map(|place| fstatfs(&place).map(|_answer| place)));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_every_path_that_is_named() {
        let oci = OciConfig::parse(
            br#"{"ociVersion":"1.0.2","mounts":[
                {"destination":"/data","type":"bind","source":"/srv/data","options":["rbind"]},
                {"destination":"/proc","type":"proc","source":"proc"}]}"#,
        );
        let mount = Mount {
            type_: "overlay".to_owned(),
            source: "overlay".to_owned(),
            options: vec!["lowerdir=/a:/b".to_owned(), "index=off".to_owned()],
            ..Mount::default()
        };
        let expected = ["/a", "/b", "/srv/data"].map(PathBuf::from);
        assert_eq!(named(&oci.unwrap(), &[mount]), BTreeSet::from(expected));
    }
}
