//! The socket: who may call, and what callers cannot do to others.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use portcullis_client::AgentError;
use portcullis_client::method::{InterfaceDescription, ServiceInfo, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};
use serde_json::Value;

use crate::host::{self, Host, SOCKET};

/// Sends raw bytes and reads until the agent hangs up or ends a message.
fn raw(bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(SOCKET).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // The agent may hang up before it has read everything.
    drop(stream.write_all(bytes));
    let mut answer = Vec::new();
    let mut byte = [0];
    while let Ok(1) = stream.read(&mut byte) {
        if byte == [0] {
            break;
        }
        answer.push(byte[0]);
    }
    String::from_utf8(answer).unwrap()
}

#[test]
fn introspection_tells_who_it_is_and_what_it_can_do() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let service = host.call(&ServiceInfo {}).unwrap();
        assert_eq!(
            service.interfaces,
            ["org.varlink.service", "dev.portcullis.Agent"]
        );
        for (interface, text) in [
            ("dev.portcullis.Agent", portcullis_client::INTERFACE),
            ("org.varlink.service", portcullis_client::SERVICE_INTERFACE),
        ] {
            let interface = interface.to_owned();
            let reply = host.call(&InterfaceDescription { interface }).unwrap();
            assert_eq!(reply.description, text);
        }
        let interface = "org.example".to_owned();
        let refused = host.call(&InterfaceDescription { interface }).unwrap_err();
        assert!(
            matches!(refused, AgentError::InterfaceNotFound { .. }),
            "{refused}"
        );
        host.stop()
    })
}

#[test]
fn what_is_no_call_gets_one_line_and_the_agent_lives() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let huge = vec![b' '; 1024 * 1024 + 1];
        let cases: [(&[u8], &str); 11] = [
            (b"\0", "InvalidParameter"),
            (b"garbage\0", "InvalidParameter"),
            (b"\xff\xfe\0", "InvalidParameter"),
            (b"[]\0", "InvalidParameter"),
            (b"{\"method\":\"a\",\"method\":\"b\"}\0", "InvalidParameter"),
            (b"{\"method\":7}\0", "InvalidParameter"),
            (b"{\"method\":\"org.example.X\"}\0", "InterfaceNotFound"),
            (b"{\"method\":\"dev.portcullis.Agent.Nope\"}\0", "MethodNotFound"),
            (
                b"{\"method\":\"dev.portcullis.Agent.Snapshot\",\"parameters\":{\"deadline_ms\":-1}}\0",
                "InvalidParameter",
            ),
            (
                b"{\"method\":\"dev.portcullis.Agent.Status\",\"parameters\":{\"x\":1}}\0",
                "InvalidParameter",
            ),
            (&huge, "InvalidParameter"),
        ];
        for (bytes, error) in cases {
            let answer = raw(bytes);
            let value: Value = serde_json::from_str(&answer).unwrap();
            let name = value["error"].as_str().unwrap();
            assert!(name.ends_with(error), "{answer}");
            assert_eq!(answer.lines().count(), 1);
        }
        host.call(&Status {}).unwrap();
        host.stop()
    })
}

#[test]
fn a_slow_client_holds_up_nobody() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        // Connected and silent, half a call, and a call whose answer is never read.
        let _silent: Vec<_> = (0..50)
            .map(|_| UnixStream::connect(SOCKET).unwrap())
            .collect();
        let mut half = UnixStream::connect(SOCKET).unwrap();
        half.write_all(b"{\"method\":").unwrap();
        let mut deaf = UnixStream::connect(SOCKET).unwrap();
        deaf.write_all(b"{\"method\":\"dev.portcullis.Agent.Status\"}\0")
            .unwrap();
        host.snapshot_within(Duration::from_secs(1)).unwrap();
        host.stop()
    })
}

#[test]
fn more_clients_than_the_limit_are_told_that_it_is_busy() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let mut held = Vec::new();
        let mut busy = None;
        for _ in 0..600 {
            let mut stream = UnixStream::connect(SOCKET).unwrap();
            stream
                .set_read_timeout(Some(Duration::from_millis(1)))
                .unwrap();
            let mut answer = [0; 200];
            if let Ok(count) = stream.read(&mut answer) {
                busy = Some(String::from_utf8_lossy(&answer[..count]).into_owned());
                break;
            }
            held.push(stream);
        }
        assert!(busy.unwrap().contains("dev.portcullis.Agent.Busy"));
        drop(held);
        wait::until_true("room again", PATIENCE, || host.try_call(&Status {}).is_ok())?;
        host.stop()
    })
}

#[test]
fn only_root_may_call() -> Outcome {
    if std::env::var_os(host::CALLER).is_some() {
        println!(
            "answer: {}",
            raw(b"{\"method\":\"dev.portcullis.Agent.Status\"}\0")
        );
        return Ok(());
    }
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        // Even if someone opened the doors.
        fs::set_permissions("/run/portcullis", fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o666)).unwrap();
        let printed = host::test_as_nobody("needs_root::socket::only_root_may_call")?;
        let refused = "answer: {\"error\":\"org.varlink.service.PermissionDenied\"";
        assert!(printed.contains(refused), "{printed}");
        host.stop()
    })
}
