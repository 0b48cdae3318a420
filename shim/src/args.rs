//! The command line that containerd gives a shim: Go-style flags, then an action.

use std::path::PathBuf;

/// What the shim was asked to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Start (or find) the server for a task and print where it listens.
    Start,
    /// Clean up after a server that is gone.
    Delete,
    /// Print the shim's version.
    Version,
    /// Print what the shim and its runtime can do.
    Info,
    /// Print usage.
    Help,
}

/// The parsed command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Args {
    /// What to do.
    pub(crate) action: Action,
    /// containerd namespace.
    pub(crate) namespace: String,
    /// Id of the container or sandbox.
    pub(crate) id: String,
    /// containerd's gRPC socket.
    pub(crate) address: String,
    /// Bundle, given with `delete` only.
    pub(crate) bundle: Option<PathBuf>,
    /// Whether containerd asked for debug logs.
    pub(crate) debug: bool,
}

/// Why a command line cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum ArgsError {
    /// A flag this shim does not know.
    #[error("unknown flag '{flag}'; see --help")]
    UnknownFlag {
        /// The flag as typed.
        flag: String,
    },
    /// A flag without its value.
    #[error("flag '{flag}' needs a value")]
    MissingValue {
        /// The flag as typed.
        flag: String,
    },
    /// Something other than `start` or `delete`.
    #[error("unknown action '{action}': expected 'start' or 'delete'; see --help")]
    UnknownAction {
        /// The word as typed.
        action: String,
    },
    /// No action at all.
    #[error(
        "no action given: expected 'start' or 'delete'; containerd runs this program, see --help"
    )]
    NoAction,
    /// A container id or namespace that could reach outside its directory.
    #[error(
        "{what} '{value}' is not valid: expected letters, digits, '.', '_' and '-', not starting with '.' or '-', at most {MAX_ID} bytes"
    )]
    InvalidId {
        /// "id" or "namespace".
        what: &'static str,
        /// The offending value, escaped and cut.
        value: String,
    },
}

/// Longest id accepted, in bytes; containerd itself stops at 76, CRI uses 64.
pub(crate) const MAX_ID: usize = 128;

/// Parses the arguments after the program's name. Accepts one or two dashes, `-flag value` and
/// `-flag=value`, in any order, as Go's `flag` package does.
///
/// # Errors
///
/// [`ArgsError`] names the offending word.
pub(crate) fn parse(args: impl IntoIterator<Item = String>) -> Result<Args, ArgsError> {
    let mut parsed = Args {
        action: Action::Help,
        namespace: String::new(),
        id: String::new(),
        address: String::new(),
        bundle: None,
        debug: false,
    };
    let mut action = None;
    let mut words = args.into_iter();
    while let Some(word) = words.next() {
        let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
            action = Some(match word.as_str() {
                "start" => Action::Start,
                "delete" => Action::Delete,
                _ => {
                    return Err(ArgsError::UnknownAction {
                        action: escaped(&word),
                    });
                }
            });
            continue;
        };
        let (name, inline) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        match name {
            "v" | "version" => action = Some(Action::Version),
            "info" => action = Some(Action::Info),
            "h" | "help" => action = Some(Action::Help),
            "debug" => parsed.debug = inline.is_none_or(|value| value != "false"),
            "namespace" | "id" | "address" | "bundle" | "publish-binary" | "socket" => {
                let value =
                    inline
                        .or_else(|| words.next())
                        .ok_or_else(|| ArgsError::MissingValue {
                            flag: escaped(&word),
                        })?;
                match name {
                    "namespace" => parsed.namespace = value,
                    "id" => parsed.id = value,
                    "address" => parsed.address = value,
                    "bundle" => parsed.bundle = Some(PathBuf::from(value)),
                    // Kept for containerd's sake: events go over ttrpc, no binary is run.
                    _ => {}
                }
            }
            _ => {
                return Err(ArgsError::UnknownFlag {
                    flag: escaped(&word),
                });
            }
        }
    }
    parsed.action = action.ok_or(ArgsError::NoAction)?;
    if matches!(parsed.action, Action::Start | Action::Delete) {
        valid_id("namespace", &parsed.namespace)?;
        valid_id("id", &parsed.id)?;
    }
    Ok(parsed)
}

/// Refuses an id that could be a path or an option: `^[A-Za-z0-9][A-Za-z0-9_.-]*$`.
///
/// # Errors
///
/// [`ArgsError::InvalidId`].
pub(crate) fn valid_id(what: &'static str, value: &str) -> Result<(), ArgsError> {
    let mut bytes = value.bytes();
    let first = bytes
        .next()
        .is_some_and(|byte| byte.is_ascii_alphanumeric());
    let rest = bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'));
    if first && rest && value.len() <= MAX_ID {
        Ok(())
    } else {
        Err(ArgsError::InvalidId {
            what,
            value: escaped(value),
        })
    }
}

/// Outside text made safe for one line of output: escaped and cut.
fn escaped(text: &str) -> String {
    text.chars()
        .take(64)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn accepts_both_dash_forms_in_any_order() {
        let parsed = parse(words(
            "-namespace k8s.io --id=abc -address /run/c.sock start -debug",
        ));
        let parsed = parsed.unwrap();
        assert_eq!(parsed.action, Action::Start);
        assert_eq!(
            (parsed.namespace.as_str(), parsed.id.as_str()),
            ("k8s.io", "abc")
        );
        assert!(parsed.debug);
    }

    #[test]
    fn takes_a_bundle_with_delete() {
        let parsed = parse(words("-namespace n -id i -bundle /run/b delete")).unwrap();
        assert_eq!(parsed.bundle, Some(PathBuf::from("/run/b")));
    }

    #[test]
    fn refuses_ids_that_are_paths_or_options() {
        for id in ["..", "../x", "a/b", "-rf", ".hidden", "", "a b", "a\n", "é"] {
            let error = parse([
                "-namespace".to_owned(),
                "n".to_owned(),
                format!("-id={id}"),
                "start".to_owned(),
            ]);
            assert!(
                matches!(error, Err(ArgsError::InvalidId { what: "id", .. })),
                "{id:?}"
            );
        }
    }

    #[test]
    fn refuses_ids_one_byte_too_long() {
        assert_eq!(valid_id("id", &"a".repeat(MAX_ID)), Ok(()));
        assert!(matches!(
            valid_id("id", &"a".repeat(MAX_ID + 1)),
            Err(ArgsError::InvalidId { .. })
        ));
    }

    #[test]
    fn names_the_unknown_word() {
        assert_eq!(
            parse(words("-frobnicate start")),
            Err(ArgsError::UnknownFlag {
                flag: "-frobnicate".to_owned()
            })
        );
        assert_eq!(
            parse(words("run")),
            Err(ArgsError::UnknownAction {
                action: "run".to_owned()
            })
        );
        assert_eq!(
            parse(words("-id")),
            Err(ArgsError::MissingValue {
                flag: "-id".to_owned()
            })
        );
    }
}
