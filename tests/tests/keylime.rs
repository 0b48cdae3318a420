//! A node whose verdicts come from a real Keylime verifier through our adapter.

use std::fs;
use std::process::Command;

use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::keylime::{Keylime, PCR, UUID};
use portcullis_tests::node::Node;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::World;
use portcullis_tests::{in_world, needs};

/// Settings of these tests.
const SETTINGS: &str = "50-test";
/// Where the adapter's verdict key is.
const KEYS: &str = "/run/operator/keys";
/// Where it is pinned.
const PINNED: &str = "/etc/portcullis/trust.d/remote.jwk";
/// The adapter's settings.
const ADAPTER: &str = "/etc/portcullis/keylime.toml";
/// The file that agent, adapter and fetcher share.
const VERDICT: &str = "/run/portcullis/remote.jwt";

/// Makes a verifier's key, pins it in place of the agent's, and has the agent carry its verdicts.
fn trust_remote(node: &mut Node, settings: &str) -> Outcome {
    let generate = ["keys", "generate", "--use", "verdict", "--name", "remote"];
    let mut generate = generate.to_vec();
    generate.extend(["--out", KEYS]);
    node.portcullis(&generate)?.success()?;
    for entry in fs::read_dir("/etc/portcullis/trust.d")
        .doing("list pinned keys")?
        .flatten()
    {
        if entry.file_name().to_string_lossy().starts_with("verdict") {
            fs::remove_file(entry.path()).doing("unpin the agent's key")?;
        }
    }
    fs::copy(format!("{KEYS}/remote.jwk"), PINNED).doing("pin a key")?;
    node.set(
        SETTINGS,
        &format!("[agent]\nverifier = \"remote\"\n[remote]\ninterval = \"1s\"\n{settings}"),
    )?;
    node.stop_agent()?;
    node.start_agent()
}

fn adapter(world: &World, node: &Node, keylime: &Keylime) -> Outcome<Daemon> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").doing("ask for the name")?;
    let settings = format!(
        "verifier = \"https://127.0.0.1:8881\"\nauthority = \"{}\"\ncertificate = \"{}\"\n\
         certificate_key = \"{}\"\nsigning_key = \"{KEYS}/remote.pem\"\npoll_interval_s = 1\n\
         [[node]]\nname = \"{}\"\nagent = \"{UUID}\"\nueid = \"{}\"\nverdict = \"{VERDICT}\"\n",
        keylime.authority("cacert.crt"),
        keylime.authority("client-cert.crt"),
        keylime.authority("client-private.pem"),
        name.trim(),
        node.ueid,
    );
    fs::write(ADAPTER, settings).doing("write the adapter's settings")?;
    Daemon::start(
        &mut Command::new("portcullis-keylime"),
        &world.logs().join("portcullis-keylime.log"),
    )
}

mod needs_keylime {
    use super::*;

    #[test]
    fn what_keylime_says_decides_launches() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs, Keylime
        );
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let mut keylime = Keylime::start(world, &node.tpm)?;
            trust_remote(&mut node, "")?;
            assert_eq!(node.refuses(&[])?.short(), "undecided [verdict-missing]");

            let mut adapter = adapter(world, &node, &keylime)?;
            keylime.until("PASS")?;
            wait::until_true("a container that starts", PATIENCE, || {
                node.starts().is_ok()
            })?;

            // A PCR at which only Keylime looks: the live reading of the gate does not.
            node.tpm.extend(PCR, [0x5a; 32]).doing("extend a PCR")?;
            keylime.until("FAIL")?;
            node.until_refused("refused [vector-contraindicated]")?;

            keylime.stop_verifier()?;
            keylime.stop_node()?;
            adapter.stop()?;
            keylime.finish()?;
            node.finish()
        })
    }

    #[test]
    fn a_silent_keylime_lets_the_verdict_run_out() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs, Keylime
        );
        in_world!(|world| {
            let mut node = Node::provision(world)?;
            let mut keylime = Keylime::start(world, &node.tpm)?;
            trust_remote(&mut node, "")?;
            let mut adapter = adapter(world, &node, &keylime)?;
            wait::until_true("a container that starts", PATIENCE, || {
                node.starts().is_ok()
            })?;
            keylime.stop_verifier()?;
            node.until_refused("undecided [verdict-expired]")?;
            adapter.stop()?;
            keylime.finish()?;
            node.finish()
        })
    }
}
