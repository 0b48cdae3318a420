//! A line for the system log, best effort: the decision does not depend on it.

use std::os::unix::net::UnixDatagram;

/// Where syslog daemons and the journal listen.
const SOCKET: &str = "/dev/log";

/// Facility of system daemons (RFC 5424, "PRI").
const FACILITY_DAEMON: u8 = 3;

/// How bad it is, in the numbers of syslog.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Severity {
    /// Something could not be checked or done.
    Error = 3,
    /// A container was refused.
    Warning = 4,
}

/// Sends one line. Nobody listening, or a full queue, is no reason to wait.
pub(crate) fn send(line: &str, severity: Severity) {
    let Ok(socket) = UnixDatagram::unbound() else {
        return;
    };
    if socket.set_nonblocking(true).is_ok() && socket.connect(SOCKET).is_ok() {
        let _best_effort = socket.send(message(line, severity, std::process::id()).as_bytes());
    }
}

/// # Source
///
/// RFC 3164, "syslog Packet Parts"; the receiver adds time and host.
fn message(line: &str, severity: Severity, pid: u32) -> String {
    let priority = FACILITY_DAEMON * 8 + severity as u8;
    format!("<{priority}>portcullis-hook[{pid}]: {line}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_the_line_with_its_priority() {
        assert_eq!(
            message("x", Severity::Error, 7),
            "<27>portcullis-hook[7]: x"
        );
        assert_eq!(
            message("x", Severity::Warning, 7),
            "<28>portcullis-hook[7]: x"
        );
    }
}
