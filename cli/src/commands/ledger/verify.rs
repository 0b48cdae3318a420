//! `portcullis ledger verify`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::anchor::Certified;
use portcullis_attestation::hex;
use portcullis_attestation::tpm_name::TpmName;
use portcullis_ledger::audit::{Audit, Finding, Outcome};
use portcullis_ledger::link::Link;
use serde_json::{Value, json};

use super::aks::AkSources;
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED, Failure};
use crate::ledger_files::{LedgerFiles, Line};
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::report::Report;

/// How often the TPM is asked while the agent anchors.
const LIVE_ROUNDS: u32 = 3;

/// Verify a ledger: its chain, its numbers and times, and its anchors in the TPM.
///
/// Needs neither agent nor TPM, and can be done on another machine with a copy of the files; with
/// '--live' the last anchor is compared with what this node's TPM holds now. Ends
/// with 0 if nothing is wrong, with 1 if something is, and with 2 if anchors could not be verified
/// for want of a trusted AK, or if an AK was given and there is no anchor.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis ledger verify
  portcullis ledger verify --live
  portcullis ledger verify --ledger /mnt/evidence/w7 --trust /srv/operator/trust
  portcullis ledger verify --ledger ledger.jsonl --ak 000b5a… --output json
  portcullis ledger verify --contains 412:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08")]
pub(crate) struct VerifyArguments {
    #[command(flatten)]
    files: LedgerFiles,
    #[command(flatten)]
    aks: AkSources,
    /// Also ask this node's TPM, through the agent: tells if the end was cut off before its last
    /// anchor.
    #[arg(long)]
    live: bool,
    /// An entry that must be there, as an earlier run showed it: number and SHA-256. Whoever keeps
    /// it notices that entries before it were cut off or rewritten.
    #[arg(long, value_name = "NUMBER:SHA256", value_parser = remembered)]
    contains: Option<Link>,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot ask the TPM without a trusted AK: name one with --ak, or with --trust")]
struct NoAk;

pub(crate) fn run(arguments: &VerifyArguments) -> Result<Report, Failure> {
    let names = arguments.aks.names()?;
    let mut round = 1;
    loop {
        // Asked first: an anchor that is made meanwhile is then in the files and not in the answer,
        // and one round more settles it.
        let live = ask(arguments, names.as_deref())?;
        let (mut outcome, files) = audit(arguments, names.clone())?;
        if let Some((live, ak)) = &live {
            let is_behind = outcome
                .last_anchor
                .as_ref()
                .is_some_and(|last| live.counter < last.counter);
            if is_behind && round < LIVE_ROUNDS {
                round = round.saturating_add(1);
                continue;
            }
            outcome.compare_live(live, ak);
        }
        return Ok(report(arguments, &outcome, &files));
    }
}

/// Counter and extend index as the TPM signs for them now, if that is wanted.
fn ask(
    arguments: &VerifyArguments,
    names: Option<&[TpmName]>,
) -> Result<Option<(Certified, TpmName)>, Failure> {
    if !arguments.live {
        return Ok(None);
    }
    let names = names.ok_or_else(|| Failure::undecided(NoAk))?;
    super::live::ask(names).map(Some)
}

fn audit(
    arguments: &VerifyArguments,
    names: Option<Vec<TpmName>>,
) -> Result<(Outcome, Vec<PathBuf>), Failure> {
    let mut audit = Audit::new(names);
    if let Some(entry) = arguments.contains {
        audit = audit.remembering(entry);
    }
    let mut current = None;
    let files = arguments.files.for_each(&mut |file, line| {
        if current.as_deref() != Some(file) {
            audit.begin_file(&file.display().to_string());
            current = Some(file.to_path_buf());
        }
        match line {
            Line::Whole(line) => audit.take(line, true),
            Line::Torn(line) => audit.take(line, false),
            Line::TooLong => audit.skip_too_long(),
        }
        Ok(())
    })?;
    Ok((audit.finish(), files))
}

fn report(arguments: &VerifyArguments, outcome: &Outcome, files: &[PathBuf]) -> Report {
    let exit = exit(outcome, arguments.aks.is_given() || arguments.live);
    Report {
        text: describe(outcome, exit),
        json: to_json(outcome, files, exit),
        exit,
    }
}

fn remembered(text: &str) -> Result<Link, String> {
    text.split_once(':')
        .and_then(|(number, digest)| {
            Some(Link {
                sequence: number.parse().ok().filter(|number| *number > 0)?,
                head: hex::decode_array(digest)?,
            })
        })
        .ok_or_else(|| "expected a number, ':' and a SHA-256 in lower-case hexadecimal".into())
}

fn exit(outcome: &Outcome, wants_anchors: bool) -> u8 {
    if outcome.first_fault().is_some() {
        EXIT_REFUSED
    } else if outcome.unverified_anchors > 0 || (wants_anchors && outcome.anchors == 0) {
        EXIT_UNDECIDED
    } else {
        0
    }
}

fn result(exit: u8) -> &'static str {
    match exit {
        0 => "sound",
        EXIT_REFUSED => "broken",
        _ => "undecided",
    }
}

