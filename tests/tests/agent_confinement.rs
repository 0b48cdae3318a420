//! The agent's own rights, as the kernel tells them about the process that really serves. What a
//! process so confined can and cannot do is tried out in `agent/src/confinement/tests.rs`.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use portcullis_tests::daemon::Daemon;
use portcullis_tests::failure::{Doing, Failure, Outcome};
use portcullis_tests::node::Node;
use portcullis_tests::{in_world, needs, run};

const AGENT: &str = "/usr/libexec/portcullis/portcullis-agent";
const RUN: &str = "/run/portcullis";

/// What the status of a thread says of its rights.
const CONFINED: [&str; 8] = [
    "Uid:\t0\t0\t0\t0",
    "CapInh:\t0000000000000000",
    "CapPrm:\t0000000000000000",
    "CapEff:\t0000000000000000",
    "CapBnd:\t0000000000000000",
    "CapAmb:\t0000000000000000",
    "NoNewPrivs:\t1",
    "Seccomp:\t2",
];

fn agent_pid(node: &Node) -> Outcome<u32> {
    let pid = node.agent().and_then(Daemon::pid);
    pid.ok_or_else(|| Failure::new("no agent runs"))
}

/// The name of each thread and what its status says.
fn threads(pid: u32) -> Outcome<Vec<(String, String)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/task")).doing("list the threads")? {
        let folder = entry.doing("list the threads")?.path();
        // A thread that served a client may be gone by now.
        let name = fs::read_to_string(folder.join("comm"));
        let status = fs::read_to_string(folder.join("status"));
        if let (Ok(name), Ok(status)) = (name, status) {
            found.push((name.trim_end().to_owned(), status));
        }
    }
    Ok(found)
}

fn assert_confined(pid: u32) -> Outcome<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    for (name, status) in threads(pid)? {
        for line in CONFINED {
            assert!(
                status.lines().any(|one| one == line),
                "thread '{name}': no '{line}' in {status}"
            );
        }
        names.insert(name);
    }
    Ok(names)
}

mod needs_containerd {
    use super::*;

    #[test]
    fn every_thread_is_without_rights_through_all_of_its_work() -> Outcome {
        needs!(Root, Swtpm, Containerd, Runc, Busybox, Programs);
        in_world!(|world| {
            // Enrols, captures, attests and provisions a tag.
            let node = Node::provision(world)?;
            let pid = agent_pid(&node)?;
            let names = assert_confined(pid)?;
            assert!(
                names.contains("tpm") && names.contains("ledger"),
                "{names:?}"
            );
            // Snapshot and record.
            node.starts()?;
            node.attest()?;
            assert_confined(pid)?;

            let shown = node.portcullis(&["status"])?.success()?;
            assert!(
                shown
                    .lines()
                    .any(|line| line.split_whitespace().eq(["confinement", "full"])),
                "{shown}"
            );
            let json = node
                .portcullis(&["status", "--output", "json"])?
                .success()?;
            let json: serde_json::Value = serde_json::from_str(&json).doing("read the status")?;
            assert_eq!(json["confinement"]["level"], "full");
            assert_eq!(json["confinement"]["missing"], serde_json::json!([]));
            node.finish()
        })
    }

    #[test]
    fn a_directory_in_the_place_of_its_own_is_closed_to_it_although_it_is_root() -> Outcome {
        needs!(Root, Swtpm, Containerd, Runc, Busybox, Programs);
        in_world!(|world| {
            let node = Node::provision(world)?;
            let aside = "/run/aside";
            fs::rename(RUN, aside).doing("move the agent's directory away")?;
            fs::create_dir(RUN).doing("make another directory")?;
            fs::set_permissions(RUN, fs::Permissions::from_mode(0o700)).doing("set its mode")?;
            fs::hard_link(format!("{aside}/agent.sock"), format!("{RUN}/agent.sock"))
                .doing("put the socket there")?;
            let ran = node.portcullis(&["attest"])?;
            let said = ran.stdout + &ran.stderr;
            let denied = said.contains("Permission denied");
            assert!(!ran.status.success() && denied, "{said}");
            assert_eq!(fs::read_dir(RUN).doing("list it")?.count(), 1);

            fs::remove_dir_all(RUN).doing("remove the other directory")?;
            fs::rename(aside, RUN).doing("move the agent's directory back")?;
            node.attest()?;
            node.starts()?;
            node.finish()
        })
    }
}

mod needs_root {
    use super::*;

    fn install() -> Outcome {
        portcullis_tests::programs::install()?;
        fs::create_dir_all("/etc/portcullis").doing("make the settings' directory")?;
        let shipped = portcullis_tests::programs::shipped("config/portcullis.toml");
        fs::copy(shipped, "/etc/portcullis/portcullis.toml").doing("install the settings")?;
        Ok(())
    }

    /// As the shipped unit starts it: root without a capability, who can gain none.
    #[test]
    fn it_starts_where_the_service_manager_left_it_no_capability() -> Outcome {
        needs!(Root, Programs);
        in_world!(|world| {
            install()?;
            let mut command = Command::new("setpriv");
            command.args([
                "--bounding-set=-all",
                "--inh-caps=-all",
                "--no-new-privs",
                AGENT,
            ]);
            let log = world.logs().join("agent.log");
            let mut agent = Daemon::start(&mut command, &log)?;
            // It listens a moment before it is confined, and serves after that.
            let serves = || fs::read_to_string(&log).is_ok_and(|log| log.contains("serving"));
            agent.until_ready(serves)?;
            let pid = agent.pid().ok_or_else(|| Failure::new("no agent runs"))?;
            assert_confined(pid)?;
            assert!(agent.stop()?.success());
            Ok(())
        })
    }

    #[test]
    fn it_does_not_start_when_a_right_cannot_be_given_up() -> Outcome {
        needs!(Root, Programs);
        in_world!(|_world| {
            install()?;
            // Without CAP_SETPCAP what is left in the bounding set stays there.
            let mut command = Command::new("setpriv");
            command.args([
                "--bounding-set",
                "-setpcap",
                "--inh-caps",
                "-setpcap",
                AGENT,
            ]);
            let ran = run::to_end(&mut command)?;
            assert_eq!(ran.status.code(), Some(70), "{}", ran.stderr);
            let expected = "cannot drop capabilities: cannot empty the Bounding set";
            assert!(ran.stderr.contains(expected), "{}", ran.stderr);
            let socket = Path::new(RUN).join("agent.sock");
            assert!(std::os::unix::net::UnixStream::connect(socket).is_err());
            Ok(())
        })
    }
}
