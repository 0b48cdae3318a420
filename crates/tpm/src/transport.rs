//! Frames in, frames out: one command and one answer at a time, by a deadline.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::deadline::Deadline;
use crate::tcti::Tcti;

/// Size of tag, length and response code.
pub(crate) const HEADER_BYTES: usize = 10;
/// The largest frame a PC Client TPM sends or takes (TPM_MAX_COMMAND_SIZE); the kernel refuses
/// larger ones too.
pub(crate) const FRAME_LIMIT_BYTES: usize = 4096;

/// An open way to the TPM. Closed by dropping it.
#[derive(Debug)]
pub(crate) struct Transport {
    stream: Stream,
}

#[derive(Debug)]
enum Stream {
    Device(File),
    Socket(TcpStream),
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) enum TransportError {
    /// The deadline passed. A late answer may still come, so the transport must be dropped.
    Timeout,
    /// Opening, sending or receiving failed.
    Broken(io::Error),
    /// The answer's length field is impossible, or more bytes came than it says.
    Framing { announced_bytes: usize },
}

// === impl Transport ===

impl Transport {
    /// Opens the way that `tcti` names.
    pub(crate) fn open(tcti: &Tcti, deadline: &Deadline) -> Result<Self, TransportError> {
        let stream = match tcti {
            Tcti::Device(path) => {
                // With O_NONBLOCK the kernel runs the command aside and poll() tells when the
                // answer is there; without it, read() would wait for the chip without limit.
                let file = OpenOptions::new()
                    .read(true)
                    .write(true)
                    .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC | libc::O_NOCTTY)
                    .open(path)
                    .map_err(TransportError::Broken)?;
                Stream::Device(file)
            }
            Tcti::Swtpm(at) => {
                let left = deadline.remaining().ok_or(TransportError::Timeout)?;
                let socket = TcpStream::connect_timeout(at, left)?;
                socket.set_nodelay(true)?;
                socket.set_nonblocking(true)?;
                Stream::Socket(socket)
            }
        };
        Ok(Self { stream })
    }

    /// Sends `command` and fills `answer` with the whole answer, header included.
    ///
    /// After any error the transport is out of step and must be dropped.
    pub(crate) fn exchange(
        &mut self,
        command: &[u8],
        answer: &mut Vec<u8>,
        deadline: &Deadline,
    ) -> Result<(), TransportError> {
        self.send(command, deadline)?;
        self.receive(answer, deadline)
    }

    fn send(&mut self, mut command: &[u8], deadline: &Deadline) -> Result<(), TransportError> {
        while !command.is_empty() {
            match self.stream.write(command) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(sent) => command = command.get(sent..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.wait_for(PollFlags::POLLOUT, deadline)?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn receive(&mut self, answer: &mut Vec<u8>, deadline: &Deadline) -> Result<(), TransportError> {
        // The device hands over the answer in one piece if the buffer is large enough.
        let mut piece = [0; FRAME_LIMIT_BYTES];
        answer.clear();
        loop {
            self.wait_for(PollFlags::POLLIN, deadline)?;
            match self.stream.read(&mut piece) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => answer.extend_from_slice(piece.get(..count).unwrap_or_default()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::WouldBlock) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(announced_bytes) = announced_bytes(answer) else {
                continue;
            };
            if !(HEADER_BYTES..=FRAME_LIMIT_BYTES).contains(&announced_bytes)
                || answer.len() > announced_bytes
            {
                return Err(TransportError::Framing { announced_bytes });
            }
            if answer.len() == announced_bytes {
                return Ok(());
            }
        }
    }

    fn wait_for(&self, events: PollFlags, deadline: &Deadline) -> Result<(), TransportError> {
        loop {
            let left = deadline.remaining().ok_or(TransportError::Timeout)?;
            // Rounded up, so that the last millisecond is waited for and not spun through.
            let left = left.saturating_add(Duration::from_micros(999));
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
            match poll(&mut [PollFd::new(self.stream.as_fd(), events)], timeout) {
                Ok(0) | Err(Errno::EINTR) => {}
                // An error or a hang-up shows in the read or write that follows.
                Ok(_) => return Ok(()),
                Err(errno) => return Err(TransportError::Broken(errno.into())),
            }
        }
    }
}

/// The length field, once it is there.
///
/// ```text
/// 80 01 | 00 00 00 0a | 00 00 00 00     tag, length, response code
/// ```
fn announced_bytes(answer: &[u8]) -> Option<usize> {
    let length = answer.get(2..6)?.first_chunk::<4>()?;
    usize::try_from(u32::from_be_bytes(*length)).ok()
}

// === impl Stream ===

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Device(file) => file.as_fd(),
            Self::Socket(socket) => socket.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Device(file) => file.read(buffer),
            Self::Socket(socket) => socket.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        match self {
            Self::Device(file) => file.write(buffer),
            Self::Socket(socket) => socket.write(buffer),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

// === impl TransportError ===

impl From<io::Error> for TransportError {
    fn from(error: io::Error) -> Self {
        if error.kind() == ErrorKind::TimedOut {
            Self::Timeout
        } else {
            Self::Broken(error)
        }
    }
}

impl From<ErrorKind> for TransportError {
    fn from(kind: ErrorKind) -> Self {
        Self::Broken(kind.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    const COMMAND: &[u8] = &[0x80, 0x01, 0, 0, 0, 10, 0, 0, 1, 0x81];

    /// Serves one connection: reads a command, then sends `pieces`, then does `last`.
    fn peer(pieces: Vec<Vec<u8>>, hold_open: bool) -> (Tcti, thread::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcti = Tcti::Swtpm(listener.local_addr().unwrap());
        let serving = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut command = [0; COMMAND.len()];
            stream.read_exact(&mut command).unwrap();
            for piece in pieces {
                stream.write_all(&piece).unwrap();
            }
            if hold_open {
                // Ends when the client hangs up.
                assert_eq!(stream.read(&mut command).unwrap(), 0);
            }
        });
        (tcti, serving)
    }

    fn exchange(pieces: Vec<Vec<u8>>, hold_open: bool, ms: u64) -> Result<Vec<u8>, TransportError> {
        let (tcti, serving) = peer(pieces, hold_open);
        let deadline = Deadline::within(Duration::from_millis(ms));
        let mut answer = Vec::new();
        let mut transport = Transport::open(&tcti, &deadline).unwrap();
        let outcome = transport.exchange(COMMAND, &mut answer, &deadline);
        drop(transport);
        serving.join().unwrap();
        outcome.map(|()| answer)
    }

    #[test]
    fn an_answer_in_pieces_is_put_together() {
        let whole = [0x80, 0x01, 0, 0, 0, 12, 0, 0, 0, 0, 7, 8];
        let pieces = whole.chunks(1).map(<[u8]>::to_vec).collect();
        assert_eq!(exchange(pieces, true, 5000).unwrap(), whole);
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        assert!(matches!(
            exchange(vec![], true, 30),
            Err(TransportError::Timeout)
        ));
        let half = vec![vec![0x80, 0x01, 0, 0, 0, 10]];
        assert!(matches!(
            exchange(half, true, 30),
            Err(TransportError::Timeout)
        ));
    }

    #[test]
    fn a_hang_up_is_not_an_answer() {
        let half = vec![vec![0x80, 0x01, 0, 0, 0, 10]];
        assert!(matches!(
            exchange(half, false, 5000),
            Err(TransportError::Broken(_))
        ));
    }

    #[test]
    fn an_impossible_length_is_refused_at_once() {
        for length in [0_u32, 9, 4097, u32::MAX] {
            let mut header = vec![0x80, 0x01];
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(&[0; 4]);
            let refused = exchange(vec![header], true, 5000);
            assert!(
                matches!(refused, Err(TransportError::Framing { .. })),
                "{length}"
            );
        }
    }

    #[test]
    fn bytes_after_the_answer_are_refused() {
        let mut answer = vec![0x80, 0x01, 0, 0, 0, 10, 0, 0, 0, 0];
        answer.push(0);
        assert!(matches!(
            exchange(vec![answer], true, 5000),
            Err(TransportError::Framing {
                announced_bytes: 10
            })
        ));
    }

    #[test]
    fn nobody_listening_is_not_a_timeout() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcti = Tcti::Swtpm(listener.local_addr().unwrap());
        drop(listener);
        let deadline = Deadline::within(Duration::from_secs(5));
        let refused = Transport::open(&tcti, &deadline);
        assert!(matches!(refused, Err(TransportError::Broken(_))));
    }
}
