//! The answer of `portcullis check`, for people and for programs.

use portcullis_gate::record::{AuditedRecord, ChangeRecord};
use portcullis_gate::{Decision, Kind, Permit, Refusal, Refusals};
use portcullis_hardening::Change;
use serde_json::{Value, json};

use super::host_refusals;
use crate::clock;
use crate::failure::{EXIT_REFUSED, EXIT_UNDECIDED};
use crate::findings::{self, Finding, findings};
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::remedy::operator::Offer;
use crate::report::Report;
use crate::table::{width, wrapped};
use crate::trial::Judged;
use crate::workload::{About, Assumption, Workload};
use crate::yaml;

/// What is known about the host.
#[derive(Debug)]
pub(super) enum Host {
    /// The caller did not want to know.
    NotAsked,
    Asked(Decision),
}

/// One workload and what became of it.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) workload: Workload,
    pub(super) judged: Vec<Judged>,
    /// Operations (RFC 6902) that are known to make it pass.
    pub(super) patch: Option<Value>,
    /// The same as a fragment of the manifest.
    pub(super) fragment: Option<Value>,
    pub(super) offers: Vec<Offer>,
}

/// All of the decision.
#[derive(Debug)]
pub(super) struct Judgement<'a> {
    pub(super) audit: bool,
    pub(super) host: &'a Host,
    pub(super) parts: &'a [Part],
    pub(super) now_unix_s: u64,
}

// === impl Part ===

impl Part {
    /// True if something stands, or may stand, against its start.
    pub(super) fn is_troubled(&self) -> bool {
        self.judged
            .iter()
            .any(|it| it.result.is_err() || it.if_root.is_some())
    }

    fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        let refused = self.judged.iter().filter_map(|it| it.result.as_ref().err());
        refused.flat_map(Refusals::iter)
    }

    fn changes(&self) -> impl Iterator<Item = &Change> {
        let hardened = self.judged.iter().filter_map(|it| it.result.as_ref().ok());
        hardened.flat_map(|hardened| &hardened.changes)
    }

    /// A check that said no weighs most, then a fault, then one that cannot be made.
    fn exit(&self) -> u8 {
        let open = self.judged.iter().any(|it| it.if_root.is_some());
        match (exit_of(self.refusals()), open) {
            (0, true) => EXIT_UNDECIDED,
            (exit, _) => exit,
        }
    }

    fn assumptions(&self) -> Vec<&Assumption> {
        let mut all: Vec<&Assumption> = Vec::new();
        for assumption in self.judged.iter().flat_map(|it| &it.subject.assumptions) {
            if !all.contains(&assumption) {
                all.push(assumption);
            }
        }
        all
    }

    /// The patch as it is printed: a fragment of a manifest in YAML, else JSON.
    pub(super) fn patch_text(&self, titled: bool) -> Option<String> {
        let patch = match (&self.fragment, &self.patch) {
            (Some(fragment), _) => yaml::emit(fragment),
            (None, Some(Value::Array(patch))) => operations(patch),
            (None, Some(other)) => format!("{other}\n"),
            (None, None) => return None,
        };
        Some(if titled {
            format!("# {}\n{patch}", plain(&self.workload.title))
        } else {
            patch
        })
    }

    fn to_json(&self) -> Value {
        let subjects: Vec<Value> = self.judged.iter().map(judged_json).collect();
        let assumptions: Vec<Value> = self
            .assumptions()
            .into_iter()
            .map(Assumption::to_json)
            .collect();
        let offers: Vec<Value> = self.offers.iter().map(Offer::to_json).collect();
        json!({
            "title": self.workload.title,
            "document": self.workload.place.as_ref().map(|place| place.document),
            "manifest_pointer": self.workload.place.as_ref().map(|place| &place.object),
            "decision": answer(self.exit()),
            "containers": subjects,
            "assumptions": assumptions,
            "patch": self.patch,
            "manifest_patch": self.fragment,
            "operator": offers,
        })
    }

    fn text(&self, width: usize) -> String {
        let mut text = String::new();
        if !self.workload.title.is_empty() {
            let answer = painted(self.exit());
            text = format!("\n{}: {answer}\n", strong(&plain(&self.workload.title)));
        }
        for judged in &self.judged {
            text.push_str(&judged_text(judged, width));
        }
        let found: Vec<Finding> = self.judged.iter().flat_map(shown).collect();
        text.push_str(&findings::references(found.iter(), width));
        let assumptions = self.assumptions();
        if !assumptions.is_empty() {
            text.push_str(&format!("\n{}\n", strong("Assumed")));
            for assumption in assumptions {
                text.push_str(&item(&plain(&assumption.text), width));
            }
        }
        if let Some(patch) = self.patch_text(false) {
            text.push_str(&format!(
                "\n{}\n{}",
                strong("This change would pass (it was tried)"),
                indented(&patch)
            ));
        } else if self.is_troubled() {
            let none = "No change of the workload that is known here would pass";
            text.push_str(&format!("\n{}\n", strong(none)));
        }
        for offer in &self.offers {
            let all = if offer.suffices {
                ""
            } else {
                ", for some of it"
            };
            let heading = format!(
                "The operator could allow it{all}: {}",
                plain(&offer.summary)
            );
            text.push_str(&format!(
                "\n{}\n{}",
                strong(&heading),
                indented(&offer.settings)
            ));
        }
        text
    }
}

