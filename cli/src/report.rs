//! What a command found out, and the one place that prints.
use std::io::{ErrorKind, Write as _};

use serde_json::Value;

use crate::arguments::Output;
use crate::failure::{EXIT_INTERNAL, Failure};

/// The result of a command in both forms.
#[derive(Debug)]
pub(crate) struct Report {
    /// For people; styles in it are taken out where the output is not a terminal.
    pub(crate) text: String,
    /// For programs.
    pub(crate) json: Value,
    /// The exit code: 0, or 1 and 2 where the command answers a question.
    pub(crate) exit: u8,
}

// === impl Report ===

impl Report {
    /// A result that is no answer to a yes-or-no question.
    pub(crate) const fn done(text: String, json: Value) -> Self {
        Self {
            text,
            json,
            exit: 0,
        }
    }
}

/// Prints the outcome and returns the exit code.
pub(crate) fn print(outcome: Result<Report, Failure>, output: Output) -> u8 {
    match outcome {
        Ok(report) => {
            let text = match output {
                Output::Text => report.text,
                Output::Json => pretty(&report.json),
            };
            if write_out(&text) {
                report.exit
            } else {
                EXIT_INTERNAL
            }
        }
        Err(failure) => {
            if output == Output::Json {
                write_out(&pretty(&failure.to_json()));
            }
            anstream::eprintln!("{}", failure.line());
            failure.exit()
        }
    }
}

/// Writes to stdout. A reader that has gone (`portcullis … | head`) is no failure of ours.
fn write_out(text: &str) -> bool {
    let mut out = anstream::stdout().lock();
    let written = writeln!(out, "{}", text.trim_end()).and_then(|()| out.flush());
    match written {
        Ok(()) => true,
        Err(error) if error.kind() == ErrorKind::BrokenPipe => true,
        Err(error) => {
            anstream::eprintln!("portcullis: cannot write to standard output: {error}");
            false
        }
    }
}

fn pretty(value: &Value) -> String {
    format!("{value:#}")
}
