//! Why a command ends without having done what was asked, and with which exit code.

use std::error::Error;

use portcullis_gate::{Refusal, Refusals};
use serde_json::{Value, json};

/// Exit code of a check that said no.
pub(crate) const EXIT_REFUSED: u8 = 1;
/// Exit code of a check that could not run.
pub(crate) const EXIT_UNDECIDED: u8 = 2;
/// Exit code for wrong usage, input or settings (`EX_USAGE` of sysexits.h).
pub(crate) const EXIT_USAGE: u8 = 64;
/// Exit code for everything that is not the caller's doing (`EX_SOFTWARE` of sysexits.h).
pub(crate) const EXIT_INTERNAL: u8 = 70;

/// A failure on its way to the one place that prints it.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: u8,
    reason: Reason,
}

#[derive(Debug)]
enum Reason {
    Refusals(Refusals),
    Error(Box<dyn Error + Send + Sync>),
}

// === impl Failure ===

impl Failure {
    /// A check said no.
    pub(crate) fn refused(error: impl Error + Send + Sync + 'static) -> Self {
        Self::new(EXIT_REFUSED, error)
    }

    /// A check could not run.
    pub(crate) fn undecided(error: impl Error + Send + Sync + 'static) -> Self {
        Self::new(EXIT_UNDECIDED, error)
    }

    /// Arguments, input files or settings are wrong.
    pub(crate) fn usage(error: impl Error + Send + Sync + 'static) -> Self {
        Self::new(EXIT_USAGE, error)
    }

    /// The command cannot do its job.
    pub(crate) fn internal(error: impl Error + Send + Sync + 'static) -> Self {
        Self::new(EXIT_INTERNAL, error)
    }

    fn new(exit: u8, error: impl Error + Send + Sync + 'static) -> Self {
        Self {
            exit,
            reason: Reason::Error(Box::new(error)),
        }
    }

    /// The exit code.
    pub(crate) const fn exit(&self) -> u8 {
        self.exit
    }

    /// The line for stderr: the cause chain joined once, or the refusal's own line.
    pub(crate) fn line(&self) -> String {
        match &self.reason {
            Reason::Refusals(refusals) => refusals.to_string(),
            Reason::Error(error) => format!("portcullis: {}", chain(error.as_ref())),
        }
    }

    /// The same for programs.
    pub(crate) fn to_json(&self) -> Value {
        let message = self.line();
        let refusals: Vec<Value> = match &self.reason {
            Reason::Refusals(refusals) => refusals.iter().map(Refusal::to_json).collect(),
            Reason::Error(_) => Vec::new(),
        };
        json!({ "error": { "exit_code": self.exit, "message": message, "refusals": refusals } })
    }
}

impl From<Refusals> for Failure {
    fn from(refusals: Refusals) -> Self {
        Self {
            exit: refusals.exit_code(),
            reason: Reason::Refusals(refusals),
        }
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::from(Refusals::from(refusal))
    }
}

/// An error and its causes on one line, each said once.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        line.push_str(": ");
        line.push_str(&inner.to_string());
        cause = inner.source();
    }
    line.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use portcullis_gate::Code;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read '{path}'")]
    struct Outer {
        path: &'static str,
        #[source]
        source: std::io::Error,
    }

    fn outer() -> Outer {
        Outer {
            path: "a.json",
            source: std::io::Error::from_raw_os_error(2),
        }
    }

    #[test]
    fn joins_the_causes_once_on_one_line() {
        let failure = Failure::usage(outer());
        assert_eq!(
            failure.line(),
            "portcullis: cannot read 'a.json': No such file or directory (os error 2)"
        );
        assert_eq!(failure.exit(), 64);
    }

    #[test]
    fn never_prints_a_second_line() {
        let error = std::io::Error::other("first\nsecond\u{1b}[31m");
        assert_eq!(
            Failure::internal(error).line(),
            "portcullis: first second [31m"
        );
    }

    #[test]
    fn every_code_keeps_its_exit_code() {
        for code in Code::ALL {
            let failure = Failure::from(Refusal::new(*code, "s", "e", "f"));
            assert_eq!(failure.exit(), code.exit_code(), "{code}");
            assert_eq!(
                failure.to_json()["error"]["refusals"][0]["code"],
                code.as_str()
            );
        }
    }

    #[test]
    fn each_constructor_has_its_exit_code() {
        assert_eq!(Failure::refused(outer()).exit(), 1);
        assert_eq!(Failure::undecided(outer()).exit(), 2);
        assert_eq!(Failure::internal(outer()).exit(), 70);
    }
}
