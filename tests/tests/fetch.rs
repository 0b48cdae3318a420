//! `portcullis-fetch` between a real TLS server and a real agent: what it hands on, and what not.

#[path = "hostile_attestation/forgery.rs"]
mod forgery;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use portcullis_attestation::base64url;
use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::https_server::HttpsServer;
use portcullis_tests::node::Node;
use portcullis_tests::run::{self, Ran};
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::world::World;
use portcullis_tests::{in_world, needs};
use serde_json::{Value, json};

use forgery::{Forger, payload};

/// Settings of these tests.
const SETTINGS: &str = "50-test";
/// The program, as a package installs it.
const FETCH: &str = "/usr/libexec/portcullis/portcullis-fetch";
/// Where it puts the verdict, and the agent finds it.
const VERDICT: &str = "/run/portcullis/remote.jwt";
/// The server's files.
const SERVED: &str = "/run/verifier";
/// The page of this node.
const PAGE: &str = "w7.jwt";
/// There is no verdict that could be handed on.
const EXIT_UNDECIDED: i32 = 2;

/// A node that takes its verdicts from a server, and the verifier behind it.
struct Scene {
    node: Node,
    server: HttpsServer,
    forger: Forger,
    claims: Value,
    issued: u64,
}

// === impl Scene ===

impl Scene {
    fn set(world: &World) -> Outcome<Self> {
        let mut node = Node::provision(world)?;
        let forger = Forger::pin(&node)?;
        let claims = payload(&carried(&node)?)?;
        let server = HttpsServer::start(world, Path::new(SERVED))?;
        from(&node, &server.url(PAGE), &server.authority())?;
        node.stop_agent()?;
        node.start_agent()?;
        assert_eq!(node.refuses(&[])?.short(), "undecided [verdict-missing]");
        Ok(Self {
            node,
            server,
            forger,
            claims,
            issued: 0,
        })
    }

    /// Claims of the next verdict about this node, which ends after `lifetime_s`.
    fn next(&mut self, lifetime_s: u64) -> Outcome<Value> {
        self.issued += 1;
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now_s = now.doing("read the clock")?.as_secs();
        let mut claims = self.claims.clone();
        claims["iat"] = json!(now_s);
        claims["exp"] = json!(now_s + lifetime_s);
        let challenge = format!("challenge {}", self.issued);
        claims["eat_nonce"] = json!(base64url::encode(challenge.as_bytes()));
        let seq = &mut claims["submods"]["host"]["ear_verifier_claims"]["seq"];
        *seq = json!(seq.as_u64().map(|seq| seq + self.issued));
        Ok(claims)
    }

    fn publish(&self, token: &str) -> Outcome {
        self.server.answer(PAGE, "200 OK", "", token)
    }

    /// Has the node carry a verdict that came over the wire, and starts a container on it.
    fn trusted(&mut self) -> Outcome<String> {
        let claims = self.next(600)?;
        let token = self.forger.sign(&claims)?;
        self.publish(&token)?;
        let fetched = fetch()?;
        assert_eq!(fetched.status.code(), Some(0), "{}", fetched.stderr);
        assert_eq!(handed_on()?, token);
        self.until_carried(&token)?;
        self.node.starts()?;
        Ok(token)
    }

    fn until_carried(&self, token: &str) -> Outcome {
        wait::until_true("the agent to carry the verdict", PATIENCE, || {
            carried(&self.node).is_ok_and(|found| found == token)
        })
    }

    fn finish(self) -> Outcome {
        self.server.stop()?;
        self.node.finish()
    }
}

/// Takes verdicts from `url`, whose certificate must be of `authority`.
fn from(node: &Node, url: &str, authority: &str) -> Outcome {
    let settings = format!(
        "[agent]\nverifier = \"remote\"\n[remote]\ninterval = \"1s\"\nurl = \"{url}\"\n\
         authority = \"{authority}\"\n"
    );
    node.set(SETTINGS, &settings)
}

