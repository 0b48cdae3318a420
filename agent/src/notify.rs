//! Telling systemd how far we are.

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Names the socket of the service manager; it is absent without one.
const NOTIFY_SOCKET: &str = "NOTIFY_SOCKET";

/// The agent serves calls.
pub(crate) const READY: &str = "READY=1";
/// The agent is shutting down.
pub(crate) const STOPPING: &str = "STOPPING=1";

/// The service manager that started us.
#[derive(Debug)]
pub(crate) struct Manager(UnixDatagram);

// === impl Manager ===

impl Manager {
    /// Connects to the service manager; none if none started us. Comes before the agent gives up
    /// the right to make sockets.
    ///
    /// # Errors
    ///
    /// If the manager's socket cannot be reached.
    ///
    /// # Source
    ///
    /// systemd, "sd_notify": a datagram to `$NOTIFY_SOCKET`; a leading `@` means an abstract name.
    pub(crate) fn find() -> io::Result<Option<Self>> {
        match std::env::var_os(NOTIFY_SOCKET) {
            Some(socket) => Self::at(&socket).map(Some),
            None => Ok(None),
        }
    }

    fn at(socket: &OsStr) -> io::Result<Self> {
        let address = match socket.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(socket)?,
        };
        let connected = UnixDatagram::unbound()?;
        connected.connect_addr(&address)?;
        Ok(Self(connected))
    }

    /// Tells it `state`.
    ///
    /// # Errors
    ///
    /// If it is gone.
    pub(crate) fn tell(&self, state: &str) -> io::Result<()> {
        self.0.send(state.as_bytes()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(socket: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let count = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..count].to_vec()).unwrap()
    }

    #[test]
    fn reaches_a_socket_in_the_file_system() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("notify");
        let manager = UnixDatagram::bind(&path).unwrap();
        Manager::at(path.as_os_str()).unwrap().tell(READY).unwrap();
        assert_eq!(received(&manager), "READY=1");
    }

    #[test]
    fn reaches_an_abstract_socket() {
        let name = format!("portcullis-agent-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let found = Manager::at(OsStr::new(&format!("@{name}"))).unwrap();
        found.tell(STOPPING).unwrap();
        assert_eq!(received(&manager), "STOPPING=1");
    }

    #[test]
    fn says_when_the_manager_is_not_there() {
        let gone = Manager::at(OsStr::new("/nonexistent/notify")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
    }
}
