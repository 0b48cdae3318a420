use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::*;
use crate::method::{Attest, AttestReply, Status};

/// Long enough that only a hanging client reaches it.
const PLENTY: Duration = Duration::from_secs(20);
const SOCKET: &str = "/run/portcullis/agent.sock";
const REPLY: &[u8] = b"{\"parameters\":{\"status\":\"none\",\"findings\":[]}}\0";

/// A client and the far end of its connection.
fn pair(allowed: Duration) -> (Client, UnixStream) {
    let (near, far) = UnixStream::pair().unwrap();
    let client = Client::over(near, Path::new(SOCKET), allowed, Instant::now() + allowed);
    (client, far)
}

/// Reads one call from the far end.
fn read_call(far: &mut UnixStream) -> Vec<u8> {
    let mut call = Vec::new();
    let mut byte = [0];
    while far.read(&mut byte).unwrap() == 1 && byte != [0] {
        call.push(byte[0]);
    }
    call
}

/// Answers one call with the given pieces, each written by itself, then closes.
fn answering(mut far: UnixStream, pieces: Vec<Vec<u8>>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let call = read_call(&mut far);
        for piece in pieces {
            if far.write_all(&piece).is_err() {
                break;
            }
        }
        call
    })
}

fn call_answered_with(pieces: Vec<Vec<u8>>) -> Result<AttestReply, ClientError> {
    let (mut client, far) = pair(PLENTY);
    let server = answering(far, pieces);
    let reply = client.call(&Attest::default());
    drop(client);
    assert_eq!(
        server.join().unwrap(),
        b"{\"method\":\"dev.portcullis.Agent.Attest\",\"parameters\":{}}"
    );
    reply
}

#[test]
fn returns_the_reply_to_its_call() {
    let reply = call_answered_with(vec![REPLY.to_vec()]).unwrap();
    assert_eq!(reply.status, "none");
    assert_eq!(reply.verdict, None);
}

#[test]
fn returns_a_reply_that_arrives_in_single_bytes() {
    let bytes = REPLY.iter().map(|byte| vec![*byte]).collect();
    assert_eq!(call_answered_with(bytes).unwrap().status, "none");
}

#[test]
fn makes_several_calls_on_one_connection() {
    let (mut client, mut far) = pair(PLENTY);
    let server = std::thread::spawn(move || {
        for _ in 0..3 {
            read_call(&mut far);
            far.write_all(REPLY).unwrap();
        }
    });
    for _ in 0..3 {
        assert_eq!(client.call(&Attest::default()).unwrap().status, "none");
    }
    server.join().unwrap();
}

#[test]
fn times_out_when_the_agent_is_silent() {
    let (mut client, _far) = pair(Duration::from_millis(30));
    let error = client.call(&Attest::default()).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "cannot get an answer from '/run/portcullis/agent.sock' within 30 ms"
    );
}

#[test]
fn times_out_when_the_agent_drips_bytes_without_end() {
    let (mut client, mut far) = pair(Duration::from_millis(60));
    let (stop, stopped) = mpsc::channel::<()>();
    let server = std::thread::spawn(move || {
        read_call(&mut far);
        // Each byte arrives well within a limit per read; only a limit for the whole call ends it.
        while stopped.recv_timeout(Duration::from_millis(2)).is_err() {
            if far.write_all(b" ").is_err() {
                break;
            }
        }
    });
    let error = client.call(&Attest::default()).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
    drop(client);
    drop(stop);
    server.join().unwrap();
}

