//! The wire path: typed commands over the transport, without sessions.

use std::io;
use std::time::Duration;

use nix::poll::{PollTimeout, poll};
use tpm2_protocol::TpmWriter;
use tpm2_protocol::basic::TpmHandle;
use tpm2_protocol::data::{TpmSt, TpmsAuthCommand};
use tpm2_protocol::frame::{TpmFrame, TpmResponse, TpmUnmarshalBody, tpm_marshal_command};

use crate::deadline::Deadline;
use crate::error::TpmError;
use crate::response_code::ResponseCode;
use crate::tcti::Tcti;
use crate::transport::{FRAME_LIMIT_BYTES, HEADER_BYTES, Transport, TransportError};

/// TPM_RS_PW: authorisation by plain password, which is always empty here.
const PASSWORD_SESSION: u32 = 0x4000_0009;
/// Pause before a command is sent again after TPM_RC_RETRY.
const RETRY_PAUSE: Duration = Duration::from_millis(2);

/// Whether a command may be sent a second time when its connection breaks under it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It reads only, so running it twice is harmless.
    Harmless,
    /// It changes the TPM's state; whether the first one ran is not known.
    Never,
}

/// One command, ready to be sent.
#[derive(Debug)]
pub(crate) struct Command {
    name: &'static str,
    frame: Vec<u8>,
    repeat: Repeat,
}

/// A connection that is opened when needed and reopened once when it broke.
#[derive(Debug)]
pub(crate) struct Wire {
    tcti: Tcti,
    transport: Option<Transport>,
    answer: Vec<u8>,
}

// === impl Command ===

impl Command {
    /// Encodes `command`; each of its first `passwords` handles is authorised by the empty
    /// password.
    pub(crate) fn new<C: TpmFrame>(
        name: &'static str,
        command: &C,
        passwords: usize,
        repeat: Repeat,
    ) -> Result<Self, TpmError> {
        let encode = |error: tpm2_protocol::TpmError| TpmError::Encode {
            command: name,
            reason: error.to_string(),
        };
        let session = TpmsAuthCommand {
            session_handle: TpmHandle::new(PASSWORD_SESSION),
            ..TpmsAuthCommand::default()
        };
        let tag = if passwords == 0 {
            TpmSt::NoSessions
        } else {
            TpmSt::Sessions
        };
        let mut buffer = [0; FRAME_LIMIT_BYTES];
        let mut writer = TpmWriter::new(&mut buffer);
        tpm_marshal_command(command, tag, &vec![session; passwords], &mut writer)
            .map_err(encode)?;
        Ok(Self {
            name,
            frame: writer.as_bytes().to_vec(),
            repeat,
        })
    }
}

// === impl Wire ===

impl Wire {
    /// A wire that is not connected yet.
    pub(crate) fn new(tcti: Tcti) -> Self {
        Self {
            tcti,
            transport: None,
            answer: Vec::new(),
        }
    }

    /// Hangs up. The next command connects again.
    pub(crate) fn close(&mut self) {
        self.transport = None;
    }

    /// Runs `command` and decodes its answer.
    pub(crate) fn run<R: TpmUnmarshalBody>(
        &mut self,
        command: &Command,
        deadline: &Deadline,
    ) -> Result<R, TpmError> {
        let name = command.name;
        let frame = self.run_raw(command, deadline)?;
        let decode = |error: tpm2_protocol::TpmError| TpmError::Decode {
            command: name,
            reason: error.to_string(),
        };
        TpmResponse::cast(frame)
            .and_then(TpmResponse::unmarshal)
            .map_err(decode)
    }

    /// Runs `command` and returns the frame of a successful answer.
    pub(crate) fn run_raw(
        &mut self,
        command: &Command,
        deadline: &Deadline,
    ) -> Result<&[u8], TpmError> {
        let mut asked_again = None;
        loop {
            match (self.exchange(command, deadline), asked_again) {
                (Ok(()), _) => {}
                (Err(TpmError::Timeout { .. }), Some(code)) => {
                    return Err(busy(command, deadline, code));
                }
                (Err(error), _) => return Err(error),
            }
            // Read before any decoding: the codec does not know the codes of a resource manager.
            let code = response_code(&self.answer);
            if code == ResponseCode::SUCCESS {
                return Ok(&self.answer);
            }
            if !code.asks_for_retry() {
                return Err(TpmError::Run {
                    command: command.name,
                    code,
                });
            }
            asked_again = Some(code);
            let left = deadline
                .remaining()
                .ok_or_else(|| busy(command, deadline, code))?;
            let pause = PollTimeout::try_from(left.min(RETRY_PAUSE)).unwrap_or(PollTimeout::ZERO);
            // The TPM has no event for "ask again", so this is the one place that lets time pass.
            poll(&mut [], pause).map_err(|errno| self.unreachable(errno.into()))?;
        }
    }

    /// Sends `command` and fills `self.answer`; connects first, and reconnects once.
    fn exchange(&mut self, command: &Command, deadline: &Deadline) -> Result<(), TpmError> {
        // An old connection may have died unnoticed (a software TPM was restarted), a fresh one
        // that breaks is bad news.
        let is_old = self.transport.is_some();
        match self.exchange_once(command, deadline) {
            Err(TransportError::Broken(_lost)) if is_old && command.repeat == Repeat::Harmless => {
                self.exchange_once(command, deadline)
            }
            outcome => outcome,
        }
        .map_err(|error| match error {
            TransportError::Timeout => timeout(command, deadline),
            TransportError::Broken(source) => self.unreachable(source),
            TransportError::Framing { announced_bytes } => TpmError::Decode {
                command: command.name,
                reason: format!("its length field says {announced_bytes} bytes"),
            },
        })
    }

    fn exchange_once(
        &mut self,
        command: &Command,
        deadline: &Deadline,
    ) -> Result<(), TransportError> {
        let mut transport = match self.transport.take() {
            Some(open) => open,
            None => Transport::open(&self.tcti, deadline)?,
        };
        transport.exchange(&command.frame, &mut self.answer, deadline)?;
        // Kept only after a complete answer; in every other case a late one would be taken for
        // the answer to the next command.
        self.transport = Some(transport);
        Ok(())
    }

    fn unreachable(&self, source: io::Error) -> TpmError {
        TpmError::Reach {
            tcti: self.tcti.to_string(),
            source,
        }
    }
}

fn busy(command: &Command, deadline: &Deadline, code: ResponseCode) -> TpmError {
    TpmError::Busy {
        command: command.name,
        patience_ms: deadline.patience_ms(),
        code,
    }
}

fn timeout(command: &Command, deadline: &Deadline) -> TpmError {
    TpmError::Timeout {
        command: command.name,
        patience_ms: deadline.patience_ms(),
    }
}

/// Bytes 6 to 10 of an answer, which the transport has made sure are there.
fn response_code(answer: &[u8]) -> ResponseCode {
    let code = answer
        .get(6..HEADER_BYTES)
        .and_then(<[u8]>::first_chunk::<4>);
    ResponseCode::new(code.map_or(u32::MAX, |code| u32::from_be_bytes(*code)))
}

#[cfg(test)]
mod tests;
