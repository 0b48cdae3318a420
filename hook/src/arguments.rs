//! The command line. It stands in a hooks.d file, written by an administrator or a package.

use std::ffi::OsString;
use std::time::Duration;

/// Time for everything, if the command line gives none. The file of the package gives the runtime
/// 10 s: it must be this program that ends first, because only it says why.
const DEADLINE: Duration = Duration::from_secs(8);

/// Longest time that may be asked for; no launch waits longer.
const LONGEST_DEADLINE: Duration = Duration::from_secs(120);

const HELP: &str = "\
portcullis-hook: OCI hook that refuses a container on a host that cannot be vouched for

Usage: portcullis-hook [--deadline SPAN] [--namespace NAME]

  --deadline SPAN    time for everything, such as 8s or 1500ms; shorter than the hook's own timeout
  --namespace NAME   whose policies hold, where the configuration names no pod namespace

Reads the OCI state from standard input. Exit codes: 0 permitted, 1 refused, 2 undecided,
64 usage or settings, 70 internal.";

const VERSION: &str = concat!("portcullis-hook ", env!("CARGO_PKG_VERSION"));

/// What to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// Decide about the container on standard input.
    Verify(Arguments),
    /// Print a text.
    Show(&'static str),
}

/// How to decide.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Arguments {
    /// Time for everything.
    pub(crate) deadline: Duration,
    /// The namespace whose policies hold if the configuration names none.
    pub(crate) namespace: Option<String>,
}

/// What is wrong with the command line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArgumentError {
    #[error("cannot understand argument '{}'; see '--help'", argument.escape_debug())]
    Unknown { argument: String },
    #[error("cannot understand option '{option}' without a value")]
    NoValue { option: &'static str },
    #[error("cannot use '--deadline {}': expected a span up to 120s, such as 8s or 1500ms", value.escape_debug())]
    Deadline { value: String },
}

// === impl Arguments ===

impl Arguments {
    /// Reads the arguments after the program's name. Anything not known is an error: a misspelt
    /// option must not be a forgotten one.
    pub(crate) fn parse(
        arguments: impl Iterator<Item = OsString>,
    ) -> Result<Request, ArgumentError> {
        let mut parsed = Self {
            deadline: DEADLINE,
            namespace: None,
        };
        let mut words = arguments.map(|word| word.to_string_lossy().into_owned());
        while let Some(word) = words.next() {
            let (name, inline) = match word.split_once('=') {
                Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                None => (word.clone(), None),
            };
            let mut value = |option| {
                inline
                    .clone()
                    .or_else(|| words.next())
                    .ok_or(ArgumentError::NoValue { option })
            };
            match name.as_str() {
                "--deadline" => parsed.deadline = deadline(&value("--deadline")?)?,
                "--namespace" => parsed.namespace = Some(value("--namespace")?),
                "--help" | "-h" => return Ok(Request::Show(HELP)),
                "--version" | "-V" => return Ok(Request::Show(VERSION)),
                _ => return Err(ArgumentError::Unknown { argument: word }),
            }
        }
        Ok(Request::Verify(parsed))
    }
}

fn deadline(text: &str) -> Result<Duration, ArgumentError> {
    let number = |digits: &str| {
        let plain = digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let span = text
        .strip_suffix("ms")
        .map(|digits| number(digits).map(Duration::from_millis))
        .or_else(|| {
            text.strip_suffix('s')
                .map(|digits| number(digits).map(Duration::from_secs))
        })
        .flatten();
    span.filter(|span| !span.is_zero() && *span <= LONGEST_DEADLINE)
        .ok_or_else(|| ArgumentError::Deadline {
            value: text.to_owned(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Request, ArgumentError> {
        Arguments::parse(words.iter().map(OsString::from))
    }

    fn verify(deadline: Duration, namespace: Option<&str>) -> Result<Request, ArgumentError> {
        Ok(Request::Verify(Arguments {
            deadline,
            namespace: namespace.map(str::to_owned),
        }))
    }

    #[test]
    fn reads_both_spellings_of_an_option() {
        assert_eq!(parse(&[]), verify(DEADLINE, None));
        assert_eq!(
            parse(&["--deadline", "1500ms"]),
            verify(Duration::from_millis(1500), None)
        );
        assert_eq!(
            parse(&["--deadline=2s"]),
            verify(Duration::from_secs(2), None)
        );
        assert_eq!(
            parse(&["--namespace", "moby"]),
            verify(DEADLINE, Some("moby"))
        );
    }

    #[test]
    fn a_deadline_is_a_span_with_a_unit_within_the_limit() {
        assert!(parse(&["--deadline", "120s"]).is_ok_and(|it| matches!(it, Request::Verify(_))));
        for value in [
            "", "8", "0s", "0ms", "121s", "-1s", "+1s", "1.5s", "8m", "s", "ms",
        ] {
            let error = parse(&["--deadline", value]).unwrap_err();
            assert_eq!(
                error,
                ArgumentError::Deadline {
                    value: value.to_owned()
                }
            );
        }
    }

    #[test]
    fn a_misspelt_option_is_an_error() {
        for word in ["--deadlin=8s", "-d", "verify", "", "--Deadline=8s"] {
            assert!(
                matches!(parse(&[word]), Err(ArgumentError::Unknown { .. })),
                "{word}"
            );
        }
        assert_eq!(
            parse(&["--deadline"]),
            Err(ArgumentError::NoValue {
                option: "--deadline"
            })
        );
        assert_eq!(
            parse(&["--x\n"]).unwrap_err().to_string(),
            r"cannot understand argument '--x\n'; see '--help'"
        );
    }
}
