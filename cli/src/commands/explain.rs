//! `portcullis explain`

mod remedy;

use clap::Args;
use portcullis_client::method::Explain;
use portcullis_gate::{Code, RecordId, Rule};
use serde_json::{Map, Value, json};

use crate::agent;
use crate::failure::Failure;
use crate::findings::{references_json, references_text};
use crate::paint::{Rows, bad, caution, good, plain, strong};
use crate::remedy::advice;
use crate::report::Report;

/// Two names at least this alike are taken for the same with a typing error.
const ALIKE: f64 = 0.8;

/// Explain a refusal: by its reference, what happened and what would have passed; by its code or
/// rule, what it means.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis explain 8d21c0aa
  portcullis explain pcr-drift
  portcullis explain mount-sources
  portcullis explain --list")]
pub(crate) struct ExplainArguments {
    /// The eight digits after 'ref=', a code, or the id of a rule.
    #[arg(value_name = "REF|CODE|RULE", required_unless_present = "list")]
    what: Option<String>,
    /// List all codes and rules.
    #[arg(long, conflicts_with = "what")]
    list: bool,
}

#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error("cannot explain '{}': expected eight hexadecimal digits, a code or a rule", what.escape_debug())]
    Unknown { what: String },
    #[error("cannot explain '{}': there is no such code or rule; did you mean '{alike}'?", what.escape_debug())]
    Misspelt { what: String, alike: &'static str },
}

pub(crate) fn run(arguments: &ExplainArguments) -> Result<Report, Failure> {
    let Some(what) = &arguments.what else {
        return Ok(list());
    };
    if let Some(code) = Code::from_name(what) {
        return Ok(meaning(code));
    }
    if let Some(rule) = Rule::from_id(what) {
        return Ok(of_rule(rule));
    }
    if RecordId::parse(what).is_none() {
        let what = what.clone();
        return Err(Failure::usage(match alike(&what) {
            Some(alike) => ExplainError::Misspelt { what, alike },
            None => ExplainError::Unknown { what },
        }));
    }
    let reply = agent::call(
        &Explain {
            reference: what.clone(),
        },
        agent::QUICK,
    )?;
    let remedies = remedy::of_record(&reply.record);
    let mut record = reply.record;
    let text = format!("{}{}", describe(&record), remedies.text());
    record.insert("remedies".to_owned(), remedies.to_json());
    Ok(Report::done(text, Value::Object(record)))
}

fn list() -> Report {
    let mut codes = Rows::default();
    for code in Code::ALL {
        codes.add(
            code.as_str(),
            format!("{}: {}", code.kind(), code.meaning()),
        );
    }
    let mut rules = Rows::default();
    for rule in Rule::ALL {
        rules.add(rule.id(), rule.title());
    }
    let text = format!(
        "{}\n{}\n{}\n{}",
        strong("Codes"),
        codes.render(),
        strong("Rules"),
        rules.render()
    );
    let json = json!({
        "codes": Code::ALL.iter().map(|code| code_json(*code)).collect::<Vec<_>>(),
        "rules": Rule::ALL.iter().map(|rule| rule_json(*rule)).collect::<Vec<_>>(),
    });
    Report::done(text, json)
}

/// What is wanted, who asks for it, what can be done, and what node policy makes of it.
fn of_rule(rule: Rule) -> Report {
    let mut rows = Rows::default();
    rows.add("wants", rule.title());
    rows.add("asked for by", references_text(rule));
    if let Some(advice) = advice::of(rule) {
        if !advice.fields.is_empty() {
            rows.add("fields of a pod", advice.fields);
        }
        rows.add("do", advice.text);
    }
    let policy = remedy::policy(rule);
    for (name, value) in &policy.rows {
        rows.add(name, value.as_str());
    }
    let mut json = rule_json(rule);
    if let Some(map) = json.as_object_mut() {
        map.insert("profiles".to_owned(), policy.profiles);
        map.insert("mode".to_owned(), policy.mode);
    }
    let text = format!("rule [{}]\n{}", strong(rule.id()), rows.render());
    Report::done(text, json)
}

fn rule_json(rule: Rule) -> Value {
    let advice = advice::of(rule);
    json!({
        "rule": rule.id(),
        "title": rule.title(),
        "references": references_json(rule),
        "fields": advice.map(|it| it.fields),
        "advice": advice.map(|it| it.text),
    })
}

fn meaning(code: Code) -> Report {
    let mut rows = Rows::default();
    rows.add("means", code.meaning());
    rows.add("do", code.remedy());
    rows.add("spec", code.spec());
    rows.add("exit code", code.exit_code().to_string());
    let text = format!(
        "{} [{}]\n{}",
        code.kind(),
        strong(code.as_str()),
        rows.render()
    );
    Report::done(text, code_json(code))
}

fn code_json(code: Code) -> Value {
    json!({
        "code": code.as_str(),
        "kind": code.kind().as_str(),
        "meaning": code.meaning(),
        "remedy": code.remedy(),
        "spec": code.spec(),
        "exit_code": code.exit_code(),
    })
}