fn describe(outcome: &Outcome, exit: u8) -> String {
    let mut rows = Rows::default();
    let range = match outcome.entries {
        0 => "none".to_owned(),
        count => format!("{count}, {} to {}", outcome.first, outcome.end.sequence),
    };
    rows.add("entries", range);
    if outcome.entries > 0 {
        let end = outcome.end;
        let digest = hex::encode(&end.head);
        rows.add("last entry", format!("{}:{digest}", end.sequence));
        rows.add("written", outcome.last_at.clone().unwrap_or_default());
    }
    rows.add("anchors", anchors(outcome));
    if let Some(last) = &outcome.last_anchor {
        rows.add(
            "last anchor",
            format!("covers entry {}, counter {}", last.through, last.counter),
        );
        let open = outcome.end.sequence.saturating_sub(last.through);
        rows.add(
            "not covered",
            format!("{open} entries after it, by the chain alone"),
        );
    }
    let painted = match exit {
        0 => good(result(exit)),
        EXIT_REFUSED => bad(result(exit)),
        _ => caution(result(exit)),
    };
    let mut text = format!("ledger {painted}\n{}", rows.render());
    for finding in &outcome.findings {
        text.push_str(&line(finding));
    }
    if outcome.further_findings > 0 {
        let more = format!("… and {} more findings\n", outcome.further_findings);
        text.push_str(&more);
    }
    text
}

fn anchors(outcome: &Outcome) -> String {
    match (outcome.anchors, outcome.unverified_anchors) {
        (0, 0) => "none: the chain alone proves order, not age".to_owned(),
        (verified, 0) => format!("{verified} verified"),
        (verified, unverified) => {
            format!("{verified} verified, {unverified} not, for no trusted AK is known (--ak)")
        }
    }
}

fn line(finding: &Finding) -> String {
    let painted = if finding.code.is_fault() {
        bad(finding.code.as_str())
    } else {
        caution(finding.code.as_str())
    };
    let mut place = match finding.line {
        0 => String::new(),
        line => format!(" {}:{line}", plain(&finding.file)),
    };
    if let Some(sequence) = finding.sequence {
        place = format!("{place} {}", strong(&format!("entry {sequence}")));
    }
    let (expected, found) = (plain(&finding.expected), plain(&finding.found));
    format!("[{painted}]{place}: expected {expected}, found {found}\n")
}

fn to_json(outcome: &Outcome, files: &[PathBuf], exit: u8) -> Value {
    let findings: Vec<Value> = outcome.findings.iter().map(finding_json).collect();
    let last_anchor = outcome.last_anchor.as_ref().map(|last| {
        json!({
            "through": last.through,
            "counter": last.counter,
            "extend": hex::encode(&last.extend),
            "at": last.at,
            "ak_name": last.ak.to_string(),
        })
    });
    json!({
        "result": result(exit),
        "files": files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
        "entries": outcome.entries,
        "first": outcome.first,
        "last": outcome.end.sequence,
        "head_sha256": hex::encode(&outcome.end.head),
        "last_at": outcome.last_at,
        "anchors_verified": outcome.anchors,
        "anchors_unverified": outcome.unverified_anchors,
        "last_anchor": last_anchor,
        "first_fault": outcome.first_fault().map(finding_json),
        "findings": findings,
        "further_findings": outcome.further_findings,
    })
}

fn finding_json(finding: &Finding) -> Value {
    json!({
        "code": finding.code.as_str(),
        "fault": finding.code.is_fault(),
        "file": finding.file,
        "line": finding.line,
        "sequence": finding.sequence,
        "expected": finding.expected,
        "found": finding.found,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis_ledger::link::Stamp;
    use serde_json::Map;

    fn audited(lines: &[&[u8]]) -> Outcome {
        let mut audit = Audit::new(None);
        audit.begin_file("ledger.jsonl");
        for line in lines {
            audit.take(line, true);
        }
        audit.finish()
    }

    #[test]
    fn the_exit_code_says_what_was_proven() {
        let stamp = Stamp {
            at: "2026-11-21T20:58:04Z".to_owned(),
            boot: None,
        };
        let (line, _) = Link::GENESIS.next_line(&Map::new(), &stamp).unwrap();
        let mut sound = audited(&[&line]);
        assert_eq!(exit(&sound, false), 0);
        assert_eq!(exit(&sound, true), EXIT_UNDECIDED, "no anchor");
        sound.unverified_anchors = 1;
        assert_eq!(exit(&sound, false), EXIT_UNDECIDED, "no AK");
        let broken = audited(&[&line, b"garbage"]);
        assert_eq!(exit(&broken, false), EXIT_REFUSED);
        let text = anstream::adapter::strip_str(&describe(&broken, 1)).to_string();
        assert!(text.starts_with("ledger broken\n"), "{text}");
        assert!(
            text.contains("[entry-malformed] ledger.jsonl:2: expected"),
            "{text}"
        );
        let json = to_json(&broken, &[], 1);
        assert_eq!(json["first_fault"]["line"], 2);
        assert_eq!(json["result"], "broken");
    }

    #[test]
    fn what_a_run_shows_is_what_the_next_one_takes() {
        let digest = "5a".repeat(32);
        let link = remembered(&format!("41:{digest}")).unwrap();
        assert_eq!((link.sequence, link.head), (41, [0x5a; 32]));
        for text in [
            "",
            "41",
            "0:5a",
            &format!("0:{digest}"),
            &format!("-1:{digest}"),
        ] {
            assert!(remembered(text).is_err(), "{text}");
        }
    }
}
