//! `portcullis ledger list`

use std::collections::VecDeque;

use clap::Args;
use portcullis_ledger::entry::Entry;
use serde_json::{Value, json};

use super::picked::Picked;
use crate::failure::Failure;
use crate::paint::{bad, caution, good, plain, strong};
use crate::report::Report;

/// List entries of the ledger, oldest first.
///
/// Reads the files and needs no agent; says nothing about whether they are genuine, which is what
/// 'portcullis ledger verify' does.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis ledger list --since 2h --outcome refused
  portcullis ledger list --namespace shop --last 20 --output json
  portcullis ledger list --ledger /mnt/evidence/w7 --events")]
pub(crate) struct ListArguments {
    #[command(flatten)]
    picked: Picked,
    /// Only the last N.
    #[arg(long, value_name = "N")]
    last: Option<usize>,
}

pub(crate) fn run(arguments: &ListArguments) -> Result<Report, Failure> {
    let mut entries: VecDeque<Entry> = VecDeque::new();
    arguments.picked.for_each(&mut |entry| {
        entries.push_back(entry.clone());
        if arguments.last.is_some_and(|last| entries.len() > last) {
            entries.pop_front();
        }
        Ok(())
    })?;
    let text: String = entries.iter().map(row).collect();
    let text = if text.is_empty() {
        "no entries".to_owned()
    } else {
        text
    };
    let entries: Vec<Value> = entries
        .into_iter()
        .map(|entry| Value::Object(entry.record))
        .collect();
    Ok(Report::done(text, json!({ "entries": entries })))
}

/// One line: when, number, reference, what, how, about whom, why.
fn row(entry: &Entry) -> String {
    let text = |names: &[&str]| plain(entry.text(names).unwrap_or_default());
    if let Some(event) = entry.event() {
        return format!(
            "{} {:>6} {}\n",
            entry.at,
            entry.sequence,
            caution(&plain(event))
        );
    }
    let decision = text(&["decision"]);
    let painted = match decision.as_str() {
        "permitted" => good(&decision),
        "refused" => bad(&decision),
        _ => caution(&decision),
    };
    let namespace = text(&["container", "namespace"]);
    let mut about = text(&["container", "id"]);
    if !namespace.is_empty() {
        about = format!("{namespace}/{about}");
    }
    let pod = text(&["container", "pod"]);
    if !pod.is_empty() {
        let pod_namespace = text(&["container", "pod_namespace"]);
        about = format!("{about} ({pod_namespace}/{pod})");
    }
    let codes: Vec<String> = entry
        .record
        .get("refusals")
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice)
        .iter()
        .filter_map(|refusal| refusal.get("code").and_then(Value::as_str))
        .map(|code| format!(" [{}]", plain(code)))
        .collect();
    format!(
        "{} {:>6} {} {} {painted} {about}{}\n",
        entry.at,
        entry.sequence,
        strong(&text(&["ref"])),
        text(&["operation"]),
        codes.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(fields: &Value) -> String {
        let mut line = json!({
            "seq": 41, "prev": "00".repeat(32), "at": "2026-11-21T20:58:04Z",
        });
        for (name, value) in fields.as_object().unwrap() {
            line[name] = value.clone();
        }
        let entry = Entry::parse(line.to_string().as_bytes()).unwrap();
        anstream::adapter::strip_str(&row(&entry)).to_string()
    }

    #[test]
    fn an_entry_is_one_line() {
        let decision = json!({
            "ref": "8d21c0aa", "operation": "create", "decision": "refused",
            "container": {"namespace": "k8s.io", "id": "0a1b", "pod": "we\nb", "pod_namespace": "s"},
            "refusals": [{"code": "pcr-drift"}, {"code": "asset-tag-missing"}],
        });
        assert_eq!(
            shown(&decision),
            "2026-11-21T20:58:04Z     41 8d21c0aa create refused k8s.io/0a1b (s/we?b) \
             [pcr-drift] [asset-tag-missing]\n"
        );
        assert_eq!(
            shown(&json!({"event": "anchor"})),
            "2026-11-21T20:58:04Z     41 anchor\n"
        );
    }
}