fn alike(what: &str) -> Option<&'static str> {
    let codes = Code::ALL.iter().map(|code| code.as_str());
    codes
        .chain(Rule::ALL.iter().map(|rule| rule.id()))
        .map(|name| (strsim::jaro_winkler(what, name), name))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, name)| name)
}

/// Lays out a ledger entry. It is read field by field, not as a type: an entry of an older or newer
/// version is shown as far as it can be.
pub(crate) fn describe(record: &Map<String, Value>) -> String {
    let decision = text_at(record, "/decision");
    let painted = match decision.as_str() {
        "permitted" => good(&decision),
        "refused" => bad(&decision),
        _ => caution(&decision),
    };
    let mut rows = Rows::default();
    for (name, pointer) in [
        ("at", "/at"),
        ("operation", "/operation"),
        ("node", "/node"),
        ("containerd namespace", "/container/namespace"),
        ("container", "/container/id"),
        ("container name", "/container/name"),
        ("pod namespace", "/container/pod_namespace"),
        ("pod", "/container/pod"),
        ("image", "/container/image"),
        ("exec id", "/exec_id"),
        ("profile", "/profile"),
        ("policy bundle", "/policy/name"),
        ("policy number", "/policy/sequence"),
        ("policy sha256", "/policy/sha256"),
        ("verdict", "/verdict_sha256"),
        ("latency", "/latency_us"),
        ("ledger entry", "/seq"),
    ] {
        let value = text_at(record, pointer);
        let unit = if pointer == "/latency_us" && !value.is_empty() {
            " µs"
        } else {
            ""
        };
        if !value.is_empty() {
            rows.add(name, format!("{value}{unit}"));
        }
    }
    let mut text = format!(
        "{} {painted}\n{}",
        strong(&text_at(record, "/ref")),
        rows.render()
    );
    for token in list_at(record, "break_glass") {
        text.push_str(&describe_token(token));
    }
    for refusal in list_at(record, "refusals") {
        text.push_str(&describe_refusal(refusal));
    }
    let changes = list_at(record, "changes");
    if !changes.is_empty() {
        text.push_str("\nChanged by hardening:\n");
    }
    for change in changes {
        text.push_str(&describe_change(change));
    }
    if let Some(Value::Object(audited)) = record.get("audited") {
        text.push_str(&describe_audited(audited));
    }
    text
}

/// What rules in audit found, one line each: nothing of it was done.
pub(crate) fn describe_audited(audited: &Map<String, Value>) -> String {
    let mut text = "\nRules in audit, of which nothing was done:\n".to_owned();
    for refusal in list_at(audited, "refusals") {
        text.push_str(&format!(
            "  {}: [{}] {}: expected {}, found {}\n",
            strong(&value_text(refusal.get("rule"))),
            value_text(refusal.get("code")),
            value_text(refusal.get("subject")),
            value_text(refusal.get("expected")),
            value_text(refusal.get("found")),
        ));
    }
    for change in list_at(audited, "changes") {
        let rule = strong(&value_text(change.get("rule")));
        text.push_str(&format!("  {rule}: {})\n", describe_edit(change)));
    }
    text
}

/// A token by which it went ahead.
fn describe_token(token: &Value) -> String {
    let mut rows = Rows::default();
    rows.add("token", value_text(token.get("jti")));
    rows.add("ticket", value_text(token.get("ticket")));
    rows.add("reason", value_text(token.get("reason")));
    let rules: Vec<String> = token
        .get("rules")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|rule| value_text(Some(rule)))
        .collect();
    let waived = if rules.is_empty() {
        "that the host proves what it is".to_owned()
    } else {
        rules.join(", ")
    };
    rows.add("waived", waived);
    format!("\n{}\n{}", strong("Break-glass"), rows.render())
}

fn describe_refusal(refusal: &Value) -> String {
    let mut rows = Rows::default();
    for name in ["subject", "expected", "found", "remedy", "spec"] {
        rows.add(name, value_text(refusal.get(name)));
    }
    let name = value_text(refusal.get("rule"));
    let rule = Rule::from_id(&name);
    if rule.is_none() && !name.is_empty() {
        rows.add("rule", name);
    }
    if let Some(rule) = rule {
        rows.add("rule", format!("{rule}: {}", rule.title()));
        rows.add("asked for by", references_text(rule));
        if let Some(advice) = advice::of(rule) {
            let fields = advice.fields;
            let of = if fields.is_empty() {
                String::new()
            } else {
                format!(" ({fields})")
            };
            rows.add("in a workload", format!("{}{of}", advice.text));
        }
    }
    format!(
        "\n{} [{}]\n{}",
        value_text(refusal.get("kind")),
        strong(&value_text(refusal.get("code"))),
        rows.render()
    )
}

