//! Running a program to its end, with a deadline, and keeping what it printed.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use crate::failure::{Doing, Failure, Outcome};
use crate::wait;

/// How long a program may take unless told otherwise.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A program that has ended.
#[derive(Debug, Clone)]
pub struct Ran {
    /// The command line, for messages.
    pub line: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` to its end.
///
/// # Errors
///
/// When it cannot be started or has not ended after [`PATIENCE`] (it is killed then).
pub fn to_end(command: &mut Command) -> Outcome<Ran> {
    with_input(command, None, PATIENCE)
}

/// Runs `command` to its end with `input` on its standard input.
///
/// # Errors
///
/// As [`to_end`], with `deadline`.
pub fn with_input(command: &mut Command, input: Option<&[u8]>, deadline: Duration) -> Outcome<Ran> {
    let line = line_of(command);
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .doing(format!("start '{line}'"))?;
    let stdout = collect(child.stdout.take());
    let stderr = collect(child.stderr.take());
    if let (Some(input), Some(mut pipe)) = (input, child.stdin.take()) {
        let input = input.to_vec();
        // On its own thread: the program may print before it reads.
        thread::spawn(move || std::io::Write::write_all(&mut pipe, &input));
    }
    let status = wait_for(&mut child, &line, deadline)?;
    Ok(Ran {
        status,
        stdout: receive(&stdout, &line)?,
        stderr: receive(&stderr, &line)?,
        line,
    })
}

/// Waits until `child` has ended; kills it at the deadline.
///
/// # Errors
///
/// When it had to be killed.
pub fn wait_for(child: &mut Child, line: &str, deadline: Duration) -> Outcome<ExitStatus> {
    let ended = wait::until(&format!("the end of '{line}'"), deadline, || {
        child.try_wait().transpose()
    });
    match ended {
        Ok(status) => status.doing(format!("wait for '{line}'")),
        Err(failure) => {
            child.kill().doing(format!("kill '{line}'"))?;
            child.wait().doing(format!("wait for '{line}'"))?;
            Err(failure)
        }
    }
}

/// The command as one would type it.
#[must_use]
pub fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

fn collect(pipe: Option<impl Read + Send + 'static>) -> mpsc::Receiver<Vec<u8>> {
    let (send, receive) = mpsc::channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            let read = pipe.read_to_end(&mut bytes);
            // The receiver may have given up; then nobody misses the bytes.
            read.is_ok() && send.send(bytes).is_ok()
        });
    }
    receive
}

/// The output; a grandchild that holds the pipe open must not hold up the test for ever.
fn receive(from: &mpsc::Receiver<Vec<u8>>, line: &str) -> Outcome<String> {
    let bytes = from
        .recv_timeout(wait::scaled(wait::PATIENCE))
        .doing(format!("read the whole output of '{line}'"))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

// === impl Ran ===

impl Ran {
    /// Its standard output, if it succeeded.
    ///
    /// # Errors
    ///
    /// When it did not; the text has everything it printed.
    pub fn success(self) -> Outcome<String> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(Failure::new(format!(
            "'{}' ended with {}: {} {}",
            self.line,
            self.status,
            self.stderr.trim(),
            self.stdout.trim()
        )))
    }

    /// Its standard error, if it failed.
    ///
    /// # Errors
    ///
    /// When it succeeded.
    pub fn refusal(self) -> Outcome<String> {
        if !self.status.success() {
            return Ok(self.stderr);
        }
        Err(Failure::new(format!(
            "'{}' succeeded and should not have: {}",
            self.line,
            self.stdout.trim()
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::{to_end, with_input};
    use std::process::Command;
    use std::time::Duration;

    #[test]
    fn keeps_both_outputs_apart_and_the_status() {
        let ran =
            to_end(Command::new("sh").args(["-c", "echo out; echo err >&2; exit 3"])).unwrap();
        assert_eq!(
            (ran.stdout.as_str(), ran.stderr.as_str()),
            ("out\n", "err\n")
        );
        assert_eq!(ran.status.code(), Some(3));
        assert!(ran.clone().success().is_err());
        assert_eq!(ran.refusal().unwrap(), "err\n");
    }

    #[test]
    fn feeds_input_and_kills_at_the_deadline() {
        let ran = with_input(
            &mut Command::new("cat"),
            Some(b"hello"),
            Duration::from_secs(5),
        );
        assert_eq!(ran.unwrap().stdout, "hello");
        let ran = with_input(
            Command::new("sleep").arg("60"),
            None,
            Duration::from_millis(30),
        );
        assert!(ran.unwrap_err().to_string().contains("in vain"));
    }
}
