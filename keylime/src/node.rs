//! A node's evidence, as a program prints it: `portcullis evidence` here, or the same through SSH.

use std::io::{self, Read as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use portcullis_attestation::evidence::{Evidence, EvidenceError};
use portcullis_attestation::nonce::Nonce;

/// A quote of a slow TPM takes seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest evidence that is read.
const EVIDENCE_BYTES: u64 = 1024 * 1024;

/// Why there is no evidence.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NodeError {
    /// The program cannot be run.
    #[error("cannot run '{program}' for evidence")]
    Run {
        /// The program.
        program: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The program did not end in time, and was killed.
    #[error("cannot wait longer than {} s for evidence of '{program}'", PATIENCE.as_secs())]
    Late {
        /// The program.
        program: String,
    },
    /// The program failed.
    #[error("cannot use evidence of '{program}': it ended with {status}")]
    Failed {
        /// The program.
        program: String,
        /// How it ended.
        status: String,
    },
    /// What it printed is no evidence.
    #[error("cannot use evidence of '{program}'")]
    Form {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: EvidenceError,
    },
}

/// Has the program `command` collect evidence in answer to `nonce`.
///
/// # Errors
///
/// [`NodeError`].
pub(crate) fn evidence(command: &[String], nonce: &Nonce) -> Result<Evidence, NodeError> {
    let program = command.first().cloned().unwrap_or_default();
    let running = |source| NodeError::Run {
        program: program.clone(),
        source,
    };
    let mut child = Command::new(&program)
        .args(command.get(1..).unwrap_or_default())
        .args(["--nonce", &nonce.to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(running)?;
    let printed = printed(&mut child, &program)?;
    let status = child.wait().map_err(running)?;
    if !status.success() {
        return Err(NodeError::Failed {
            program,
            status: status.to_string(),
        });
    }
    Evidence::from_json(&printed).map_err(|source| NodeError::Form { program, source })
}

/// What the child prints until it closes its output; the child is killed if it takes too long.
fn printed(child: &mut Child, program: &str) -> Result<Vec<u8>, NodeError> {
    let running = |source| NodeError::Run {
        program: program.to_owned(),
        source,
    };
    let Some(output) = child.stdout.take() else {
        return Err(running(io::Error::other("no pipe to read from")));
    };
    let (sender, receiver) = channel();
    let reader = thread::spawn(move || {
        let mut bytes = Vec::new();
        let outcome = output.take(EVIDENCE_BYTES).read_to_end(&mut bytes);
        // Nobody waits any longer if it took too long.
        drop(sender.send(outcome.map(|_| bytes)));
    });
    let read = receiver.recv_timeout(PATIENCE);
    if matches!(read, Err(RecvTimeoutError::Timeout)) {
        child.kill().map_err(running)?;
        child.wait().map_err(running)?;
        return Err(NodeError::Late {
            program: program.to_owned(),
        });
    }
    // It has sent its last word.
    drop(reader.join());
    match read {
        Ok(outcome) => outcome.map_err(running),
        Err(_) => Err(running(io::Error::other("the output broke off"))),
    }
}
