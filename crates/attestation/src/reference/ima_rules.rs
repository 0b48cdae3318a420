//! Rules on files: which contents a boot state allows for what IMA measures while the host runs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::event_rules::known;
use crate::hex;
use crate::ima::MeasuredFile;

/// Paths of one boot state; the size of a document is the narrower limit.
const MAX_FILES: usize = 16 * 1024;
/// Contents of one path.
pub(super) const MAX_DIGESTS: usize = 16;
/// Prefixes that are not judged.
const MAX_EXCLUDED: usize = 256;
/// Bytes of a path; `PATH_MAX` of Linux.
const PATH_BYTES: usize = 4096;

/// Which files may have been run or read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImaRules {
    /// Allowed contents of each path, as `sha256:<hex>`.
    pub files: BTreeMap<String, BTreeSet<String>>,
    /// Directories, with a slash at their ends, beneath which nothing is judged.
    pub excluded: Vec<String>,
    /// What becomes of the host if there was another file.
    pub unknown: UnknownFile,
}

/// What a file that no rule allows says about the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnknownFile {
    /// Executables are unrecognized: a warning, 33 of AR4SI.
    Warn,
    /// The boot state is not met: contraindicated, 96 of AR4SI.
    Refuse,
}

// === impl UnknownFile ===

impl UnknownFile {
    /// The word in claims.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Refuse => "refuse",
        }
    }

    /// Reads the word in claims.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Warn, Self::Refuse]
            .into_iter()
            .find(|one| one.as_str() == text)
    }
}

/// What the rules make of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileVerdict {
    Allowed,
    OtherContents,
    Unlisted,
}

// === impl ImaRules ===

impl ImaRules {
    /// What becomes of `file`.
    pub(crate) fn judge(&self, file: &MeasuredFile<'_>) -> FileVerdict {
        if is_excluded(&self.excluded, file.path) {
            return FileVerdict::Allowed;
        }
        let allowed = str::from_utf8(file.path)
            .ok()
            .and_then(|path| self.files.get(path));
        match allowed {
            None => FileVerdict::Unlisted,
            Some(allowed) if allowed.contains(&contents(file)) => FileVerdict::Allowed,
            Some(_) => FileVerdict::OtherContents,
        }
    }

    /// Reads the claim `ima`; `None` for anything that is not known here.
    pub(super) fn from_claim(claim: &Value) -> Option<Self> {
        let members = known(claim, &["files", "excluded", "unknown"])?;
        let files = members.get("files")?.as_object()?;
        let none = Vec::new();
        let excluded = members
            .get("excluded")
            .map_or(Some(&none), Value::as_array)?;
        if files.len() > MAX_FILES || excluded.len() > MAX_EXCLUDED {
            return None;
        }
        Some(Self {
            files: files
                .iter()
                .map(|(path, digests)| {
                    Some((
                        Some(path).filter(|path| is_path(path))?.clone(),
                        read(digests)?,
                    ))
                })
                .collect::<Option<_>>()?,
            excluded: excluded
                .iter()
                .map(|prefix| {
                    let prefix = prefix.as_str()?;
                    is_directory(prefix).then(|| prefix.to_owned())
                })
                .collect::<Option<_>>()?,
            unknown: UnknownFile::parse(members.get("unknown")?.as_str()?)?,
        })
    }

    /// The claim `ima`.
    pub(super) fn to_claim(&self) -> Value {
        let files: Map<String, Value> = self
            .files
            .iter()
            .map(|(path, digests)| (path.clone(), json!(digests)))
            .collect();
        json!({
            "files": files,
            "excluded": self.excluded,
            "unknown": self.unknown.as_str(),
        })
    }
}

/// Whether `path` lies beneath one of the directories.
pub(super) fn is_excluded(directories: &[String], path: &[u8]) -> bool {
    // A path with dots in it may lead elsewhere than its beginning says.
    let has_dots = path.windows(4).any(|part| part == b"/../") || path.ends_with(b"/..");
    let is_beneath = |directory: &String| path.starts_with(directory.as_bytes());
    !has_dots && directories.iter().any(is_beneath)
}

/// Whether `text` is the form of a directory that can be excluded.
#[must_use]
pub fn is_directory(text: &str) -> bool {
    is_path(text) && text.starts_with('/') && text.ends_with('/') && text != "/"
}

