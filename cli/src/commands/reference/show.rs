//! `portcullis reference show`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::hex;
use portcullis_attestation::reference::{
    self, BootState, EventRules, ReferenceError, Step, UnknownFile,
};
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint::{Rows, good, plain, strong};
use crate::report::Report;
use crate::validity::validity;

/// Digits of a PCR value that are shown; `--output json` has all.
const DIGITS: usize = 16;

/// Verify reference values and show what they approve.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference show /etc/portcullis/reference.d/debian-12.jws
  portcullis reference show --key keys/reference.jwk debian-12.jws")]
pub(crate) struct ShowArguments {
    /// Signed reference values.
    file: PathBuf,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.file)?;
    let keys = documents::verifying_keys(&arguments.key)?;
    let reference = reference::verify(&document, &keys).map_err(|error| match error {
        ReferenceError::Signature(_) => Failure::refused(error),
        other => Failure::usage(other),
    })?;
    let now = clock::now_unix_s();
    let values = &reference.values;
    let valid = values.is_valid_at(now);
    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    rows.add(
        "validity",
        validity(values.not_before_s, values.expires_s, now),
    );
    rows.add("issuer", plain(&values.issuer));
    rows.add("issued", clock::utc_and_distance(values.issued_at_s, now));
    rows.add("sequence", values.sequence.to_string());
    rows.add("id", reference.id.as_str());
    rows.add("TPMs", values.tpms.len().to_string());
    let mut text = format!("{}\n{}", strong("Reference values"), rows.render());
    for state in &values.boot_states {
        text.push_str(&boot_state(state));
    }
    let json = json!({
        "id": reference.id,
        "verified": true,
        "valid": valid,
        "claims": values.to_claims(),
    });
    Ok(Report {
        text,
        json,
        exit: if valid { 0 } else { EXIT_REFUSED },
    })
}

fn boot_state(state: &BootState) -> String {
    let mut text = format!("\nBoot state {}\n", strong(&plain(&state.name)));
    let mut rows = Rows::default();
    for bank in &state.banks {
        let claim = bank.to_claim();
        for (index, _) in bank.iter() {
            let value = claim
                .get(&index.to_string())
                .and_then(serde_json::Value::as_str);
            let shown: String = value.unwrap_or_default().chars().take(DIGITS).collect();
            rows.add(
                &format!("PCR {index} ({})", bank.bank()),
                format!("{shown}…"),
            );
        }
    }
    text.push_str(&rows.render());
    for rules in &state.events {
        text.push_str(&event_rules(rules));
    }
    if let Some(rules) = &state.ima {
        let unknown = match rules.unknown {
            UnknownFile::Warn => "a warning",
            UnknownFile::Refuse => "refused",
        };
        let head = format!(
            "IMA: {} files allowed, {} directories not judged, any other file is {unknown}",
            rules.files.len(),
            rules.excluded.len()
        );
        line(&mut text, 2, &head);
    }
    text
}

/// Each step on a line of its own, in the order in which events have to come.
fn event_rules(rules: &EventRules) -> String {
    let mut text = String::new();
    if let Some(secure_boot) = &rules.secure_boot {
        let keys: Vec<String> = secure_boot
            .variables()
            .filter(|(_, digests)| !digests.is_empty())
            .map(|(name, digests)| format!("{name} one of {}", digests.len()))
            .collect();
        let keys = if keys.is_empty() {
            "any keys".to_owned()
        } else {
            keys.join(", ")
        };
        line(&mut text, 2, &format!("Secure Boot must be on, {keys}"));
    }
    for (pcr, rule) in &rules.pcrs {
        let count = rule.any_of.len();
        for (number, steps) in rule.any_of.iter().enumerate() {
            let alternative = match count {
                1 => String::new(),
                _ => format!(", alternative {} of {count}", number.saturating_add(1)),
            };
            let events = match steps.len() {
                0 => "no event".to_owned(),
                1 => "1 event".to_owned(),
                steps => format!("{steps} events"),
            };
            let head = format!("PCR {pcr} ({}): {events}{alternative}", rules.bank);
            line(&mut text, 2, &head);
            for rule in steps {
                line(&mut text, 4, &step(rule));
            }
        }
    }
    text
}

fn step(rule: &Step) -> String {
    let digest = rule.digests.first().map(|digest| hex::encode(digest));
    let digest: String = digest.unwrap_or_default().chars().take(DIGITS).collect();
    let others = match rule.digests.len() {
        0 | 1 => String::new(),
        count => format!(" or {} others", count.saturating_sub(1)),
    };
    let optional = if rule.optional { " (optional)" } else { "" };
    let note = rule.note.as_deref().map(plain).unwrap_or_default();
    format!("{digest}…{others}{optional}  {note}")
}

fn line(text: &mut String, indent: usize, content: &str) {
    text.push_str(&" ".repeat(indent));
    text.push_str(content.trim_end());
    text.push('\n');
}
