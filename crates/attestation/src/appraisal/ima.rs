//! The kernel's IMA list, held against the files that a boot state allows.

use super::chain;
use crate::evidence::Evidence;
use crate::finding::Finding;
use crate::hashing;
use crate::hex;
use crate::ima::{self, ImaEntry, ImaList, MeasuredFile};
use crate::pcr::{HashAlg, PcrIndex};
use crate::reference::{FileVerdict, ImaRules, contents};

/// Files that are reported; a host with more has been changed as a whole.
const MAX_FINDINGS: usize = 8;
/// Characters of a path that a finding shows.
const PATH_LIMIT: usize = 200;

/// What is not as `rules` have it: first what keeps the list from being believed, else the files.
pub(super) enum Files {
    /// The quote proves no list.
    Unproven(Finding),
    /// Each file that is not allowed.
    Judged(Vec<Finding>),
}

/// Judges the entries that the quote proves; PCR 10 must be quoted.
pub(super) fn judge(rules: &ImaRules, state: &str, evidence: &Evidence) -> Files {
    let bank = evidence.pcrs.bank();
    let quoted = PcrIndex::new(ima::PCR).and_then(|pcr| evidence.pcrs.value(pcr));
    let unproven = |code, found| {
        let expected = format!("one to check against the files of boot state '{state}'");
        Files::Unproven(Finding::new(
            code,
            "IMA list of the kernel",
            expected,
            found,
        ))
    };
    let Some(bytes) = evidence.ima_list.as_deref() else {
        return unproven("ima-list-missing", "none".to_owned());
    };
    let list = match ImaList::parse(bytes) {
        Ok(list) => list,
        Err(cause) => return unproven("ima-list-malformed", chain(&cause)),
    };
    let Some(entries) = quoted.and_then(|quoted| list.proven(bank, quoted)) else {
        return Files::Unproven(Finding::new(
            "ima-list-mismatch",
            format!("IMA list for PCR {} ({bank})", ima::PCR),
            format!(
                "{} as quoted, after some entry",
                hex::encode(quoted.unwrap_or_default())
            ),
            format!(
                "another value after each of {} entries",
                list.entries().len()
            ),
        ));
    };
    let aggregate = boot_aggregate(evidence);
    let mut findings: Vec<Finding> = Vec::new();
    let mut others: usize = 0;
    for entry in entries {
        let Some(finding) = finding(rules, entry, aggregate.as_ref()) else {
            continue;
        };
        if findings.len() < MAX_FINDINGS {
            findings.push(finding);
        } else {
            others = others.saturating_add(1);
        }
    }
    if let Some(last) = findings.last_mut().filter(|_| others > 0) {
        last.found.push_str(&format!("; and {others} more entries"));
    }
    Files::Judged(findings)
}

fn finding(rules: &ImaRules, entry: &ImaEntry<'_>, aggregate: Option<&String>) -> Option<Finding> {
    let Some(file) = &entry.file else {
        let subject = format!("entry {} of the IMA list", entry.number);
        let expected = "a template with digest and path";
        return Some(Finding::new(
            "ima-file-unknown",
            subject,
            expected,
            "another template",
        ));
    };
    let path: String = String::from_utf8_lossy(file.path)
        .escape_debug()
        .take(PATH_LIMIT)
        .collect();
    let subject = format!("file '{path}', entry {} of the IMA list", entry.number);
    let verdict = rules.judge(file);
    if entry.is_violation {
        // Excluded directories excuse this too: logs are written while they are read.
        return (verdict != FileVerdict::Allowed || rules.files.contains_key(path.as_str())).then(
            || {
                Finding::new(
                    "ima-violation",
                    subject,
                    "a file at rest",
                    "changed while measured",
                )
            },
        );
    }
    let is_aggregate = file.path == b"boot_aggregate" && aggregate == Some(&contents(file));
    let expected = match verdict {
        FileVerdict::Allowed => return None,
        _ if is_aggregate => return None,
        FileVerdict::OtherContents => "contents that the boot state allows",
        FileVerdict::Unlisted => "a file that the boot state lists",
    };
    Some(Finding::new(
        "ima-file-unknown",
        subject,
        expected,
        shown(file),
    ))
}

fn shown(file: &MeasuredFile<'_>) -> String {
    contents(file).escape_debug().take(PATH_LIMIT).collect()
}

/// What the kernel measures first: the hash of PCR 0 to 9 as they were when it started, which is
/// approved with them. `None` if the quote does not cover them all.
///
/// # Source
///
/// Linux, `security/integrity/ima/ima_crypto.c`, "ima_calc_boot_aggregate".
fn boot_aggregate(evidence: &Evidence) -> Option<String> {
    let bank = evidence.pcrs.bank();
    if bank == HashAlg::Sha1 {
        return None;
    }
    let values: Vec<&[u8]> = (0..10)
        .map(|index| evidence.pcrs.value(PcrIndex::new(index)?))
        .collect::<Option<_>>()?;
    Some(format!(
        "{bank}:{}",
        hex::encode(&hashing::digest(bank, &values)?)
    ))
}