/// `sha256:<hex>`, as rules have it.
pub(crate) fn contents(file: &MeasuredFile<'_>) -> String {
    format!("{}:{}", file.algorithm, hex::encode(file.digest))
}

pub(super) fn is_path(path: &str) -> bool {
    (1..=PATH_BYTES).contains(&path.len()) && !path.chars().any(char::is_control)
}

fn read(digests: &Value) -> Option<BTreeSet<String>> {
    let digests = digests.as_array()?;
    if !(1..=MAX_DIGESTS).contains(&digests.len()) {
        return None;
    }
    digests
        .iter()
        .map(|digest| {
            let digest = digest.as_str()?;
            let (algorithm, value) = digest.rsplit_once(':')?;
            let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b':');
            let fits = !algorithm.is_empty()
                && algorithm.len() <= 32
                && algorithm.bytes().all(is_name)
                && (20..=64).contains(&hex::decode(value)?.len());
            fits.then(|| digest.to_owned())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(change: impl FnOnce(&mut Value)) -> Option<ImaRules> {
        let digest = format!("sha256:{}", "07".repeat(32));
        let mut claim = json!({
            "files": {"/bin/a": [digest], "boot_aggregate": [digest]},
            "excluded": ["/var/log/"],
            "unknown": "refuse",
        });
        change(&mut claim);
        ImaRules::from_claim(&claim)
    }

    fn judged(path: &[u8], digest: &[u8], algorithm: &str) -> FileVerdict {
        let file = MeasuredFile {
            algorithm,
            digest,
            path,
        };
        rules(|_| {}).unwrap().judge(&file)
    }

    #[test]
    fn rules_read_back() {
        let read = rules(|_| {}).unwrap();
        assert_eq!(ImaRules::from_claim(&read.to_claim()), Some(read));
        assert_eq!(
            rules(|claim| claim["unknown"] = json!("warn"))
                .unwrap()
                .unknown,
            UnknownFile::Warn
        );
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        for (member, wrong) in [
            ("unknown", json!("ignore")),
            ("unknown", json!(null)),
            ("excluded", json!(["/"])),
            ("excluded", json!(["/var/log"])),
            ("excluded", json!(["var/"])),
            ("excluded", json!("/var/")),
            ("files", json!([])),
            ("files", json!({"/a": []})),
            ("files", json!({"/a": ["07"]})),
            ("files", json!({"/a": ["sha256:0"]})),
            (
                "files",
                json!({"/a": [format!("SHA256:{}", "07".repeat(32))]}),
            ),
            (
                "files",
                json!({"/a\n": [format!("sha256:{}", "07".repeat(32))]}),
            ),
            ("exclude", json!([])),
        ] {
            assert_eq!(
                rules(|claim| claim[member] = wrong.clone()),
                None,
                "{member} {wrong}"
            );
        }
        for member in ["files", "unknown"] {
            let without = rules(|claim| {
                claim.as_object_mut().unwrap().remove(member);
            });
            assert_eq!(without, None, "{member}");
        }
    }

    #[test]
    fn a_file_is_allowed_by_path_and_contents() {
        let good = [7; 32];
        assert_eq!(judged(b"/bin/a", &good, "sha256"), FileVerdict::Allowed);
        assert_eq!(
            judged(b"/bin/a", &[8; 32], "sha256"),
            FileVerdict::OtherContents
        );
        assert_eq!(
            judged(b"/bin/a", &good, "verity:sha256"),
            FileVerdict::OtherContents
        );
        assert_eq!(judged(b"/bin/b", &good, "sha256"), FileVerdict::Unlisted);
        assert_eq!(judged(b"/bin/\xff", &good, "sha256"), FileVerdict::Unlisted);
    }

    #[test]
    fn what_is_beneath_an_excluded_directory_is_not_judged() {
        let other = [9; 32];
        assert_eq!(
            judged(b"/var/log/x", &other, "sha256"),
            FileVerdict::Allowed
        );
        for path in [
            &b"/var/logger"[..],
            b"/var/log/../../bin/a2",
            b"/var/log/..",
            b"/a/var/log/x",
        ] {
            assert_eq!(
                judged(path, &other, "sha256"),
                FileVerdict::Unlisted,
                "{path:?}"
            );
        }
    }
}