/// The verdict that the agent hands out.
fn carried(node: &Node) -> Outcome<String> {
    let text = node
        .portcullis(&["status", "--output", "json"])?
        .success()?;
    let status: Value = serde_json::from_str(&text).doing("read the status")?;
    let token = status["verdict_token"].as_str().map(str::to_owned);
    token.ok_or_else(|| Failure::new("the agent hands out no verdict"))
}

fn handed_on() -> Outcome<String> {
    fs::read_to_string(VERDICT).doing("read the verdict's file")
}

fn fetch() -> Outcome<Ran> {
    run::to_end(Command::new(FETCH).arg("--once"))
}

/// Fetches, and fails unless nothing was handed on, for a reason of one line that says `why`.
#[track_caller]
fn nothing_from(what: &str, why: &str) -> Outcome {
    let before = fs::read(VERDICT).ok();
    let ran = fetch()?;
    assert_eq!(ran.status.code(), Some(EXIT_UNDECIDED), "{what}: {ran:?}");
    assert_eq!(ran.stderr.lines().count(), 1, "{what}: {}", ran.stderr);
    assert!(ran.stderr.contains(why), "{what}: {}", ran.stderr);
    assert_eq!(fs::read(VERDICT).ok(), before, "{what}: nothing is written");
    Ok(())
}

mod needs_containerd {
    use super::*;

    #[test]
    fn a_verdict_over_the_wire_starts_containers_until_the_server_is_gone() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut scene = Scene::set(world)?;
            scene.trusted()?;

            // As a service it sees that there is a newer one.
            let log = world.logs().join("portcullis-fetch.log");
            let mut service = Daemon::start(&mut Command::new(FETCH), &log)?;
            let claims = scene.next(8)?;
            let last = scene.forger.sign(&claims)?;
            scene.publish(&last)?;
            scene.until_carried(&last)?;
            scene.node.starts()?;

            let Scene { node, server, .. } = scene;
            server.stop()?;
            nothing_from("a server that is gone", "cannot fetch verdict")?;
            node.until_refused("undecided [verdict-expired]")?;
            service.stop()?;
            node.finish()
        })
    }

    #[test]
    fn nothing_else_is_handed_on() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| {
            let mut scene = Scene::set(world)?;
            let token = scene.trusted()?;
            let newer = scene.next(600)?;
            let good = scene.forger.sign(&newer)?;

            let url = scene.server.url(PAGE);
            scene.publish(&good)?;
            from(&scene.node, &url, &scene.server.other_authority())?;
            nothing_from("a server of another authority", "cannot fetch verdict")?;
            from(&scene.node, &url, &scene.server.authority())?;

            let stranger = scene.forger.sign_as_stranger(&newer)?;
            scene.publish(&stranger)?;
            nothing_from("a key that is not pinned", "cannot hand verdict on")?;
            let unsigned = scene.forger.unsigned(&newer)?;
            scene.publish(&unsigned)?;
            nothing_from("no signature", "cannot hand verdict on")?;
            scene.publish(&good.repeat(64))?;
            nothing_from("a body of 64 verdicts", "cannot fetch verdict")?;
            scene.publish("\u{e9}")?;
            nothing_from("a body that is no ASCII", "it is not ASCII")?;

            // The page behind the redirect would do.
            scene.server.answer("newer.jwt", "200 OK", "", &good)?;
            let location = format!("Location: {}\r\n", scene.server.url("newer.jwt"));
            scene.server.answer(PAGE, "302 Found", &location, "")?;
            nothing_from("a redirect", "found 302")?;
            scene.server.answer(PAGE, "404 Not Found", "", &good)?;
            nothing_from("an error page", "found 404")?;

            // Nor does the agent take what it did not get from there.
            fs::write(VERDICT, &stranger).doing("write a verdict")?;
            let ran = scene.node.portcullis(&["attest"])?;
            assert!(!ran.status.success(), "{ran:?}");
            assert_eq!(carried(&scene.node)?, token);
            scene.node.starts()?;

            // And all of it was only as wrong as it was made.
            scene.publish(&good)?;
            assert_eq!(fetch()?.status.code(), Some(0));
            scene.until_carried(&good)?;
            scene.node.starts()?;
            scene.finish()
        })
    }
}
