//! The answer of `portcullis check`, for people and for programs.

use portcullis_gate::record::{AuditedRecord, ChangeRecord};
use portcullis_gate::{Decision, Kind, Permit, Refusal, Refusals};
use portcullis_hardening::{Change, Hardened};
use serde_json::{Value, json};

use crate::clock;
use crate::commands::explain::{describe_audited, describe_change};
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED};
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::report::Report;

/// Both halves of the decision.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) namespace: &'a str,
    pub(super) profile: &'a str,
    pub(super) audit: bool,
    pub(super) host: &'a Decision,
    pub(super) container: &'a Result<Hardened, Refusals>,
    pub(super) now_unix_s: u64,
}

// === impl Judgement ===

impl Judgement<'_> {
    pub(super) fn report(&self) -> Report {
        Report {
            text: self.text(),
            json: self.json(),
            exit: self.exit(),
        }
    }

    /// All reasons, those about the host first.
    fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        let host = match self.host {
            Decision::Permitted(_) => None,
            Decision::Refused(refusals) | Decision::Undecided(refusals) => Some(refusals),
        };
        host.into_iter()
            .chain(self.container.as_ref().err())
            .flat_map(Refusals::iter)
    }

    fn changes(&self) -> &[Change] {
        self.container
            .as_ref()
            .map_or(&[], |hardened| hardened.changes.as_slice())
    }

    /// What rules in audit found, as a record has it; null if that is nothing.
    fn audited(&self) -> Value {
        let mut record = AuditedRecord::default();
        if let Ok(hardened) = self.container {
            hardened.audited.add_to(&mut record);
        }
        if record.is_empty() {
            return Value::Null;
        }
        json!(record)
    }

    /// A check that said no weighs most, then a fault, then a check that could not run.
    fn exit(&self) -> u8 {
        let weight = |refusal: &&Refusal| match refusal.kind() {
            Kind::Refused => 2,
            Kind::Fault => 1,
            Kind::Undecided => 0,
        };
        self.refusals()
            .max_by_key(weight)
            .map_or(0, |refusal| refusal.code.exit_code())
    }

    fn answer(&self) -> &'static str {
        match self.exit() {
            0 => "permitted",
            EXIT_REFUSED => "refused",
            EXIT_UNDECIDED => "undecided",
            _ => "fault",
        }
    }

    fn json(&self) -> Value {
        json!({
            "decision": self.answer(),
            "mode": if self.audit { "audit" } else { "enforce" },
            "namespace": self.namespace,
            "profile": self.profile,
            "host": host_word(self.host),
            "container": if self.container.is_ok() { "permitted" } else { "refused" },
            "refusals": self.refusals().map(Refusal::to_json).collect::<Vec<_>>(),
            "changes": self.changes().iter().map(change_json).collect::<Vec<_>>(),
            "audited": self.audited(),
        })
    }

    fn text(&self) -> String {
        let answer = match self.answer() {
            "permitted" => good("yes"),
            "undecided" => caution("cannot be decided"),
            _ => bad("no"),
        };
        let mut rows = Rows::default();
        rows.add("profile", plain(self.profile));
        rows.add("namespace", plain(self.namespace));
        rows.add("host", host_line(self.host, self.now_unix_s));
        rows.add(
            "configuration",
            match self.container {
                Ok(hardened) => format!("{} with {}", good("permitted"), edits(&hardened.changes)),
                Err(_) => bad("refused"),
            },
        );
        if self.audit {
            rows.add(
                "mode",
                caution("audit: it would start, and be recorded as 'would refuse'"),
            );
        }
        let mut text = format!("{} {answer}\n{}", strong("Would it start?"), rows.render());
        for refusal in self.refusals() {
            text.push_str(&describe(refusal));
        }
        if !self.changes().is_empty() {
            text.push_str(&format!("\n{}\n", strong("Hardening would change")));
        }
        for change in self.changes() {
            text.push_str(&describe_change(&change_json(change)));
        }
        if let Value::Object(audited) = self.audited() {
            text.push_str(&describe_audited(&audited));
        }
        text
    }
}

fn describe(refusal: &Refusal) -> String {
    let mut rows = Rows::default();
    rows.add("expected", plain(&refusal.expected));
    rows.add("found", plain(&refusal.found));
    rows.add("do", plain(&refusal.remedy));
    format!(
        "\n{} [{}] {}\n{}",
        refusal.kind(),
        strong(refusal.code.as_str()),
        plain(&refusal.subject),
        rows.render()
    )
}

const fn host_word(decision: &Decision) -> &'static str {
    match decision {
        Decision::Permitted(_) => "permitted",
        Decision::Refused(_) => "refused",
        Decision::Undecided(_) => "undecided",
    }
}

fn host_line(decision: &Decision, now: u64) -> String {
    match decision {
        Decision::Permitted(permit) => permitted(permit, now),
        Decision::Refused(_) => bad("refused"),
        Decision::Undecided(_) => caution("undecided"),
    }
}

fn permitted(permit: &Permit, now: u64) -> String {
    format!(
        "{} (boot state {}, verdict issued {})",
        good("permitted"),
        plain(permit.boot_state.as_deref().unwrap_or("not named")),
        clock::distance(permit.verdict_iat, now)
    )
}

fn edits(changes: &[Change]) -> String {
    match changes.len() {
        0 => "no changes".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

fn change_json(change: &Change) -> Value {
    json!(ChangeRecord::from(change))
}

#[cfg(test)]
mod tests {
    use portcullis_gate::Code;

    use super::*;

    fn refusals(codes: &[Code]) -> Refusals {
        let all = codes
            .iter()
            .map(|code| Refusal::new(*code, "s", "e", "f"))
            .collect();
        Refusals::from_vec(all).unwrap()
    }

    fn judge(host: &[Code], container: &[Code]) -> (u8, Value, String) {
        let host = Decision::from(refusals(host));
        let container = Err(refusals(container));
        let report = Judgement {
            namespace: "default",
            profile: "restricted",
            audit: false,
            host: &host,
            container: &container,
            now_unix_s: 0,
        }
        .report();
        (
            report.exit,
            report.json,
            anstream::adapter::strip_str(&report.text).to_string(),
        )
    }

    #[test]
    fn a_check_that_said_no_weighs_more_than_one_that_could_not_run() {
        use Code::{AgentUnreachable, HostUnreadable, PcrDrift, PrivilegedDenied};
        for (host, container, expected) in [
            (AgentUnreachable, PrivilegedDenied, 1),
            (PcrDrift, HostUnreadable, 1),
            (AgentUnreachable, HostUnreadable, 70),
            (AgentUnreachable, AgentUnreachable, 2),
        ] {
            assert_eq!(
                judge(&[host], &[container]).0,
                expected,
                "{host} {container}"
            );
        }
    }

    #[test]
    fn shows_every_reason_in_both_forms() {
        let (_, json, text) = judge(
            &[Code::PcrDrift],
            &[Code::PrivilegedDenied, Code::DeviceDenied],
        );
        assert_eq!(json["decision"], "refused");
        assert_eq!(json["refusals"].as_array().unwrap().len(), 3);
        for code in ["pcr-drift", "privileged-denied", "device-denied"] {
            assert!(text.contains(&format!("refused [{code}] s\n")), "{text}");
        }
        assert!(text.starts_with("Would it start? no\n"), "{text}");
    }
}
