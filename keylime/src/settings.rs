//! The adapter's settings: one file, unknown keys refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

/// Where the file is looked for.
pub(crate) const DEFAULT: &str = "/etc/portcullis/keylime.toml";
/// Least time between two questions.
const SHORTEST_POLL: Duration = Duration::from_secs(1);

/// The settings.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The Keylime verifier: `https://HOST:PORT`.
    pub(crate) verifier: String,
    /// Certificate of the authority that the verifier's certificate must be of (PEM).
    pub(crate) authority: PathBuf,
    /// Certificate that the adapter shows (PEM).
    pub(crate) certificate: PathBuf,
    /// Its key (PEM).
    pub(crate) certificate_key: PathBuf,
    /// Private key that verdicts are signed with (PKCS#8, PEM); `portcullis keys generate --use
    /// verdict` makes one.
    pub(crate) signing_key: PathBuf,
    /// Who the verdicts say they are of.
    #[serde(default = "issuer")]
    pub(crate) issuer: String,
    /// Seconds between two questions, at least 1.
    #[serde(default = "poll_s")]
    poll_interval_s: u64,
    /// Longest life of a verdict, in seconds.
    #[serde(default = "max_age_s")]
    max_verdict_age_s: u64,
    /// The nodes.
    #[serde(default, rename = "node")]
    pub(crate) nodes: Vec<NodeSettings>,
}

/// One node.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NodeSettings {
    /// Its name, as its own settings have it.
    pub(crate) name: String,
    /// Its UUID at Keylime.
    pub(crate) agent: String,
    /// Its TPM, as `portcullis status` names it.
    pub(crate) ueid: String,
    /// Program and arguments that print its evidence; `--nonce HEX` is added.
    #[serde(default = "local")]
    pub(crate) evidence: Vec<String>,
    /// Where its verdict is written.
    pub(crate) verdict: PathBuf,
}

/// Why there are no settings.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SettingsError {
    /// The file cannot be read.
    #[error("cannot read settings '{}'", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not of the form.
    #[error("cannot use settings '{}': {reason}", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// Which line, and what is wrong; one line.
        reason: String,
    },
}

// === impl Settings ===

impl Settings {
    /// Reads the file at `path`.
    ///
    /// # Errors
    ///
    /// [`SettingsError`].
    pub(crate) fn load(path: &Path) -> Result<Self, SettingsError> {
        let text = fs::read_to_string(path).map_err(|source| SettingsError::Read {
            path: path.to_owned(),
            source,
        })?;
        Self::parse(&text).map_err(|reason| SettingsError::Form {
            path: path.to_owned(),
            reason,
        })
    }

    fn parse(text: &str) -> Result<Self, String> {
        let settings: Self = toml::from_str(text).map_err(|error| {
            let line = error
                .span()
                .and_then(|span| text.get(..span.start))
                .map_or(0, |before| before.matches('\n').count().saturating_add(1));
            format!("line {line}: {}", error.message().replace('\n', " "))
        })?;
        settings.fault().map_or(Ok(settings), Err)
    }

    fn fault(&self) -> Option<String> {
        if self.nodes.is_empty() {
            return Some("expected at least one '[[node]]', found none".to_owned());
        }
        if self.poll_interval() < SHORTEST_POLL {
            return Some("'poll_interval_s': expected at least 1, found 0".to_owned());
        }
        if self.max_verdict_age_s == 0 {
            return Some("'max_verdict_age_s': expected at least 1, found 0".to_owned());
        }
        self.nodes.iter().find_map(NodeSettings::fault)
    }

    /// Time between two questions.
    pub(crate) const fn poll_interval(&self) -> Duration {
        Duration::from_secs(self.poll_interval_s)
    }

    /// Longest life of a verdict.
    pub(crate) const fn max_verdict_age(&self) -> Duration {
        Duration::from_secs(self.max_verdict_age_s)
    }
}

impl NodeSettings {
    fn fault(&self) -> Option<String> {
        let name = self.name.escape_debug();
        // It becomes part of an address.
        let is_uuid = !self.agent.is_empty()
            && self.agent.len() <= 80
            && self
                .agent
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
        if !is_uuid {
            let found = self.agent.escape_debug();
            return Some(format!(
                "'agent' of node '{name}': expected a UUID as Keylime writes it, found '{found}'"
            ));
        }
        if self.evidence.is_empty() {
            return Some(format!(
                "'evidence' of node '{name}': expected a program, found none"
            ));
        }
        None
    }
}

fn issuer() -> String {
    "portcullis-keylime".to_owned()
}

const fn poll_s() -> u64 {
    5
}

const fn max_age_s() -> u64 {
    600
}

fn local() -> Vec<String> {
    vec!["portcullis".to_owned(), "evidence".to_owned()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"
verifier = "https://keylime.example:8881"
authority = "ca.crt"
certificate = "client.crt"
certificate_key = "client.pem"
signing_key = "verdict.pem"
[[node]]
name = "w7"
agent = "d432fbb3-d2f1-4a97-9ef7-75bd81c00000"
ueid = "AQ"
verdict = "/var/lib/portcullis/remote/verdict.jwt"
"#;

    #[test]
    fn what_is_left_out_has_a_default() {
        let settings = Settings::parse(WHOLE).unwrap();
        assert_eq!(settings.poll_interval(), Duration::from_secs(5));
        assert_eq!(settings.max_verdict_age(), Duration::from_secs(600));
        assert_eq!(settings.nodes[0].evidence, ["portcullis", "evidence"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, named) in [
            ("verifier =", "verfier =", "line 2"),
            ("[[node]]\n", "[[node]]\nextra = 1\n", "extra"),
            ("d432fbb3-", "../", "UUID"),
            (
                "signing_key",
                "poll_interval_s = 0\nsigning_key",
                "poll_interval_s",
            ),
            (
                "signing_key",
                "max_verdict_age_s = 0\nsigning_key",
                "max_verdict_age_s",
            ),
        ] {
            let fault = Settings::parse(&WHOLE.replacen(from, to, 1)).unwrap_err();
            assert!(fault.contains(named), "{fault}");
            assert!(!fault.contains('\n'), "{fault}");
        }
        let none = WHOLE.split("[[node]]").next().unwrap_or_default();
        assert!(Settings::parse(none).unwrap_err().contains("[[node]]"));
    }
}