/// One edit of the configuration: place, before, after, why, and by which rule.
pub(crate) fn describe_change(change: &Value) -> String {
    let rule = match value_text(change.get("rule")) {
        rule if rule.is_empty() => rule,
        rule => format!("; {rule}"),
    };
    format!("  {}{rule})\n", describe_edit(change))
}

fn describe_edit(change: &Value) -> String {
    format!(
        "{}: {} -> {} ({}",
        strong(&value_text(change.get("pointer"))),
        short(change.get("from")),
        short(change.get("to")),
        value_text(change.get("reason")),
    )
}

/// A value on one line, cut where it would push the reason out of sight.
fn short(value: Option<&Value>) -> String {
    const LIMIT: usize = 60;
    let text = match value {
        None | Some(Value::Null) => "nothing".to_owned(),
        Some(value) => plain(&value.to_string()),
    };
    if text.chars().count() <= LIMIT {
        return text;
    }
    text.chars().take(LIMIT).chain(['…']).collect()
}

fn list_at<'a>(record: &'a Map<String, Value>, name: &str) -> &'a [Value] {
    record
        .get(name)
        .and_then(Value::as_array)
        .map_or(&[], Vec::as_slice)
}

fn text_at(record: &Map<String, Value>, pointer: &str) -> String {
    let mut names = pointer.split('/').skip(1);
    let first = names.next().and_then(|name| record.get(name));
    value_text(names.fold(first, |value, name| value?.get(name)))
}

fn value_text(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => plain(text),
        Some(other) => plain(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uncoloured(text: &str) -> String {
        anstream::adapter::strip_str(text).to_string()
    }

    #[test]
    fn suggests_the_code_that_was_meant() {
        assert_eq!(alike("pcr-dirft"), Some("pcr-drift"));
        assert_eq!(alike("agent-unreachble"), Some("agent-unreachable"));
        assert_eq!(alike("zzz"), None);
    }

    #[test]
    fn lays_out_what_the_ledger_holds() {
        let record = json!({
            "seq": 12, "ref": "8d21c0aa", "at": "2026-11-21T19:48:04Z", "operation": "create",
            "decision": "refused", "node": "w7",
            "container": {"namespace": "k8s.io", "id": "web-1", "pod": "web\u{1b}[31m"},
            "refusals": [{"kind": "refused", "code": "pcr-drift", "subject": "PCR 7 (sha256)",
                "expected": "3f2a", "found": "9c01", "remedy": "reboot", "spec": "NIST"}],
            "changes": [{"pointer": "/root/readonly", "from": null, "to": true, "reason": "why"}],
            "latency_us": 812,
        });
        let text = uncoloured(&describe(record.as_object().unwrap()));
        assert_eq!(
            text,
            "8d21c0aa refused\n\
             \x20 at                    2026-11-21T19:48:04Z\n\
             \x20 operation             create\n\
             \x20 node                  w7\n\
             \x20 containerd namespace  k8s.io\n\
             \x20 container             web-1\n\
             \x20 pod                   web?[31m\n\
             \x20 latency               812 µs\n\
             \x20 ledger entry          12\n\
             \n\
             refused [pcr-drift]\n\
             \x20 subject   PCR 7 (sha256)\n\
             \x20 expected  3f2a\n\
             \x20 found     9c01\n\
             \x20 remedy    reboot\n\
             \x20 spec      NIST\n\
             \n\
             Changed by hardening:\n\
             \x20 /root/readonly: nothing -> true (why)\n"
        );
    }

    #[test]
    fn tells_the_rules_and_what_those_in_audit_found() {
        let record = json!({
            "ref": "8d21c0aa", "decision": "permitted",
            "refusals": [{"kind": "refused", "code": "root-user-denied", "rule": "non-root"}],
            "changes": [{"pointer": "/a", "to": 1, "reason": "why", "rule": "pids-limit"}],
            "audited": {
                "refusals": [{"code": "sysctl-denied", "subject": "s", "expected": "e",
                    "found": "f", "rule": "sysctls"}],
                "changes": [{"pointer": "/b", "from": 1, "reason": "so", "rule": "rlimits"}],
            },
        });
        let text = uncoloured(&describe(record.as_object().unwrap()));
        assert!(
            text.contains("  rule           non-root: no process runs as uid 0 of the host\n"),
            "{text}"
        );
        let expected = "\nChanged by hardening:\n  /a: nothing -> 1 (why; pids-limit)\n\n\
                        Rules in audit, of which nothing was done:\n\
                        \x20 sysctls: [sysctl-denied] s: expected e, found f\n\
                        \x20 rlimits: /b: 1 -> nothing (so)\n";
        assert!(text.ends_with(expected), "{text}");
    }

    #[test]
    fn shows_an_entry_of_another_version_as_far_as_it_can() {
        let text = uncoloured(&describe(
            json!({"ref": "00000001", "x": 1}).as_object().unwrap(),
        ));
        assert_eq!(text, "00000001 \n");
    }
}
