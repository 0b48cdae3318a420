//! Running one step: its command, its time, and what went wrong.

use std::fmt;
use std::io::{self, BufRead, BufReader};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use crate::screen;

/// Why a task could not be carried out.
#[derive(Debug)]
pub(crate) enum Failed {
    /// A program could not be run at all.
    Run {
        /// Its command line.
        line: String,
        /// What the system said.
        source: io::Error,
    },
    /// A program ended with a failure.
    Ended {
        /// Its command line.
        line: String,
        /// How it ended.
        status: ExitStatus,
    },
    /// A file or folder could not be used.
    File {
        /// What was attempted, with its path.
        deed: String,
        /// What the system said.
        source: io::Error,
    },
    /// The machine lacks something, or the person said no.
    Missing(String),
}

/// Result of a step.
pub(crate) type Outcome<T = ()> = Result<T, Failed>;

// === impl Failed ===

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run { line, source } => write!(f, "cannot run '{line}': {source}"),
            Self::Ended { line, status } => write!(f, "'{line}' ended with {status}"),
            Self::File { deed, source } => write!(f, "cannot {deed}: {source}"),
            Self::Missing(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failed {}

/// Announces `name`, does it, and says how long it took.
pub(crate) fn timed<T>(name: &str, deed: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    screen::say(&format!("\n==> {name}"));
    let start = Instant::now();
    let done = deed();
    let word = if done.is_ok() { "done" } else { "FAILED" };
    let seconds = start.elapsed().as_secs_f64();
    screen::say(&format!("==> {name}: {word} in {seconds:.1} s"));
    done
}

/// Runs `command` with its output going where ours goes.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = line_of(command);
    let status = command.status().map_err(|source| Failed::Run {
        line: line.clone(),
        source,
    })?;
    if status.success() {
        return Ok(());
    }
    Err(Failed::Ended { line, status })
}

/// What `command` prints.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let line = line_of(command);
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .map_err(|source| Failed::Run {
            line: line.clone(),
            source,
        })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(Failed::Ended {
        line,
        status: output.status,
    })
}

/// Runs `command` and shows its output line by line, each also to `watch`. Standard error goes
/// the same way, because cargo-nextest reports there.
pub(crate) fn run_watched(command: &mut Command, mut watch: impl FnMut(&str)) -> Outcome {
    let line = line_of(command);
    let failed = |source| Failed::Run {
        line: line.clone(),
        source,
    };
    let (output, into) = io::pipe().map_err(failed)?;
    command
        .stdout(into.try_clone().map_err(failed)?)
        .stderr(into);
    let mut child = command.spawn().map_err(failed)?;
    // The command holds our ends of the pipe; while they are open it has no end.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    for text in BufReader::new(output).lines() {
        let text = text.map_err(failed)?;
        screen::print(&text);
        watch(&text);
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    Err(Failed::Ended { line, status })
}

/// The command as one would type it.
fn line_of(command: &Command) -> String {
    let mut line = command.get_program().to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&argument.to_string_lossy());
    }
    line
}

#[cfg(test)]
mod tests {
    use super::{run, run_watched};
    use std::process::Command;

    #[test]
    fn a_failing_command_fails_the_step_and_is_named() {
        let failed = run(Command::new("sh").args(["-c", "exit 3"])).unwrap_err();
        assert_eq!(
            failed.to_string(),
            "'sh -c exit 3' ended with exit status: 3"
        );
        let failed = run(&mut Command::new("no-such-program"))
            .unwrap_err()
            .to_string();
        assert!(
            failed.starts_with("cannot run 'no-such-program': "),
            "{failed}"
        );
    }

    #[test]
    fn output_is_watched_line_by_line() {
        let mut lines = Vec::new();
        let mut command = Command::new("sh");
        command.args(["-c", "echo one; echo two"]);
        run_watched(&mut command, |line| lines.push(line.to_owned())).unwrap();
        assert_eq!(lines, ["one", "two"]);
    }
}
