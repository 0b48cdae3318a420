//! `portcullis attest`

use clap::Args;
use portcullis_client::method::{Attest, AttestReply, Finding};
use serde_json::json;

use crate::agent;
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED, Failure};
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::report::Report;

/// Attest now: read the TPM, compare with the reference values, issue a verdict.
///
/// An attestation that failed stands, also over reboots, until an operator clears it or signs reference
/// values that approve the state that failed.
///
/// Ends with 0 if the verdict is affirming, with 1 if it is not, with 2 if there is none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis attest
  portcullis attest --output json | jq .findings
  portcullis attest --clear-failure 'INC-2041: bootloader update, verified by hand'")]
pub(crate) struct AttestArguments {
    /// First clear a failure that stands; the ledger keeps the reason.
    #[arg(long, value_name = "REASON", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    clear_failure: Option<String>,
}

pub(crate) fn run(arguments: &AttestArguments) -> Result<Report, Failure> {
    let attest = Attest {
        clear_failure: arguments.clear_failure.clone(),
    };
    let reply = agent::call(&attest, agent::SLOW)?;
    let json = json!({
        "verdict": reply.verdict,
        "status": reply.status,
        "findings": reply.findings,
    });
    Ok(Report {
        text: describe(&reply),
        json,
        exit: exit(&reply),
    })
}

fn exit(reply: &AttestReply) -> u8 {
    match (&reply.verdict, reply.status.as_str()) {
        (Some(_), "affirming") => 0,
        (Some(_), _) => EXIT_REFUSED,
        (None, "contraindicated") => EXIT_REFUSED,
        (None, _) => EXIT_UNDECIDED,
    }
}

fn describe(reply: &AttestReply) -> String {
    let headline = match &reply.verdict {
        Some(_) => format!("{} {}", strong("Verdict:"), tier(&reply.status)),
        None => {
            let is_known = reply.status == "contraindicated";
            let why = if is_known {
                "the host is not in a state that anybody vouches for"
            } else {
                "the node could not be appraised"
            };
            format!("{} {}", strong("No verdict:"), bad(why))
        }
    };
    let next = match exit(reply) {
        0 => "\nSee it with 'portcullis verdict show'.\n",
        _ => "\nContainers are refused on this node until this is mended.\n",
    };
    format!("{headline}\n{}{next}", findings(&reply.findings))
}

/// A trust tier in its colour.
pub(crate) fn tier(status: &str) -> String {
    match status {
        "affirming" => good(status),
        "warning" => caution(status),
        other => bad(&plain(other)),
    }
}

/// What an appraisal found wrong, one block for each.
pub(super) fn findings(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mut rows = Rows::default();
        rows.add("expected", plain(&finding.expected));
        rows.add("found", plain(&finding.found));
        text.push_str(&format!(
            "\n[{}] {}\n{}",
            strong(&plain(&finding.code)),
            plain(&finding.subject),
            rows.render()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(verdict: Option<&str>, status: &str) -> AttestReply {
        AttestReply {
            verdict: verdict.map(str::to_owned),
            status: status.to_owned(),
            findings: vec![Finding {
                code: "pcr-mismatch".to_owned(),
                subject: "PCR 7".to_owned(),
                expected: "one of 1 values".to_owned(),
                found: "00\u{1b}".to_owned(),
            }],
        }
    }

    #[test]
    fn only_an_affirming_verdict_ends_with_0() {
        for (verdict, status, expected) in [
            (Some("a.b.c"), "affirming", 0),
            (Some("a.b.c"), "warning", 1),
            (Some("a.b.c"), "contraindicated", 1),
            (Some("a.b.c"), "none", 1),
            (Some("a.b.c"), "Affirming", 1),
            (None, "contraindicated", 1),
            (None, "affirming", 2),
            (None, "none", 2),
        ] {
            assert_eq!(
                exit(&reply(verdict, status)),
                expected,
                "{verdict:?} {status}"
            );
        }
    }

    #[test]
    fn names_what_is_wrong() {
        let text = anstream::adapter::strip_str(&describe(&reply(Some("a"), "contraindicated")))
            .to_string();
        assert_eq!(
            text,
            "Verdict: contraindicated\n\n[pcr-mismatch] PCR 7\n\x20 expected  one of 1 values\n\
             \x20 found     00?\n\nContainers are refused on this node until this is mended.\n"
        );
    }
}
