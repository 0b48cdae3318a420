//! `portcullis status`

mod policy;

use clap::Args;
use portcullis_client::method::{
    LaunchCounts, LedgerAnchor, NodeStatus, QuarantineSummary, Status, StatusReply,
    VerdictKeySummary,
};
use serde_json::{Value, json};

use self::policy::Policy;
use super::attest;
use crate::agent;
use crate::clock;
use crate::failure::{EXIT_INTERNAL, EXIT_REFUSED, EXIT_UNDECIDED, Failure};
use crate::node_policy::NodePolicy;
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::report::Report;

/// Show this node's verdict, its keys and what the gate decided.
///
/// Ends with 0 if the node holds an affirming verdict, with 1 if its verdict is another one, with 2
/// if there is none or it has expired.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis status
  portcullis status --output json | jq .verdict.expires_at")]
pub(crate) struct StatusArguments {}

pub(crate) fn run(_arguments: &StatusArguments) -> Result<Report, Failure> {
    let StatusReply { status } = agent::call(&Status {}, agent::QUICK)?;
    let now = clock::now_unix_s();
    let settings = portcullis_config::load();
    let policy = Policy {
        settings: &settings,
        now_unix_s: now,
    };
    let exit = exit(&status, now);
    let signed = NodePolicy::of(&settings, now);
    let mut json = serde_json::to_value(&status).unwrap_or(Value::Null);
    let text = describe(&status, &policy, &signed, now);
    if let Some(members) = json.as_object_mut() {
        members.insert("trusted".to_owned(), json!(exit == 0));
        members.insert("policy".to_owned(), policy.json());
        members.insert("signed".to_owned(), signed.to_json());
        return Ok(Report { text, json, exit });
    }
    Ok(Report {
        text,
        json,
        exit: EXIT_INTERNAL,
    })
}

fn exit(status: &NodeStatus, now: u64) -> u8 {
    match &status.verdict {
        None => EXIT_UNDECIDED,
        Some(verdict) if verdict.status != "affirming" => EXIT_REFUSED,
        Some(verdict) if verdict.expires_at <= now => EXIT_UNDECIDED,
        Some(_) => 0,
    }
}

fn describe(status: &NodeStatus, policy: &Policy<'_>, signed: &NodePolicy<'_>, now: u64) -> String {
    let mut rows = Rows::default();
    rows.add("agent", plain(&status.version));
    if let Some(quarantine) = &status.quarantine {
        rows.add("quarantine", bad(&self::quarantine(quarantine, now)));
    }
    rows.add("verdict", verdict(status, now));
    if let Some(verdict) = &status.verdict {
        rows.add("issued", clock::utc_and_distance(verdict.issued_at, now));
        rows.add("expires", clock::utc_and_distance(verdict.expires_at, now));
        rows.add(
            "boot state",
            plain(verdict.boot_state.as_deref().unwrap_or("none matched")),
        );
        rows.add("sequence", verdict.sequence.to_string());
    }
    if let Some(at) = status.last_attestation_at {
        rows.add("attested", clock::utc_and_distance(at, now));
    }
    if let Some(at) = status.next_attestation_at {
        rows.add("attests next", clock::distance(at, now));
    }
    if let Some(latch) = &status.latch {
        let failure = format!(
            "[{}] {}, {}; see 'portcullis attest --clear-failure'",
            plain(&latch.failure.code),
            plain(&latch.failure.subject),
            clock::utc_and_distance(latch.since, now)
        );
        rows.add("failure stands", bad(&failure));
    }
    if let Some(failure) = &status.last_failure {
        rows.add("last failure", caution(&plain(failure)));
    }
    let enrolled = if status.enrolled {
        "yes".to_owned()
    } else {
        bad("no, run 'portcullis enroll'")
    };
    rows.add("enrolled", enrolled);
    rows.add(
        "TPM",
        plain(status.ueid.as_deref().unwrap_or("not known yet")),
    );
    rows.add(
        "AK name",
        plain(status.ak_name.as_deref().unwrap_or("not known yet")),
    );
    if let Some(key) = &status.verdict_key {
        rows.add("verdict key", verdict_key(key));
    }
    if let Some(fuse) = &status.boot_fuse {
        rows.add("boot fuse", plain(fuse));
    }
    rows.add(
        "asset tag",
        if status.tag_present {
            "provisioned"
        } else {
            "none"
        },
    );
    policy.summarise(&mut rows);
    signed.add_to(&mut rows, now);
    rows.add("launches", launches(status.launches));
    rows.add("confinement", confinement(status));
    rows.add("ledger", format!("{} entries", status.ledger_sequence));
    if let Some(anchor) = &status.ledger_anchor {
        rows.add("ledger anchor", ledger_anchor(anchor, now));
    }
    format!(
        "{}\n{}{}{}",
        strong(&format!("Node {}", plain(&status.node_name))),
        rows.render(),
        policy.list(),
        attest::findings(&status.findings)
    )
}

fn launches(counts: LaunchCounts) -> String {
    format!(
        "{} permitted, {} refused, {} undecided since the agent started",
        counts.permitted, counts.refused, counts.undecided
    )
}

fn ledger_anchor(anchor: &LedgerAnchor, now: u64) -> String {
    match (anchor.state.as_str(), anchor.through, anchor.at) {
        ("anchored", Some(through), Some(at)) => {
            format!("covers entry {through}, {}", clock::distance(at, now))
        }
        (state, _, _) => {
            let reason = anchor.reason.as_deref().unwrap_or_default();
            format!("{}: {}", plain(state), plain(reason))
        }
    }
}

