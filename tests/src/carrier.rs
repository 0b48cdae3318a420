//! A carrier between relying parties and the agent that changes what it carries.
//!
//! It stands for an agent under foreign control, or for whoever sits on its socket: root of the
//! host, but without the verifier's key. Only for use inside a world.

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use serde_json::Value;

use crate::failure::{Doing, Outcome};

/// The socket that relying parties ask.
const SOCKET: &str = "/run/portcullis/agent.sock";
/// The agent's own socket while the carrier sits on [`SOCKET`].
const BEHIND: &str = "/run/portcullis/agent.behind.sock";
/// The call of a launch.
const SNAPSHOT: &str = "dev.portcullis.Agent.Snapshot";
/// Between two looks for the end.
const PAUSE: Duration = Duration::from_millis(5);

/// What the carrier does to the reply of a snapshot: to its `parameters`.
pub type Tamper = Box<dyn Fn(&mut Value) + Send>;

/// A carrier in place of the agent; the agent is back in its place when this is dropped.
pub struct Carrier {
    shared: Arc<Shared>,
    listening: Option<JoinHandle<()>>,
}

struct Shared {
    tamper: Mutex<Option<Tamper>>,
    carried: Mutex<Option<Value>>,
    ends: AtomicBool,
}

// === impl Carrier ===

impl Carrier {
    /// Takes the agent's place and hands everything on as it is.
    ///
    /// # Errors
    ///
    /// When there is no agent, or the socket cannot be made.
    pub fn start() -> Outcome<Self> {
        fs::rename(SOCKET, BEHIND).doing("put the agent's socket aside")?;
        let listener = UnixListener::bind(SOCKET).doing("listen in the agent's place")?;
        fs::set_permissions(SOCKET, fs::Permissions::from_mode(0o600)).doing("set a mode")?;
        listener.set_nonblocking(true).doing("set up a socket")?;
        let shared = Arc::new(Shared {
            tamper: Mutex::new(None),
            carried: Mutex::new(None),
            ends: AtomicBool::new(false),
        });
        let seen = Arc::clone(&shared);
        let listening = thread::spawn(move || listen(&listener, &seen));
        Ok(Self {
            shared,
            listening: Some(listening),
        })
    }

    /// From now on, `tamper` changes each snapshot.
    pub fn tamper(&self, tamper: impl Fn(&mut Value) + Send + 'static) {
        *lock(&self.shared.tamper) = Some(Box::new(tamper));
    }

    /// From now on, everything is handed on as it is.
    pub fn be_honest(&self) {
        *lock(&self.shared.tamper) = None;
    }

    /// The last snapshot that the agent gave, as the agent gave it.
    #[must_use]
    pub fn carried(&self) -> Option<Value> {
        lock(&self.shared.carried).clone()
    }
}

impl std::fmt::Debug for Carrier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Carrier").finish_non_exhaustive()
    }
}

impl Drop for Carrier {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::Relaxed);
        let ended = self.listening.take().map(JoinHandle::join);
        if !matches!(ended, Some(Ok(()))) {
            eprintln!("the carrier panicked");
        }
        if let Err(error) = fs::rename(BEHIND, SOCKET) {
            eprintln!("the agent's socket is not back in its place: {error}");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn listen(listener: &UnixListener, shared: &Arc<Shared>) {
    while !shared.ends.load(Ordering::Relaxed) {
        let Ok((client, _)) = listener.accept() else {
            thread::park_timeout(PAUSE);
            continue;
        };
        let shared = Arc::clone(shared);
        // Ends when its client hangs up, as every client of a world does.
        thread::spawn(move || {
            if let Err(error) = carry(client, &shared) {
                eprintln!("carrier: {error}");
            }
        });
    }
}

/// Carries the calls and replies of one client.
fn carry(mut client: UnixStream, shared: &Shared) -> io::Result<()> {
    client.set_nonblocking(false)?;
    let mut agent = UnixStream::connect(BEHIND)?;
    while let Some(call) = message(&mut client)? {
        agent.write_all(&call)?;
        let Some(reply) = message(&mut agent)? else {
            return Ok(());
        };
        let reply = if method(&call).as_deref() == Some(SNAPSHOT) {
            changed(reply, shared)
        } else {
            reply
        };
        client.write_all(&reply)?;
    }
    Ok(())
}

/// One message with its NUL; `None` at the end of the stream.
fn message(stream: &mut UnixStream) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 * 1024];
    while bytes.last() != Some(&0) {
        match stream.read(&mut piece)? {
            0 => return Ok(None),
            length => bytes.extend_from_slice(&piece[..length]),
        }
    }
    Ok(Some(bytes))
}

fn method(call: &[u8]) -> Option<String> {
    let call: Value = serde_json::from_slice(call.strip_suffix(&[0])?).ok()?;
    Some(call.get("method")?.as_str()?.to_owned())
}

fn changed(reply: Vec<u8>, shared: &Shared) -> Vec<u8> {
    let parsed = reply.strip_suffix(&[0]).map(serde_json::from_slice);
    let Some(Ok(mut message)) = parsed else {
        return reply;
    };
    let message: &mut Value = &mut message;
    let Some(parameters) = message.get_mut("parameters") else {
        return reply;
    };
    if parameters.get("live").is_none() {
        return reply;
    }
    *lock(&shared.carried) = Some(parameters.clone());
    if let Some(tamper) = lock(&shared.tamper).as_ref() {
        tamper(parameters);
    }
    let mut bytes = message.to_string().into_bytes();
    bytes.push(0);
    bytes
}
