//! What relying parties remember of verdicts: an older one is a replay for every one of them,
//! whichever saw the newer one, and nothing starts where that cannot be known.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use portcullis_config::paths;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::{in_world, needs};
use serde_json::{Value, json};

/// What relying parties remember.
const MEMORY: &str = "/run/portcullis-gate/seen";
/// Where the agent's socket is while another carrier stands in its place.
const AGENT: &str = "/run/portcullis/agent.behind";

/// One message, without its NUL.
fn message(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut byte = [0];
    loop {
        stream.read_exact(&mut byte)?;
        if byte == [0] {
            return Ok(bytes);
        }
        bytes.extend(byte);
    }
}

/// Passes one call on to the agent, and its answer back with the verdict that it is told to show.
fn carry(mut client: UnixStream, shown: &str) -> io::Result<()> {
    let mut call = message(&mut client)?;
    call.push(0);
    let mut agent = UnixStream::connect(AGENT)?;
    agent.write_all(&call)?;
    let mut answer: Value = serde_json::from_slice(&message(&mut agent)?)?;
    if answer.pointer("/parameters/verdict").is_some() {
        answer["parameters"]["verdict"] = json!(shown);
    }
    let mut answer = answer.to_string().into_bytes();
    answer.push(0);
    client.write_all(&answer)
}

/// Does `with` while a carrier in the agent's place shows an old verdict with the live state of now.
fn replaying(verdict: &str, with: impl FnOnce() -> Outcome) -> Outcome {
    fs::rename(paths::SOCKET, AGENT).doing("move the agent's socket")?;
    let listener = UnixListener::bind(paths::SOCKET).doing("listen in the agent's place")?;
    fs::set_permissions(paths::SOCKET, fs::Permissions::from_mode(0o600)).doing("set a mode")?;
    let has_ended = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        scope.spawn(|| {
            for client in listener.incoming().flatten() {
                if has_ended.load(Ordering::SeqCst) {
                    break;
                }
                // A client that hung up is its own affair.
                drop(carry(client, verdict));
            }
        });
        let outcome = with();
        has_ended.store(true, Ordering::SeqCst);
        drop(UnixStream::connect(paths::SOCKET));
        outcome
    });
    drop(listener);
    fs::rename(AGENT, paths::SOCKET).doing("put the agent's socket back")?;
    outcome
}

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
            replaying(&old, || {
                let refusal = node.refuses(&[])?;
                assert_eq!(refusal.short(), "refused [verdict-replayed]", "{refusal}");
                Ok(())
            })?;
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
