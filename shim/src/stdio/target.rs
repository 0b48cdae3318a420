//! Where a client wants a stream: what it may write in `stdin`, `stdout` and `stderr`.

use std::path::{Component, Path, PathBuf};

use super::StdioError;

/// Longest text taken, in bytes; a path of the kernel has at most 4096.
const MAX_BYTES: usize = 64 * 1024;

/// Begins the name of a query parameter that goes to the program's environment.
const ENVIRONMENT_PREFIX: &str = "env.";

/// Set by the shim, and by nobody else.
const RESERVED: [&str; 2] = ["CONTAINER_ID", "CONTAINER_NAMESPACE"];

/// Where a stream goes to, or comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Target {
    /// A FIFO whose other end the client has.
    Fifo(PathBuf),
    /// A file that is appended to.
    File(PathBuf),
    /// A logging program.
    Program(Program),
}

/// A logging program, as the client wants it run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Program {
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// Its arguments: key, value, key, value, ….
    pub(crate) arguments: Vec<String>,
    /// Further variables of its environment.
    pub(crate) environment: Vec<(String, String)>,
    /// Whether it must say that it is ready, or may just close the descriptor for that.
    pub(crate) must_say_ready: bool,
}

// === impl Target ===

impl Target {
    /// Reads what a request says for `stream`; empty means none.
    ///
    /// A plain absolute path or `fifo://` is a FIFO, `file://` a file, `binary://` and
    /// `binary-v2://` a logging program whose query is its command line; parameters that begin
    /// with `env.` go to its environment. The query of a file means nothing.
    ///
    /// # Errors
    ///
    /// [`StdioError::Scheme`], [`StdioError::Uri`].
    ///
    /// # Source
    ///
    /// containerd, `cmd/containerd-shim-runc-v2/process/io.go: createIO`, `io_util.go:
    /// NewBinaryCmd`. Unlike there, a host, a relative path, `..` and broken escapes are refused
    /// and not passed over.
    pub(super) fn parse(stream: &'static str, text: &str) -> Result<Option<Self>, StdioError> {
        if text.is_empty() {
            return Ok(None);
        }
        let refused = |expected| StdioError::Uri {
            stream,
            expected,
            found: shown(text),
        };
        if text.len() > MAX_BYTES {
            return Err(refused("at most 64 KiB"));
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            let path = plain(text).map_err(refused)?;
            return Ok(Some(Self::Fifo(path)));
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
        let target = match scheme.to_ascii_lowercase().as_str() {
            "fifo" => Self::Fifo(located(place).map_err(refused)?),
            "file" => Self::File(located(place).map_err(refused)?),
            "binary" => Self::Program(Program::new(place, query, false).map_err(refused)?),
            "binary-v2" => Self::Program(Program::new(place, query, true).map_err(refused)?),
            _ => {
                return Err(StdioError::Scheme {
                    stream,
                    scheme: shown(scheme),
                });
            }
        };
        Ok(Some(target))
    }
}

// === impl Program ===

impl Program {
    fn new(place: &str, query: &str, must_say_ready: bool) -> Result<Self, &'static str> {
        let mut program = Self {
            path: located(place)?,
            arguments: Vec::new(),
            environment: Vec::new(),
            must_say_ready,
        };
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = unescaped(&key.replace('+', " "))?;
            let value = unescaped(&value.replace('+', " "))?;
            // The first of several counts, as in containerd.
            if seen.contains(&key) {
                continue;
            }
            seen.push(key.clone());
            match key.strip_prefix(ENVIRONMENT_PREFIX) {
                Some(name) if name.is_empty() || name.contains('=') => {
                    return Err("the name of a variable after 'env.'");
                }
                Some(name) if RESERVED.contains(&name) => {}
                Some(name) => program.environment.push((name.to_owned(), value)),
                None => program.arguments.extend([key, value]),
            }
        }
        Ok(program)
    }
}

/// The scheme, if the text has one: a letter, then letters, digits, `+`, `-` and `.` to a colon
/// (RFC 3986, "Scheme").
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let mut letters = scheme.chars();
    let good = letters
        .next()
        .is_some_and(|first| first.is_ascii_alphabetic())
        && letters.all(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter));
    good.then_some((scheme, rest))
}

/// The path in what stands between scheme and query: `///path`, `//localhost/path` or `/path`.
fn located(place: &str) -> Result<PathBuf, &'static str> {
    let path = match place.strip_prefix("//") {
        Some(rest) => {
            let start = rest.find('/').ok_or("an absolute path")?;
            let (host, path) = rest.split_at_checked(start).unwrap_or(("", rest));
            if !host.is_empty() && host != "localhost" {
                return Err("no host: three slashes before the path");
            }
            path
        }
        None => place,
    };
    plain(&unescaped(path)?)
}

/// An absolute path that says where it leads: the shim is root.
fn plain(path: &str) -> Result<PathBuf, &'static str> {
    if path.contains('\0') {
        return Err("no zero byte");
    }
    let path = Path::new(path);
    if !path.is_absolute() || path.file_name().is_none() {
        return Err("an absolute path");
    }
    if path.components().any(|part| part == Component::ParentDir) {
        return Err("a path without '..'");
    }
    Ok(path.to_owned())
}

