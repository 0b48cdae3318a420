//! What the trials found, as a table and as a section of the document.

use std::fmt::Write as _;

use serde_json::Value;

/// The profiles, in the order of the columns; the second is the default.
const PROFILES: [&str; 3] = ["baseline", DEFAULT, "strict"];
const DEFAULT: &str = "restricted";
/// What the section says before its table.
const OPENING: &str = "Programs of Debian packages under each hardening profile, each as a pod through CRI with our shim and\n\
    runc, as an ordinary user, with 1 GiB of memory. Their scripts and settings are a read-only volume, as a\n\
    ConfigMap is; postgres and redis have an empty volume for their data. Under `strict` the pod has a user namespace. One\n\
    image file system has all the programs; each has an image, and so a digest, of its own. A program that\n\
    does not work is tried with each relaxation of the profile alone, granted to its image's digest by node\n\
    policy (`[[relaxation]]`); where it is said to fail, none of them helps. AppArmor and SELinux were not\n\
    active. Written by `cargo xtask compat`; not to be edited by hand.\n\n";

/// What came of one program under one profile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Finding {
    program: String,
    work: String,
    profile: String,
    outcome: String,
    relaxations: Vec<String>,
    error: Option<String>,
}

// === impl Finding ===

impl Finding {
    /// Reads the JSON array that the trials print.
    pub(super) fn parse(text: &str) -> Result<Vec<Self>, String> {
        let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let all = all.as_array().ok_or("it is no array")?;
        all.iter()
            .map(|found| Self::read(found).ok_or_else(|| format!("a part is missing in {found}")))
            .collect()
    }

    fn read(found: &Value) -> Option<Self> {
        let text = |key: &str| found[key].as_str().map(str::to_owned);
        let names = found["relaxations"].as_array()?;
        Some(Self {
            program: text("program")?,
            work: text("work")?,
            profile: text("profile")?,
            outcome: text("outcome")?,
            relaxations: names
                .iter()
                .map(|name| name.as_str().map(str::to_owned))
                .collect::<Option<_>>()?,
            error: text("error"),
        })
    }

    /// Whether what is promised holds: under the default profile one relaxation is enough.
    pub(super) fn is_good(&self) -> bool {
        self.profile != DEFAULT || self.outcome != "fails"
    }

    fn cell(&self, notes: &mut Vec<String>) -> String {
        let Some(error) = &self.error else {
            return "passes".to_owned();
        };
        notes.push(format!(
            "{}, `{}`: `{}`",
            self.program,
            self.profile,
            plain(error)
        ));
        let note = notes.len();
        if self.relaxations.is_empty() {
            return format!("fails ({note})");
        }
        let names: Vec<String> = self
            .relaxations
            .iter()
            .map(|name| format!("`{name}`"))
            .collect();
        format!("with {} ({note})", names.join(" or "))
    }
}

/// Takes from a message what differs from one run to the next, and what would end the quoting.
fn plain(error: &str) -> String {
    let error = error.split("; ref=").next().unwrap_or(error);
    error.replace('`', "'")
}

/// The table, with what failing programs said as notes below it.
pub(super) fn of(findings: &[Finding]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for found in findings {
        if !names.contains(&found.program.as_str()) {
            names.push(&found.program);
        }
    }
    let columns = PROFILES.map(|profile| format!("`{profile}`")).join(" | ");
    let mut text =
        format!("| program | what it does | {columns} |\n| --- | --- | --- | --- | --- |\n");
    let mut notes = Vec::new();
    for name in names {
        let of_program = || findings.iter().filter(|found| found.program == name);
        let work = of_program().next().map_or("", |found| found.work.as_str());
        let cells = PROFILES.map(|profile| {
            let found = of_program().find(|found| found.profile == profile);
            found.map_or_else(|| "not tried".to_owned(), |found| found.cell(&mut notes))
        });
        // Writing to a string cannot fail.
        let _written = writeln!(text, "| {name} | {work} | {} |", cells.join(" | "));
    }
    if !notes.is_empty() {
        text.push_str("\nWhat failed without a relaxation, and said:\n\n");
    }
    for (number, note) in notes.iter().enumerate() {
        let _written = writeln!(text, "{}. {note}", number + 1);
    }
    text
}

/// The section of the document, without its heading.
pub(super) fn document(
    findings: &[Finding],
    programs: &str,
    host: &str,
    as_shipped: bool,
) -> String {
    let ours = if as_shipped {
        "Portcullis as shipped."
    } else {
        "Portcullis given by `--programs`, not built as shipped."
    };
    let table = of(findings);
    format!("{OPENING}Programs: {programs}. Host: {host}. {ours}\n\n{table}")
}

#[cfg(test)]
mod tests {
    use super::{Finding, of};

    const FOUND: &str = r#"[
        {"program": "nginx", "work": "a page", "profile": "baseline", "outcome": "passes",
         "relaxations": [], "error": null},
        {"program": "nginx", "work": "a page", "profile": "restricted", "outcome": "relaxed",
         "relaxations": ["tmp-exec", "debug"], "error": "no `exec`; ref=01234567"},
        {"program": "nginx", "work": "a page", "profile": "strict", "outcome": "fails",
         "relaxations": [], "error": "no netlink"}]"#;

    #[test]
    fn a_table_says_what_each_program_needs_and_what_it_said_without() {
        let text = of(&Finding::parse(FOUND).unwrap());
        let expected = "| program | what it does | `baseline` | `restricted` | `strict` |\n\
                        | --- | --- | --- | --- | --- |\n\
                        | nginx | a page | passes | with `tmp-exec` or `debug` (1) | fails (2) |\n\
                        \n\
                        What failed without a relaxation, and said:\n\
                        \n\
                        1. nginx, `restricted`: `no 'exec'`\n\
                        2. nginx, `strict`: `no netlink`\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn only_the_default_profile_is_promised() {
        let mut found = Finding::parse(FOUND).unwrap();
        assert!(found.iter().all(Finding::is_good));
        found[1].outcome = "fails".to_owned();
        assert!(!found[1].is_good());
    }

    #[test]
    fn what_is_no_finding_is_an_error() {
        for text in ["", "{}", "[{}]", "[1]"] {
            assert!(Finding::parse(text).is_err(), "{text}");
        }
    }
}
