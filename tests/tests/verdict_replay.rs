//! What relying parties remember of verdicts: an older one is a replay for every one of them,
//! whichever saw the newer one, and nothing starts where that cannot be known.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use portcullis_config::paths;
use portcullis_tests::carrier::Carrier;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::{in_world, needs};
use serde_json::json;

/// What relying parties remember.
const MEMORY: &str = "/run/portcullis-gate/seen";
mod needs_containerd {
    use super::*;

    #[test]
    fn an_old_verdict_is_refused_by_all_once_one_has_seen_a_newer_one() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let old = fs::read_to_string(paths::VERDICT).doing("read the verdict")?;
            node.starts()?;
            let before = fs::read_to_string(MEMORY).doing("read the memory")?;
            node.starts()?;
            let again = fs::read_to_string(MEMORY).doing("read the memory")?;
            assert_eq!(again, before, "the first sight of a verdict stays");
            node.attest()?;
            node.starts()?;
            let after = fs::read_to_string(MEMORY).doing("read the memory")?;
            assert_ne!(after, before);
            assert_eq!(
                after.lines().count(),
                2,
                "one line for each verifier: {after}"
            );

            // Each launch has a shim of its own: what refuses is not the memory of a process.
            let carrier = Carrier::start()?;
            carrier.tamper(move |reply| reply["verdict"] = json!(old));
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "refused [verdict-replayed]", "{refusal}");
            drop(carrier);
            let again = fs::read_to_string(MEMORY).doing("read the memory")?;
            assert_eq!(again, after, "a replay is not remembered");
            node.starts()?;
            node.finish()
        })
    }

    #[test]
    fn nothing_starts_where_the_memory_cannot_be_read() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            node.starts()?;
            let whole = fs::read(MEMORY).doing("read the memory")?;
            fs::write(MEMORY, "portcullis-seen 1").doing("damage the memory")?;
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "fault [host-unreadable]", "{refusal}");
            fs::write(MEMORY, whole).doing("mend the memory")?;
            fs::set_permissions(MEMORY, fs::Permissions::from_mode(0o666)).doing("set a mode")?;
            let refusal = node.refuses(&[])?;
            assert_eq!(refusal.short(), "fault [host-unreadable]", "{refusal}");
            fs::set_permissions(MEMORY, fs::Permissions::from_mode(0o600)).doing("set a mode")?;
            node.starts()?;
            assert!(Path::new(MEMORY).exists());
            node.finish()
        })
    }
}
