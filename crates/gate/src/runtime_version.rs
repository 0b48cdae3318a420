//! What an OCI runtime says of itself.

use std::fmt;

use crate::Version;

/// Longest name of a runtime, in bytes.
const NAME_LIMIT_BYTES: usize = 32;

/// What an OCI runtime prints for `--version`, as far as rules ask for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeVersion {
    /// The name it gives itself, `runc` or `crun`.
    pub name: String,
    /// Its version.
    pub version: Version,
    /// The version of the libseccomp that it uses; crun does not tell.
    pub libseccomp: Option<Version>,
}

// === impl RuntimeVersion ===

impl RuntimeVersion {
    /// Reads what a runtime prints, or what [`Display`](fmt::Display) made of that; `None` if
    /// name and version are not in the first line.
    ///
    /// ```
    /// use portcullis_gate::RuntimeVersion;
    /// let said = "runc version 1.1.5+ds1\nspec: 1.0.2-dev\nlibseccomp: 2.5.4\n";
    /// let runtime = RuntimeVersion::parse(said).unwrap();
    /// assert_eq!(runtime.to_string(), "runc version 1.1.5+ds1;libseccomp: 2.5.4");
    /// ```
    #[must_use]
    pub fn parse(said: &str) -> Option<Self> {
        let mut lines = said.split(['\n', ';']);
        let (name, version) = Version::told(lines.next()?)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let fits = (1..=NAME_LIMIT_BYTES).contains(&name.len()) && name.bytes().all(is_name);
        fits.then(|| Self {
            name: name.to_owned(),
            version,
            libseccomp: lines
                .find_map(|line| line.strip_prefix("libseccomp: "))
                .and_then(Version::parse),
        })
    }
}

impl fmt::Display for RuntimeVersion {
    /// On one line.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} version {}", self.name, self.version)?;
        match &self.libseccomp {
            Some(version) => write!(formatter, ";libseccomp: {version}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RuntimeVersion;

    #[test]
    fn what_runtimes_print_is_read_and_kept_on_one_line() {
        let runc = "runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n\
                    go: go1.19.8\nlibseccomp: 2.5.4\n";
        let crun = "crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\n\
                    rundir: /run/user/0/crun\nspec: 1.0.0\n+SYSTEMD +SELINUX +SECCOMP\n";
        for (said, name, libseccomp) in [(runc, "runc", Some("2.5.4")), (crun, "crun", None)] {
            let runtime = RuntimeVersion::parse(said).expect(name);
            assert_eq!(runtime.name, name);
            assert_eq!(
                runtime.libseccomp.as_ref().map(crate::Version::as_str),
                libseccomp
            );
            assert_eq!(RuntimeVersion::parse(&runtime.to_string()), Some(runtime));
        }
    }

    #[test]
    fn a_runtime_that_says_something_else_says_nothing() {
        for said in [
            "",
            "\n",
            "runc\n",
            "a b version 1.2.3",
            " version 1.2.3",
            "runc version x",
        ] {
            assert_eq!(RuntimeVersion::parse(said), None, "{said:?}");
        }
    }
}
