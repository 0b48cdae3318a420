//! A wire between a TPM's users and a software TPM that is slow, mute, or cuts answers short.
//!
//! Has a pair of ports of its own, as swtpm has: commands on the first, control on the second.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::failure::{Doing, Failure, Outcome};
use crate::swtpm::{self, Swtpm};

/// Header of a TPM message: tag, size, code.
const HEADER_BYTES: usize = 10;
/// Largest message that is handed on.
const LARGEST_BYTES: usize = 8192;
/// Between two looks for the end.
const PAUSE: Duration = Duration::from_millis(5);

/// What the wire does to each command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// Nothing.
    Sound,
    /// Hands the command on after this time.
    Slow(Duration),
    /// Breaks off after this many bytes of an answer.
    BreaksOff(usize),
    /// Leaves out what follows these bytes of an answer, and has its header tell that size.
    Shortens(u8),
    /// Answers every command with this response code.
    Answers(u32),
}

/// The wire; it is cut when this is dropped.
#[derive(Debug)]
pub struct TpmProxy {
    port: u16,
    shared: Arc<Shared>,
    listening: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    wire: Mutex<Wire>,
    /// Code of each command, in order.
    commands: Mutex<Vec<u32>>,
    ends: AtomicBool,
}

// === impl TpmProxy ===

impl TpmProxy {
    /// A sound wire to `tpm`.
    ///
    /// # Errors
    ///
    /// When no pair of ports is free.
    pub fn start(tpm: &Swtpm) -> Outcome<Self> {
        let port = swtpm::free_port_pair().ok_or_else(|| Failure::new("no free ports"))?;
        let shared = Arc::new(Shared {
            wire: Mutex::new(Wire::Sound),
            commands: Mutex::new(Vec::new()),
            ends: AtomicBool::new(false),
        });
        let mut listening = Vec::new();
        for (offset, talk) in [(0, command as Talk), (1, control as Talk)] {
            let own = port + offset;
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, own))
                .doing(format!("listen on port {own}"))?;
            listener.set_nonblocking(true).doing("set up a socket")?;
            let (to, shared) = (tpm.port() + offset, Arc::clone(&shared));
            listening.push(thread::spawn(move || listen(&listener, to, talk, &shared)));
        }
        Ok(Self {
            port,
            shared,
            listening,
        })
    }

    /// The transport as the agent's configuration writes it.
    #[must_use]
    pub fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    /// From now on the wire is like this.
    pub fn be(&self, wire: Wire) {
        *self
            .shared
            .wire
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = wire;
    }

    /// Commands handed on so far.
    #[must_use]
    pub fn commands(&self) -> usize {
        self.shared.codes().len()
    }

    /// `TPM_CC` of each of them after the first `count`, in order.
    #[must_use]
    pub fn codes_after(&self, count: usize) -> Vec<u32> {
        self.shared.codes().iter().skip(count).copied().collect()
    }
}

// === impl Shared ===

impl Shared {
    fn codes(&self) -> MutexGuard<'_, Vec<u32>> {
        self.commands.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for TpmProxy {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        for listening in self.listening.drain(..) {
            if listening.join().is_err() {
                eprintln!("the wire to the TPM panicked");
            }
        }
    }
}

type Talk = fn(&mut TcpStream, &mut TcpStream, &Shared) -> io::Result<bool>;

fn listen(listener: &TcpListener, to: u16, talk: Talk, shared: &Arc<Shared>) {
    while !shared.ends.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::park_timeout(PAUSE);
            continue;
        };
        let shared = Arc::clone(shared);
        // Ends when one of the two ends does.
        thread::spawn(move || carry(client, to, talk, &shared));
    }
}

fn carry(mut client: TcpStream, to: u16, talk: Talk, shared: &Shared) {
    let Ok(mut tpm) = TcpStream::connect((Ipv4Addr::LOCALHOST, to)) else {
        return;
    };
    let ready = client
        .set_nonblocking(false)
        .and_then(|()| client.set_nodelay(true))
        .and_then(|()| tpm.set_nodelay(true));
    if ready.is_err() {
        return;
    }
    // A broken connection is the end of the talk, as it is for a real TPM's users.
    while let Ok(true) = talk(&mut client, &mut tpm, shared) {}
    let _gone = client.shutdown(Shutdown::Both).is_err();
}

/// Hands one command and its answer on; `false` at the end of the connection.
fn command(client: &mut TcpStream, tpm: &mut TcpStream, shared: &Shared) -> io::Result<bool> {
    let Some(command) = message(client)? else {
        return Ok(false);
    };
    let wire = *shared.wire.lock().unwrap_or_else(PoisonError::into_inner);
    let code = [command[6], command[7], command[8], command[9]];
    shared.codes().push(u32::from_be_bytes(code));
    match wire {
        // Nobody unparks this thread: it stands for a chip that takes its time.
        Wire::Slow(by) => thread::park_timeout(by),
        Wire::Answers(code) => {
            let mut answer = vec![0x80, 0x01, 0, 0, 0, 10];
            answer.extend_from_slice(&code.to_be_bytes());
            return client.write_all(&answer).map(|()| true);
        }
        Wire::Sound | Wire::BreaksOff(_) | Wire::Shortens(_) => {}
    }
    tpm.write_all(&command)?;
    let Some(mut answer) = message(tpm)? else {
        return Ok(false);
    };
    if let Wire::BreaksOff(length) = wire {
        client.write_all(&answer[..length.min(answer.len())])?;
        return Ok(false);
    }
    if let Wire::Shortens(length) = wire
        && answer.len() > usize::from(length)
    {
        answer.truncate(length.into());
        answer[2..6].copy_from_slice(&u32::from(length).to_be_bytes());
    }
    client.write_all(&answer).map(|()| true)
}

/// One TPM message, whole; `None` at the end of the stream.
fn message(stream: &mut TcpStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = vec![0; HEADER_BYTES];
    if let Err(error) = stream.read_exact(&mut bytes) {
        return match error.kind() {
            io::ErrorKind::UnexpectedEof => Ok(None),
            _ => Err(error),
        };
    }
    let size = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    let size = usize::try_from(size).map_err(io::Error::other)?;
    if !(HEADER_BYTES..=LARGEST_BYTES).contains(&size) {
        return Err(io::Error::other(format!("a message of {size} bytes")));
    }
    bytes.resize(size, 0);
    stream.read_exact(&mut bytes[HEADER_BYTES..])?;
    Ok(Some(bytes))
}

/// Hands bytes of the control channel on: a request, then its answer.
fn control(client: &mut TcpStream, tpm: &mut TcpStream, _: &Shared) -> io::Result<bool> {
    let mut bytes = [0; 4096];
    let length = client.read(&mut bytes)?;
    if length == 0 {
        return Ok(false);
    }
    tpm.write_all(&bytes[..length])?;
    let length = tpm.read(&mut bytes)?;
    client.write_all(&bytes[..length])?;
    Ok(length > 0)
}