#[test]
fn times_out_when_the_agent_does_not_read_the_call() {
    let (mut client, _far) = pair(Duration::from_millis(30));
    let call = vec![b' '; 8 * 1024 * 1024];
    let error = client.exchange(&call).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[test]
fn has_no_time_left_for_a_second_call_after_the_deadline() {
    let (mut client, _far) = pair(Duration::ZERO);
    let error = client.call(&Status {}).unwrap_err();
    assert!(matches!(error, ClientError::TimedOut { .. }), "{error:?}");
}

#[test]
fn refuses_half_a_reply() {
    let error = call_answered_with(vec![b"{\"parameters\":{\"sta".to_vec()]).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
    assert_eq!(
        error.to_string(),
        "cannot receive reply from '/run/portcullis/agent.sock': the agent closed the connection"
    );
}

#[test]
fn refuses_a_connection_that_closes_without_a_reply() {
    let error = call_answered_with(vec![]).unwrap_err();
    assert!(matches!(error, ClientError::Closed { .. }), "{error:?}");
}

#[test]
fn refuses_an_oversized_reply() {
    let mebibyte = vec![b' '; crate::FRAME_LIMIT_BYTES];
    let error = call_answered_with(vec![mebibyte, vec![b' '; 2]]).unwrap_err();
    assert!(matches!(error, ClientError::Oversized(_)), "{error:?}");
}

#[test]
fn accepts_a_reply_of_exactly_the_limit() {
    let mut reply = REPLY[..REPLY.len() - 1].to_vec();
    reply.resize(crate::FRAME_LIMIT_BYTES, b' ');
    assert_eq!(
        call_answered_with(vec![reply, vec![0]]).unwrap().status,
        "none"
    );
}

#[test]
fn refuses_garbage_and_duplicate_keys() {
    for garbage in [
        b"\xff\xfe\0".as_slice(),
        b"\0",
        b"HTTP/1.1 200 OK\r\n\r\n\0",
        b"{\"parameters\":{\"status\":\"none\",\"findings\":[],\"findings\":[]}}\0",
        b"{\"parameters\":{\"status\":\"none\",\"findings\":[]}}{}\0",
    ] {
        let error = call_answered_with(vec![garbage.to_vec()]).unwrap_err();
        assert!(matches!(error, ClientError::Malformed(_)), "{error:?}");
    }
}

#[test]
fn refuses_a_second_reply_nobody_asked_for() {
    let (mut client, far) = pair(PLENTY);
    let server = answering(far, vec![[REPLY, REPLY].concat()]);
    client.call(&Attest::default()).unwrap();
    let error = client.call(&Attest::default()).unwrap_err();
    assert!(
        matches!(error, ClientError::Unsolicited { .. }),
        "{error:?}"
    );
    server.join().unwrap();
}

#[test]
fn passes_on_the_error_the_agent_answers_with() {
    let reply = crate::encode_error(&AgentError::Busy {});
    let error = call_answered_with(vec![reply]).unwrap_err();
    assert!(
        matches!(error, ClientError::Agent(AgentError::Busy {})),
        "{error:?}"
    );
}

#[test]
fn cannot_connect_where_nobody_listens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let error = Client::connect(&path, PLENTY).unwrap_err();
    assert!(
        matches!(&error, ClientError::Connect { source, .. }
        if source.kind() == io::ErrorKind::NotFound),
        "{error:?}"
    );
    drop(UnixListener::bind(&path).unwrap());
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    let error = Client::connect(&path, PLENTY).unwrap_err();
    let refused = matches!(&error, ClientError::Connect { source, .. }
        if source.kind() == io::ErrorKind::ConnectionRefused);
    // A directory of another user than root is refused before anything is asked.
    let untrusted = matches!(error, ClientError::Peer(_));
    assert_eq!(
        (refused, untrusted),
        if is_root() {
            (true, false)
        } else {
            (false, true)
        }
    );
}

#[test]
fn gives_up_connecting_when_the_queue_of_the_listener_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("agent.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // The shortest queue takes one connection; nobody accepts it.
    nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).unwrap()).unwrap();
    let _first = open(&path, PLENTY).unwrap();
    let begun = Instant::now();
    assert_eq!(
        open(&path, Duration::from_millis(30)).unwrap_err(),
        nix::Error::EAGAIN
    );
    assert!(begun.elapsed() < PLENTY);
}

fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

mod needs_root {
    use super::*;

    #[test]
    fn connects_to_a_socket_of_root() {
        if !is_root() {
            assert!(
                !std::env::var("PORTCULLIS_TEST_REQUIRE")
                    .unwrap_or_default()
                    .contains("root"),
                "needs root"
            );
            println!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let server = std::thread::spawn(move || {
            answering(listener.accept().unwrap().0, vec![REPLY.to_vec()])
        });
        let mut client = Client::connect(&path, PLENTY).unwrap();
        assert_eq!(client.call(&Attest::default()).unwrap().status, "none");
        server.join().unwrap().join().unwrap();
    }

    #[test]
    fn refuses_a_socket_that_others_may_write_to() {
        if !is_root() {
            println!("skipped: needs root");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.sock");
        let _listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
        let error = Client::connect(&path, PLENTY).unwrap_err();
        assert!(matches!(error, ClientError::Peer(_)), "{error:?}");
    }
}