fn quarantine(quarantine: &QuarantineSummary, now: u64) -> String {
    let since = quarantine.since.map_or_else(String::new, |since| {
        format!(" since {}", clock::utc_and_distance(since, now))
    });
    let reason = quarantine
        .reason
        .as_ref()
        .map_or_else(String::new, |reason| format!(": {}", plain(reason)));
    format!("nothing starts{since}{reason}; reboot the host to end it")
}

fn verdict_key(key: &VerdictKeySummary) -> String {
    match &key.defect {
        Some(defect) => caution(&format!(
            "{}; run 'portcullis enroll --renew'",
            plain(defect)
        )),
        None if key.policy == "approved-state" => "signs in approved boot states only".to_owned(),
        None => "signs in any state".to_owned(),
    }
}

fn confinement(status: &NodeStatus) -> String {
    match &status.confinement {
        None => caution("not known"),
        Some(summary) if summary.missing.is_empty() => plain(&summary.level),
        Some(summary) => caution(&plain(&summary.missing.join("; "))),
    }
}

fn verdict(status: &NodeStatus, now: u64) -> String {
    match &status.verdict {
        None if status.findings.is_empty() => bad("none, run 'portcullis attest'"),
        None => bad("withheld, see below"),
        Some(verdict) if verdict.expires_at <= now => {
            format!("{} ({})", bad("expired"), plain(&verdict.status))
        }
        Some(verdict) if verdict.status == "affirming" => good(&verdict.status),
        Some(verdict) => attest::tier(&verdict.status),
    }
}

#[cfg(test)]
mod tests {
    use portcullis_client::method::VerdictSummary;

    use super::*;

    fn status(verdict: Option<(&str, u64)>) -> NodeStatus {
        NodeStatus {
            version: "0.1.0".to_owned(),
            node_name: "w7".to_owned(),
            enrolled: true,
            ueid: None,
            ak_name: None,
            verdict: verdict.map(|(status, expires_at)| VerdictSummary {
                status: status.to_owned(),
                issued_at: 1000,
                expires_at,
                sequence: 3,
                boot_state: Some("debian-12".to_owned()),
            }),
            findings: Vec::new(),
            last_attestation_at: Some(1000),
            next_attestation_at: Some(1300),
            last_failure: None,
            tag_present: false,
            tag_document: None,
            verdict_token: None,
            launches: LaunchCounts {
                permitted: 2,
                refused: 1,
                undecided: 0,
            },
            ledger_sequence: 3,
            ledger_anchor: None,
            confinement: None,
            verdict_key: None,
            boot_fuse: None,
            quarantine: None,
            latch: None,
        }
    }

    fn plain_text(status: &NodeStatus) -> String {
        let settings = portcullis_config::parse("node.toml", "", "w7");
        let policy = Policy {
            settings: &settings,
            now_unix_s: 1240,
        };
        let signed = NodePolicy::unsigned(&settings);
        anstream::adapter::strip_str(&describe(status, &policy, &signed, 1240)).to_string()
    }

    #[test]
    fn tells_since_when_and_why_the_host_is_in_quarantine() {
        let mut status = status(None);
        status.quarantine = Some(QuarantineSummary {
            since: Some(1000),
            reason: Some("INC-1".to_owned()),
        });
        let text = plain_text(&status);
        let expected =
            "nothing starts since 1970-01-01T00:16:40Z (4 min ago): INC-1; reboot the host";
        assert!(text.contains(expected), "{text}");
    }

    #[test]
    fn tells_what_a_verdict_key_is_not() {
        let mut status = status(None);
        let mut key = VerdictKeySummary {
            kid: "x".to_owned(),
            policy: "none".to_owned(),
            approvers: Vec::new(),
            defect: Some("signs in any state".to_owned()),
        };
        status.verdict_key = Some(key.clone());
        let text = plain_text(&status);
        assert!(
            text.contains("signs in any state; run 'portcullis enroll --renew'"),
            "{text}"
        );
        key.defect = None;
        key.policy = "approved-state".to_owned();
        status.verdict_key = Some(key);
        let text = plain_text(&status);
        assert!(
            text.contains("signs in approved boot states only"),
            "{text}"
        );
    }

    #[test]
    fn the_exit_code_says_whether_the_node_is_trusted() {
        for (verdict, expected) in [
            (None, 2),
            (Some(("affirming", 1101)), 0),
            (Some(("affirming", 1100)), 2),
            (Some(("affirming", 1099)), 2),
            (Some(("warning", 1101)), 1),
            (Some(("contraindicated", 1101)), 1),
            (Some(("none", 1101)), 1),
        ] {
            assert_eq!(exit(&status(verdict), 1100), expected, "{verdict:?}");
        }
    }

    #[test]
    fn shows_ages_and_not_only_instants() {
        let text = plain_text(&status(Some(("affirming", 1600))));
        assert!(text.contains("1970-01-01T00:16:40Z (4 min ago)"), "{text}");
        assert!(text.contains("1970-01-01T00:26:40Z (in 6 min)"), "{text}");
        assert!(text.contains("attests next  in 1 min"), "{text}");
        assert!(
            text.contains("2 permitted, 1 refused, 0 undecided"),
            "{text}"
        );
    }
}
