//! News of drift by `agent.on_drift_webhook`, posted to a TLS server.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::wait;
use portcullis_tests::webhook::{ADDRESS, Webhook};
use portcullis_tests::world::World;
use portcullis_tests::{in_world, needs, require};
use serde_json::Value;

/// A part of the address that belongs in no log.
const SECRET: &str = "s3cret-token";
/// Four attempts and the pauses between them, where the server answers at once.
const ALL_ATTEMPTS: Duration = Duration::from_secs(60);

fn has_openssl() -> bool {
    let found = require::find("openssl").is_some();
    if !found {
        eprintln!("skipped: needs openssl; install package 'openssl'");
    }
    found
}

/// A node that tells `server`, by the address of a file that only root reads.
fn telling(world: &World, authority: &Path) -> Outcome<Node> {
    let mut node = Node::provision(world)?;
    let name = "55-webhook";
    node.set(
        name,
        &format!(
            "[agent]\non_drift_webhook = \"https://{ADDRESS}/hook/{SECRET}\"\n\
             on_drift_webhook_ca = \"{}\"\n",
            authority.display()
        ),
    )?;
    let path = format!("/etc/portcullis/portcullis.d/{name}.toml");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).doing("set a mode")?;
    node.watch("")?;
    Ok(node)
}

fn said(node: &Node, line: &str) -> Outcome {
    wait::until_true(&format!("'{line}' in the journal"), ALL_ATTEMPTS, || {
        node.agent_log().contains(line)
    })
    .map_err(|failure| Failure::new(format!("{failure}: {}", node.agent_log())))
}

mod needs_swtpm {
    use super::*;

    #[test]
    fn drift_is_posted_again_until_the_server_takes_it() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        if !has_openssl() {
            return Ok(());
        }
        in_world!(|world| {
            let folder = world.private().join("server");
            let answers = ["302 Found", "503 Busy", "204 No Content"];
            let server = Webhook::start(&folder, &answers)?;
            let node = telling(world, &server.authority())?;
            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            said(
                &node,
                "drift told to webhook server='https://127.0.0.1:8443'",
            )?;

            let received = server.received();
            let heads: Vec<&str> = received
                .lines()
                .filter(|line| line.contains("HTTP/1.1"))
                .collect();
            // Three attempts, and none of them elsewhere.
            let head = format!("POST /hook/{SECRET} HTTP/1.1");
            assert_eq!(heads, [head.as_str(); 3], "{received}");
            let types = received.to_ascii_lowercase();
            let types = types.matches("content-type: application/json\r\n").count();
            assert_eq!(types, 3, "{received}");
            let body = received.lines().find(|line| line.starts_with('{'));
            let event: Value = serde_json::from_str(body.unwrap_or_default()).doing("read it")?;
            assert_eq!(event["event"], "drift");
            assert_eq!(event["findings"][0]["code"], "pcr-drift", "{event}");

            let log = node.agent_log();
            assert!(log.contains("expected status 2xx, found 302"), "{log}");
            assert!(log.contains("expected status 2xx, found 503"), "{log}");
            assert!(!log.contains(SECRET), "{log}");
            server.finish()?;
            node.finish()
        })
    }

    #[test]
    fn nothing_is_posted_to_a_server_of_another_authority() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        if !has_openssl() {
            return Ok(());
        }
        in_world!(|world| {
            let folder = world.private().join("server");
            let server = Webhook::start(&folder, &["204 No Content"; 5])?;
            let node = telling(world, &server.other_authority()?)?;
            node.tpm.extend(7, [7; 32]).doing("extend PCR 7")?;
            said(
                &node,
                "drift not told to webhook cause='cannot post: cannot ask",
            )?;
            let log = node.agent_log();
            assert_eq!(log.matches("webhook does not answer, retrying").count(), 3);
            assert!(log.contains("UnknownIssuer"), "{log}");
            assert!(!log.contains(SECRET), "{log}");
            assert_eq!(server.received(), "");
            server.finish()?;
            node.finish()
        })
    }
}
