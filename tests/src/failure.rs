//! Why a step of the harness did not work, in one sentence with its cause.

use std::error::Error;
use std::fmt;

/// What was attempted and what came of it. Reads the same with `Debug`, because that is what
/// the test runner prints.
#[derive(Clone, PartialEq, Eq)]
pub struct Failure {
    message: String,
}

/// Result of a harness step or of a test.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Says what was being done when an error came.
pub trait Doing<T> {
    /// Puts `what` (an infinitive: "read the file") in front of the error and its causes.
    ///
    /// # Errors
    ///
    /// The failure, when `self` is one.
    fn doing(self, what: impl fmt::Display) -> Outcome<T>;
}

// === impl Failure ===

impl Failure {
    /// A failure that says `message`.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for Failure {}

// === impl Doing ===

impl<T, E: Error> Doing<T> for Result<T, E> {
    fn doing(self, what: impl fmt::Display) -> Outcome<T> {
        self.map_err(|error| {
            let mut message = format!("cannot {what}: {error}");
            let mut cause = error.source();
            while let Some(inner) = cause {
                message.push_str(&format!(": {inner}"));
                cause = inner.source();
            }
            Failure { message }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Doing, Failure};

    #[test]
    fn names_the_deed_and_the_cause_once() {
        let error: Result<(), _> = Err(std::io::Error::other("disk is full"));
        let failure = error.doing("write 'a'").unwrap_err();
        assert_eq!(failure.to_string(), "cannot write 'a': disk is full");
        assert_eq!(format!("{failure:?}"), failure.to_string());
    }

    #[test]
    fn passes_a_value_through() {
        assert_eq!(Ok::<_, Failure>(3).doing("count").unwrap(), 3);
    }
}