/// Takes `%XX` escapes away.
fn unescaped(text: &str) -> Result<String, &'static str> {
    const WRONG: &str = "escapes of two hexadecimal digits, in UTF-8";
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let byte = if byte == b'%' {
            let digit = |digit: Option<u8>| char::from(digit?).to_digit(16);
            let (high, low) = (digit(rest.next()), digit(rest.next()));
            let (Some(high), Some(low)) = (high, low) else {
                return Err(WRONG);
            };
            u8::try_from(high * 16 + low).unwrap_or_default()
        } else {
            byte
        };
        if byte == 0 {
            return Err("no zero byte");
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).map_err(|_not_utf8| WRONG)
}

/// The part of a text that may be shown: no query, which can hold secrets, and not much of it.
fn shown(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    text.chars()
        .take(128)
        .flat_map(char::escape_default)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Target {
        Target::parse("stdout", text).unwrap().unwrap()
    }

    fn refused(text: &str) -> String {
        Target::parse("stderr", text).unwrap_err().to_string()
    }

    fn program(text: &str) -> Program {
        match parsed(text) {
            Target::Program(program) => program,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_path_is_a_fifo_and_nothing_is_none() {
        assert_eq!(Target::parse("stdin", "").unwrap(), None);
        let fifo = Target::Fifo("/run/containerd/fifo/1/web-stdout".into());
        assert_eq!(parsed("/run/containerd/fifo/1/web-stdout"), fifo);
        assert_eq!(parsed("fifo:///run/containerd/fifo/1/web-stdout"), fifo);
        // A plain path is not a URI: nothing in it is an escape.
        assert_eq!(parsed("/run/a%20b?c"), Target::Fifo("/run/a%20b?c".into()));
    }

    #[test]
    fn a_file_has_a_path_and_its_query_means_nothing() {
        let file = Target::File("/var/log/web.log".into());
        for text in [
            "file:///var/log/web.log",
            "FILE:///var/log/web.log",
            "file://localhost/var/log/web.log",
            "file:/var/log/web.log",
            "file:///var/log/web.log?maxsize=1&x=%zz",
            "file:///var/log/%77eb.log#end",
        ] {
            assert_eq!(parsed(text), file, "{text}");
        }
        assert_eq!(
            parsed("file:///var/log/a%20b+c"),
            Target::File("/var/log/a b+c".into())
        );
    }

    #[test]
    fn a_programs_query_is_its_command_line() {
        let found =
            program("binary:///usr/bin/logger?-t=web+1&_LOGGING=%2Fvar%2Flib&flag&-t=other&");
        assert_eq!(found.path, Path::new("/usr/bin/logger"));
        assert_eq!(
            found.arguments,
            ["-t", "web 1", "_LOGGING", "/var/lib", "flag", ""]
        );
        assert!(found.environment.is_empty() && !found.must_say_ready);
        assert!(program("binary-v2:///usr/bin/logger").must_say_ready);
    }

    #[test]
    fn a_programs_environment_is_what_is_named_for_it() {
        let found = program("binary:///l?env.LEVEL=a%3Db&env.CONTAINER_ID=forged&x=env.y");
        assert_eq!(found.environment, [("LEVEL".to_owned(), "a=b".to_owned())]);
        assert_eq!(found.arguments, ["x", "env.y"]);
        for text in ["binary:///l?env.=1", "binary:///l?env.a%3Db=1"] {
            assert!(refused(text).contains("the name of a variable"), "{text}");
        }
    }

    #[test]
    fn an_unknown_scheme_is_named_with_its_stream() {
        for (text, scheme) in [
            ("http://host/path", "http"),
            ("binary-v3:///x", "binary-v3"),
            ("attachablebinary:///x", "attachablebinary"),
            ("c:\\pipe\\x", "c"),
            ("Fifo2:/x", "Fifo2"),
        ] {
            assert_eq!(
                refused(text),
                format!(
                    "cannot use scheme '{scheme}' for stderr: expected a path, 'fifo', 'file', \
                     'binary' or 'binary-v2'"
                )
            );
        }
    }

    #[test]
    fn odd_paths_are_refused() {
        for (text, expected) in [
            ("relative/path", "an absolute path"),
            ("./x", "an absolute path"),
            ("/", "an absolute path"),
            ("://x", "an absolute path"),
            ("1:/x", "an absolute path"),
            ("file:relative", "an absolute path"),
            ("file:", "an absolute path"),
            ("file://", "an absolute path"),
            ("file:///", "an absolute path"),
            ("binary://usr/bin/logger", "no host"),
            ("file://usr", "an absolute path"),
            ("/run/../etc/x", "'..'"),
            ("file:///var/log/../../etc/cron.d/x", "'..'"),
            ("file:///var/log/%2e%2e/x", "'..'"),
            ("binary:///usr/bin/..", "an absolute path"),
            ("file:///x%00y", "zero byte"),
            ("/x\0y", "zero byte"),
            ("file:///x%2", "escapes"),
            ("file:///x%+1", "escapes"),
            ("file:///x%ff", "escapes"),
            ("binary:///x?a=%zz", "escapes"),
        ] {
            let error = refused(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
        let long = format!("/{}", "x".repeat(MAX_BYTES));
        assert!(refused(&long).contains("64 KiB"));
    }

    #[test]
    fn what_is_shown_has_no_query_and_no_second_line() {
        let error = refused("binary://host/x\ny?token=secret");
        assert!(
            !error.contains("secret") && !error.contains('\n'),
            "{error}"
        );
    }
}