fn judged_json(judged: &Judged) -> Value {
    let origins = &judged.subject.origins;
    let found = findings(&judged.result, origins);
    let open = judged.if_root.as_ref().map(|refusals| {
        let refusals = refusals.iter().map(Refusal::to_json).collect::<Vec<_>>();
        json!({"if": About::ImageUser.as_str(), "refusals": refusals})
    });
    json!({
        "title": judged.subject.title,
        "manifest_pointer": judged.subject.manifest_pointer,
        "namespace": judged.namespace,
        "profile": judged.profile,
        "decision": answer(judged_exit(judged)),
        "findings": found.iter().map(Finding::to_json).collect::<Vec<_>>(),
        "depends": open,
    })
}

fn judged_exit(judged: &Judged) -> u8 {
    match (&judged.result, &judged.if_root) {
        (Err(refusals), _) => exit_of(refusals.iter()),
        (Ok(_), Some(_)) => EXIT_UNDECIDED,
        (Ok(_), None) => 0,
    }
}

fn judged_text(judged: &Judged, width: usize) -> String {
    let found = shown(judged);
    let mut text = String::new();
    if !judged.subject.title.is_empty() {
        let outcome = match (&judged.result, &judged.if_root) {
            (Err(_), _) => bad("refused"),
            (Ok(_), Some(_)) => caution("depends on the user of its image"),
            (Ok(hardened), None) => format!(
                "{} with {}",
                good("permitted"),
                edits(hardened.changes.len())
            ),
        };
        text = format!("\n{}: {outcome}\n", plain(&judged.subject.title));
    }
    if let Some(refusals) = &judged.if_root {
        let advice = format!(
            "If the image runs as root: refused [{}]. Say which user it has with '--image-user UID'.",
            refusals.first().code
        );
        text.push_str(&item(&advice, width));
    }
    if !found.is_empty() {
        if judged.subject.title.is_empty() {
            text.push('\n');
        }
        text.push_str(&findings::table(&found, width));
    }
    text
}

/// What people are shown: how a sandbox is hardened concerns nobody who writes a pod.
fn shown(judged: &Judged) -> Vec<Finding> {
    let found = findings(&judged.result, &judged.subject.origins);
    if judged.subject.is_sandbox() && !found.iter().any(Finding::is_refusal) {
        return Vec::new();
    }
    found
}

/// A line of a list, wrapped.
fn item(words: &str, width: usize) -> String {
    let lines = wrapped(words, width.saturating_sub(4));
    let lines = lines.iter().enumerate().map(|(place, line)| {
        let mark = if place == 0 { "- " } else { "  " };
        format!("  {mark}{line}\n")
    });
    lines.collect()
}

fn indented(block: &str) -> String {
    block
        .lines()
        .map(|line| format!("  {}\n", plain(line)))
        .collect()
}

/// A JSON patch with one operation on each line.
pub(crate) fn operations(patch: &[Value]) -> String {
    let lines: Vec<String> = patch.iter().map(|it| format!("  {it}")).collect();
    format!("[\n{}\n]\n", lines.join(",\n"))
}

fn edits(count: usize) -> String {
    match count {
        0 => "no changes".to_owned(),
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    }
}

fn exit_of<'a>(refusals: impl Iterator<Item = &'a Refusal>) -> u8 {
    let weight = |refusal: &&Refusal| match refusal.kind() {
        Kind::Refused => 2,
        Kind::Fault => 1,
        Kind::Undecided => 0,
    };
    refusals
        .max_by_key(weight)
        .map_or(0, |refusal| refusal.code.exit_code())
}

const fn answer(exit: u8) -> &'static str {
    match exit {
        0 => "permitted",
        EXIT_REFUSED => "refused",
        EXIT_UNDECIDED => "undecided",
        _ => "fault",
    }
}

fn painted(exit: u8) -> String {
    match answer(exit) {
        "permitted" => good("yes"),
        "undecided" => caution("cannot be decided"),
        _ => bad("no"),
    }
}

// === impl Host ===

impl Host {
    fn refusals(&self) -> Option<&Refusals> {
        match self {
            Self::NotAsked => None,
            Self::Asked(decision) => host_refusals(decision),
        }
    }

