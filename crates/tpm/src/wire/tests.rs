//! The wire against a peer that answers from a script.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;

use super::*;
use crate::error::Failure;
use tpm2_protocol::frame::{TpmReadClockCommand, TpmReadClockResponse};

/// What the peer does next.
#[derive(Clone)]
enum Act {
    /// Takes one command and sends this.
    Answer(Vec<u8>),
    /// Breaks the connection and takes the next one.
    Reconnect,
}

/// Plays `script`, then hands back the listener, which holds connections nobody expected.
fn scripted(script: Vec<Act>) -> (Wire, thread::JoinHandle<TcpListener>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let wire = Wire::new(Tcti::Swtpm(listener.local_addr().unwrap()));
    let serving = thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        for act in script {
            match act {
                Act::Answer(answer) => {
                    let mut command = [0; 10];
                    stream.read_exact(&mut command).unwrap();
                    stream.write_all(&answer).unwrap();
                }
                Act::Reconnect => {
                    drop(stream);
                    stream = listener.accept().unwrap().0;
                }
            }
        }
        listener
    });
    (wire, serving)
}

fn code_only(code: u32) -> Act {
    let mut answer = vec![0x80, 0x01, 0, 0, 0, 10];
    answer.extend_from_slice(&code.to_be_bytes());
    Act::Answer(answer)
}

fn clock_bytes() -> Vec<u8> {
    let mut answer = vec![0x80, 0x01, 0, 0, 0, 35, 0, 0, 0, 0];
    answer.extend_from_slice(&[0; 8]); // time
    answer.extend_from_slice(&[0; 8]); // clock
    answer.extend_from_slice(&3_u32.to_be_bytes());
    answer.extend_from_slice(&1_u32.to_be_bytes());
    answer.push(1); // safe
    answer
}

fn clock() -> Act {
    Act::Answer(clock_bytes())
}

fn read_clock(repeat: Repeat) -> Command {
    Command::new("ReadClock", &TpmReadClockCommand::default(), 0, repeat).unwrap()
}

fn patient() -> Deadline {
    Deadline::within(Duration::from_secs(10))
}

fn run(wire: &mut Wire) -> Result<TpmReadClockResponse, TpmError> {
    wire.run(&read_clock(Repeat::Harmless), &patient())
}

#[test]
fn a_retry_is_sent_again_until_it_succeeds() {
    let (mut wire, serving) = scripted(vec![code_only(0x922), code_only(0x922), clock()]);
    let answer = run(&mut wire).unwrap();
    assert_eq!(answer.current_time.clock_info.reset_count.value(), 3);
    serving.join().unwrap();
}

#[test]
fn endless_retries_end_at_the_deadline() {
    let (mut wire, serving) = scripted(vec![code_only(0x922); 10_000]);
    let deadline = Deadline::within(Duration::from_millis(30));
    let refused = wire
        .run_raw(&read_clock(Repeat::Harmless), &deadline)
        .unwrap_err();
    assert_eq!(refused.failure(), Failure::Busy);
    assert_eq!(
        refused.to_string(),
        "cannot run ReadClock within 30 ms: the TPM answers 0x00000922 TPM_RC_RETRY"
    );
    drop(wire);
    assert!(
        serving.join().is_err(),
        "the peer still had answers to give"
    );
}

#[test]
fn codes_of_the_resource_manager_are_reported_as_they_are() {
    let (mut wire, serving) = scripted(vec![code_only(0x000b_0143)]);
    let refused = run(&mut wire).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "cannot run ReadClock: the TPM answers 0x000b0143"
    );
    assert_eq!(refused.failure(), Failure::Failed);
    serving.join().unwrap();
}

#[test]
fn a_connection_lost_between_commands_is_opened_again() {
    let (mut wire, serving) = scripted(vec![clock(), Act::Reconnect, clock()]);
    run(&mut wire).unwrap();
    run(&mut wire).unwrap();
    serving.join().unwrap();
}

#[test]
fn a_command_that_changes_state_is_not_sent_twice() {
    let (mut wire, serving) = scripted(vec![clock()]);
    run(&mut wire).unwrap();
    let listener = serving.join().unwrap(); // which has hung up
    let refused = wire
        .run_raw(&read_clock(Repeat::Never), &patient())
        .unwrap_err();
    assert_eq!(refused.failure(), Failure::Unreachable);
    listener.set_nonblocking(true).unwrap();
    let second = listener.accept().unwrap_err();
    assert_eq!(second.kind(), io::ErrorKind::WouldBlock);
}

#[test]
fn a_connection_that_breaks_twice_is_unreachable() {
    let (mut wire, serving) = scripted(vec![clock()]);
    run(&mut wire).unwrap();
    drop(serving.join().unwrap());
    let refused = run(&mut wire).unwrap_err();
    assert_eq!(refused.failure(), Failure::Unreachable);
}

#[test]
fn an_answer_to_another_command_is_refused() {
    let mut short = clock_bytes();
    short.truncate(34);
    if let Some(length) = short.get_mut(5) {
        *length = 34;
    }
    let (mut wire, serving) = scripted(vec![Act::Answer(short)]);
    let refused = run(&mut wire).unwrap_err();
    assert!(
        matches!(
            refused,
            TpmError::Decode {
                command: "ReadClock",
                ..
            }
        ),
        "{refused}"
    );
    serving.join().unwrap();
}

#[test]
fn a_bool_of_two_is_refused() {
    let mut odd = clock_bytes();
    if let Some(safe) = odd.last_mut() {
        *safe = 2;
    }
    let (mut wire, serving) = scripted(vec![Act::Answer(odd)]);
    assert!(matches!(run(&mut wire), Err(TpmError::Decode { .. })));
    serving.join().unwrap();
}
