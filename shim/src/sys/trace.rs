//! Tracing a child: `ptrace(2)`, by the numbers that say it all.

use nix::errno::Errno;

/// What a traced child has stopped for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The new program is loaded and has not run.
    Exec,
    /// A signal is about to be delivered; it gets lost unless it is passed on.
    Signal(i32),
    /// It is stopped by job control and stays so.
    Group,
    /// It was interrupted by its tracer, or for another event.
    Other,
}

/// `PTRACE_EVENT_STOP` of `linux/ptrace.h`, which not every libc has.
const PTRACE_EVENT_STOP: i32 = 128;

/// The stop that a status of `waitpid(2)` tells of; `None` if it tells of an end.
pub(crate) fn stop_of(status: i32) -> Option<Stop> {
    if !libc::WIFSTOPPED(status) {
        return None;
    }
    let signal = libc::WSTOPSIG(status);
    Some(match status >> 16 {
        libc::PTRACE_EVENT_EXEC => Stop::Exec,
        PTRACE_EVENT_STOP if signal == libc::SIGTRAP => Stop::Other,
        PTRACE_EVENT_STOP => Stop::Group,
        0 => Stop::Signal(signal),
        _ => Stop::Other,
    })
}

/// Traces the child `pid` without stopping it, until it executes a program; if this process dies
/// before it is released, the kernel kills it.
///
/// # Errors
///
/// The errno of `ptrace(2)`: `EPERM` if a security module forbids it, or it is traced already.
pub(crate) fn seize(pid: i32) -> nix::Result<()> {
    request(
        libc::PTRACE_SEIZE,
        pid,
        libc::PTRACE_O_TRACEEXEC | libc::PTRACE_O_EXITKILL,
    )
}

/// Lets a stopped child go on, with `signal` if it is not 0.
///
/// # Errors
///
/// The errno of `ptrace(2)`: `ESRCH` if it is not stopped.
pub(crate) fn resume(pid: i32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_CONT, pid, signal)
}

/// Leaves a child that job control has stopped as it is.
///
/// # Errors
///
/// As of [`resume`].
pub(crate) fn listen(pid: i32) -> nix::Result<()> {
    request(libc::PTRACE_LISTEN, pid, 0)
}

/// Makes a child stop soon.
///
/// # Errors
///
/// As of [`resume`].
pub(crate) fn interrupt(pid: i32) -> nix::Result<()> {
    request(libc::PTRACE_INTERRUPT, pid, 0)
}

/// Traces a stopped child no longer, and lets it go on.
///
/// # Errors
///
/// As of [`resume`].
pub(crate) fn release(pid: i32, signal: i32) -> nix::Result<()> {
    request(libc::PTRACE_DETACH, pid, signal)
}

/// A request whose data is a number.
fn request(request: impl Into<libc::c_long>, pid: i32, data: i32) -> nix::Result<()> {
    let data = libc::c_long::from(data);
    let nothing: libc::c_long = 0;
    // SAFETY: none of the requests above reads or writes memory of ours: address and data are
    // numbers. By number of the system call, because the function's types differ between libcs.
    let result = unsafe {
        libc::syscall(
            libc::SYS_ptrace,
            request.into(),
            libc::c_long::from(pid),
            nothing,
            data,
        )
    };
    Errno::result(result).map(drop)
}