    const fn word(&self) -> &'static str {
        match self {
            Self::NotAsked => "not-asked",
            Self::Asked(Decision::Permitted(_)) => "permitted",
            Self::Asked(Decision::Refused(_)) => "refused",
            Self::Asked(Decision::Undecided(_)) => "undecided",
        }
    }

    fn line(&self, now: u64) -> String {
        match self {
            Self::NotAsked => caution("not asked"),
            Self::Asked(Decision::Permitted(permit)) => permitted(permit, now),
            Self::Asked(Decision::Refused(_)) => bad("refused"),
            Self::Asked(Decision::Undecided(_)) => caution("undecided"),
        }
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

// === impl Judgement ===

impl Judgement<'_> {
    pub(super) fn report(&self) -> Report {
        Report {
            text: self.text(width()),
            json: self.json(),
            exit: self.exit(),
        }
    }

    /// All reasons, those about the host first.
    fn refusals(&self) -> impl Iterator<Item = &Refusal> {
        let host = self.host.refusals().into_iter().flat_map(Refusals::iter);
        host.chain(self.parts.iter().flat_map(Part::refusals))
    }

    /// A check that said no weighs most, then a fault, then a check that could not run.
    fn exit(&self) -> u8 {
        let open = self.parts.iter().any(|part| part.exit() == EXIT_UNDECIDED);
        match (exit_of(self.refusals()), open) {
            (0, true) => EXIT_UNDECIDED,
            (exit, _) => exit,
        }
    }

    fn container(&self) -> &'static str {
        let exits = self.parts.iter().map(Part::exit);
        answer(
            exits
                .max_by_key(|exit| match *exit {
                    0 => 0,
                    EXIT_UNDECIDED => 1,
                    EXIT_REFUSED => 3,
                    _ => 2,
                })
                .unwrap_or(0),
        )
    }

    fn first(&self) -> Option<&Judged> {
        self.parts.iter().flat_map(|part| &part.judged).next_back()
    }

    /// What rules in audit found, as a record has it; null if that is nothing.
    fn audited(&self) -> Value {
        let mut record = AuditedRecord::default();
        for judged in self.parts.iter().flat_map(|part| &part.judged) {
            if let Ok(hardened) = &judged.result {
                hardened.audited.add_to(&mut record);
            }
        }
        if record.is_empty() {
            return Value::Null;
        }
        json!(record)
    }

    fn json(&self) -> Value {
        let changes = self.parts.iter().flat_map(Part::changes);
        json!({
            "decision": answer(self.exit()),
            "mode": if self.audit { "audit" } else { "enforce" },
            "namespace": self.first().map(|it| &it.namespace),
            "profile": self.first().map(|it| &it.profile),
            "host": self.host.word(),
            "container": self.container(),
            "refusals": self.refusals().map(Refusal::to_json).collect::<Vec<_>>(),
            "changes": changes.map(ChangeRecord::from).collect::<Vec<_>>(),
            "audited": self.audited(),
            "workloads": self.parts.iter().map(Part::to_json).collect::<Vec<_>>(),
        })
    }

    fn text(&self, width: usize) -> String {
        let mut rows = Rows::default();
        if let Some(first) = self.first() {
            rows.add("profile", plain(&first.profile));
            rows.add("namespace", plain(&first.namespace));
        }
        rows.add("host", self.host.line(self.now_unix_s));
        let changes = self.parts.iter().flat_map(Part::changes).count();
        rows.add(
            "workload",
            match self.container() {
                "permitted" => format!("{} with {}", good("permitted"), edits(changes)),
                "undecided" => caution("depends on the user of an image"),
                _ => bad("refused"),
            },
        );
        if self.audit {
            let audit = "audit: it would start, and be recorded as 'would refuse'";
            rows.add("mode", caution(audit));
        }
        let question = strong("Would it start?");
        let mut text = format!("{question} {}\n{}", painted(self.exit()), rows.render());
        for refusal in self.host.refusals().into_iter().flat_map(Refusals::iter) {
            text.push_str(&describe(refusal));
        }
        for part in self.parts {
            text.push_str(&part.text(width));
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

#[cfg(test)]
mod tests {
    use portcullis_gate::Code;
    use portcullis_hardening::OciConfig;

    use super::*;
    use crate::workload::Subject;

    fn refusals(codes: &[Code]) -> Refusals {
        let all = codes
            .iter()
            .map(|code| Refusal::new(*code, "config.json /root", "e", "f"))
            .collect();
        Refusals::from_vec(all).unwrap()
    }

    fn judge(host: &[Code], container: &[Code]) -> (u8, Value, String) {
        let host = Host::Asked(Decision::from(refusals(host)));
        let config = OciConfig::parse(b"{}").unwrap();
        let part = Part {
            workload: Workload::of_config(config.clone()),
            judged: vec![Judged {
                subject: Subject::of_config(config),
                namespace: "default".to_owned(),
                profile: "restricted".to_owned(),
                result: Err(refusals(container)),
                if_root: None,
            }],
            patch: None,
            fragment: None,
            offers: Vec::new(),
        };
        let report = Judgement {
            audit: false,
            host: &host,
            parts: &[part],
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
        assert!(
            text.contains("refused [pcr-drift] config.json /root\n"),
            "{text}"
        );
        for code in ["privileged-denied", "device-denied"] {
            assert!(text.contains(&format!("refused  {code}")), "{text}");
        }
        assert!(text.starts_with("Would it start? no\n"), "{text}");
    }
}
