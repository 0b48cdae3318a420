//! Giving up every right that serving calls and talking to the TPM does not need.
//!
//! Entered once, after everything that takes a right was opened and before any thread, any client
//! and any byte from outside: threads inherit it, and nothing can undo it. In this order:
//!
//! 1. *capabilities*: none is left in any of the five sets, and no program could give one back;
//! 2. *files*: the kernel (Landlock) opens the paths of [`files::Access`] and nothing else, lets
//!    the agent connect to the ports of a software TPM and nothing else, and keeps signals and
//!    abstract sockets of other processes from it;
//! 3. *system calls*: those of [`system_calls`] and no other, so no programs, no new executable
//!    memory and no socket to anybody but a software TPM. This is what keeps a uid of 0 from being
//!    of use at the sockets of other daemons.
//!
//! What the kernel cannot do is left out and said; anything else that goes wrong stops the agent.

mod capabilities;
mod files;
mod system_calls;

use std::io;

use portcullis_tpm::Tcti;

pub(crate) use files::Device;

/// How the agent is confined from now on.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// What this kernel cannot do, one line for each part. Empty: nothing is missing.
    pub(crate) missing: Vec<String>,
    /// The TPM's device as it was when the right to open it was kept.
    pub(crate) device: Option<Device>,
}

/// A right that could not be given up.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfinementError {
    /// Confinement is of one thread and those it starts.
    #[error("cannot confine the agent: {threads} threads run already")]
    Threads {
        /// How many.
        threads: usize,
    },
    /// The kernel does not tell which threads there are.
    #[error("cannot confine the agent: cannot count its threads")]
    CountThreads(#[source] io::Error),
    /// The capabilities stay.
    #[error("cannot drop capabilities")]
    Capabilities(#[from] capabilities::CapabilitiesError),
    /// The files stay open to it.
    #[error("cannot limit access to files")]
    Files(#[from] files::FilesError),
    /// The system calls stay open to it.
    #[error("cannot limit system calls")]
    SystemCalls(#[source] seccompiler::Error),
}

/// Confines this process, which must have one thread.
///
/// # Errors
///
/// [`ConfinementError`], except where the kernel lacks the means: that is in the result.
pub(crate) fn enter(tcti: &Tcti) -> Result<Confinement, ConfinementError> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(ConfinementError::CountThreads)?
        .count();
    if threads != 1 {
        return Err(ConfinementError::Threads { threads });
    }
    let access = files::Access::of_agent(tcti);
    if let Tcti::Device(path) = tcti {
        capabilities::join_group_of(path);
    }
    confine_thread(&access)
}

/// Confines the calling thread and those it will start.
fn confine_thread(access: &files::Access) -> Result<Confinement, ConfinementError> {
    capabilities::drop_all()?;
    let mut missing = Vec::new();
    // Before the filter of system calls, which does not let its own be made.
    let limited = files::limit(access)?;
    missing.extend(limited.missing);
    let reach = if access.ports.is_empty() {
        system_calls::Reach::Nobody
    } else {
        system_calls::Reach::SoftwareTpm
    };
    let filtered = system_calls::limit(reach).map_err(ConfinementError::SystemCalls)?;
    missing.extend(filtered);
    Ok(Confinement {
        missing,
        device: limited.device,
    })
}

// === impl Confinement ===

impl Confinement {
    /// `full`, or `partial` if the kernel lacks something.
    pub(crate) fn level(&self) -> &'static str {
        if self.missing.is_empty() {
            "full"
        } else {
            "partial"
        }
    }
}

#[cfg(test)]
mod tests;
