//! What is set for the agent.

use std::time::Duration;

use portcullis_attestation::latch::LatchRule;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection};
use portcullis_gate::{Code, LaunchPolicy, Refusal};

use super::node::absolute;
use super::{DAY, SECOND, drift, remote, span};
use crate::config::{AgentConfig, KeyPolicy};
use crate::reader::Reader;
use crate::tree::{Table, Value};
use crate::{defaults, duration};

/// A ledger that is anchored more often wears out the TPM.
const MINUTE: Duration = Duration::from_mins(1);

pub(super) fn agent(reader: &mut Reader, root: &Table, launch: &LaunchPolicy) -> AgentConfig {
    let section = reader.section(root, "agent", "agent.");
    let tcti = reader.text(
        section,
        "tcti",
        "'device:PATH' or 'swtpm:host=ADDRESS,port=PORT'",
        |text| is_tcti(text).then(|| text.to_owned()),
    );
    let attest_interval = span(
        reader,
        section,
        "attest_interval",
        SECOND,
        DAY,
        defaults::ATTEST_INTERVAL,
    );
    let verdict_lifetime = span(
        reader,
        section,
        "verdict_lifetime",
        SECOND,
        DAY,
        defaults::VERDICT_LIFETIME,
    );
    let issuer = reader.text(
        section,
        "issuer",
        "a name or URI of at most 256 bytes",
        |text| {
            let fits = (1..=256).contains(&text.len()) && !text.contains(char::is_whitespace);
            fits.then(|| text.to_owned())
        },
    );

    let ledger_anchor_interval = reader.text(
        section,
        "ledger_anchor_interval",
        "a duration from '1m' to '24h', or '0s' for none",
        |text| duration::parse(text).filter(|span| span.is_zero() || (MINUTE..=DAY).contains(span)),
    );
    let drift_interval = drift::interval(reader, root);
    let remote = remote::remote(reader, root);
    let reference_signatures = reference_signatures(reader, root);
    let (key_policy, latch) = (key_policy(reader, root), latch(reader, root));

    renewed_in_time(reader, root, launch, attest_interval, verdict_lifetime);
    AgentConfig {
        tcti: tcti.unwrap_or_else(|| defaults::TCTI.to_owned()),
        attest_interval,
        verdict_lifetime,
        pcrs: launch.pcrs,
        issuer: issuer.unwrap_or_else(|| defaults::ISSUER.to_owned()),
        ledger_anchor_interval: ledger_anchor_interval.unwrap_or(defaults::LEDGER_ANCHOR_INTERVAL),
        reference_signatures: reference_signatures.unwrap_or(defaults::REFERENCE_SIGNATURES),
        remote,
        key_policy: key_policy.unwrap_or(defaults::KEY_POLICY),
        latch: latch.unwrap_or(defaults::LATCH),
        drift_interval,
        on_drift_command: drift::command(reader, root),
        on_drift_pods: drift::pods(reader, root, drift_interval),
        on_drift_webhook: drift::webhook(reader, root),
    }
}

/// The PCRs that are quoted.
pub(super) fn pcrs(reader: &mut Reader, root: &Table) -> PcrSelection {
    let section = reader.section(root, "agent", "agent.");
    let bank = reader.text(section, "pcr_bank", "'sha256' or 'sha384'", |text| {
        HashAlg::parse(text).filter(|bank| matches!(bank, HashAlg::Sha256 | HashAlg::Sha384))
    });
    let indices = reader.optional(
        section,
        "pcrs",
        "PCR indices from 0 to 23, each once, at least one",
        pcr_indices,
    );
    let indices = indices.unwrap_or_else(|| {
        defaults::PCRS
            .into_iter()
            .filter_map(PcrIndex::new)
            .collect()
    });
    PcrSelection::new(bank.unwrap_or(defaults::PCR_BANK), indices)
}

fn key_policy(reader: &mut Reader, root: &Table) -> Option<KeyPolicy> {
    let section = reader.section(root, "agent", "agent.");
    let expected = "'approved-state' or 'none'";
    reader.text(section, "key_policy", expected, |text| match text {
        "approved-state" => Some(KeyPolicy::ApprovedState),
        "none" => Some(KeyPolicy::None),
        _ => None,
    })
}

fn latch(reader: &mut Reader, root: &Table) -> Option<LatchRule> {
    let section = reader.section(root, "attestation", "attestation.");
    let expected = "'until-cleared', 'until-reboot' or 'off'";
    reader.text(section, "latch", expected, |text| match text {
        "until-cleared" => Some(LatchRule::UntilCleared),
        "until-reboot" => Some(LatchRule::UntilReboot),
        "off" => Some(LatchRule::Off),
        _ => None,
    })
}

/// How many must have signed the same reference values.
fn reference_signatures(reader: &mut Reader, root: &Table) -> Option<usize> {
    let section = reader.section(root, "agent", "agent.");
    let expected = "a number from 1 to 8";
    reader.optional(section, "reference_signatures", expected, |value| {
        let Value::Integer(number) = value else {
            return None;
        };
        let number = usize::try_from(*number).ok()?;
        (1..=8).contains(&number).then_some(number)
    })
}

/// Whether `text` has one of the two forms that `portcullis_tpm` reads.
fn is_tcti(text: &str) -> bool {
    if let Some(path) = text.strip_prefix("device:") {
        return absolute(path).is_some();
    }
    let address = text
        .strip_prefix("swtpm:host=")
        .and_then(|options| options.split_once(",port="));
    address.is_some_and(|(host, port)| {
        host.parse::<std::net::IpAddr>().is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// Notes a fault where verdicts would grow too old before the next one comes.
fn renewed_in_time(
    reader: &mut Reader,
    root: &Table,
    launch: &LaunchPolicy,
    attest_interval: Duration,
    verdict_lifetime: Duration,
) {
    let section = reader.section(root, "agent", "agent.");
    let attestation = reader.section(root, "attestation", "attestation.");
    let interval = section.cited("attest_interval", &duration::show(attest_interval));
    for (limit, cited) in [
        (verdict_lifetime, (section, "verdict_lifetime")),
        (launch.max_verdict_age, (attestation, "max_verdict_age")),
    ] {
        if attest_interval >= limit {
            let (place, key) = cited;
            let found = place.cited(key, &duration::show(limit));
            reader.faults.push(
                Refusal::new(
                    Code::ConfigMismatch,
                    interval.clone(),
                    format!(
                        "less than '{key}=', so that a verdict is renewed before it is too old"
                    ),
                    found,
                )
                .with_remedy(format!("shorten 'attest_interval=' or lengthen '{key}='")),
            );
        }
    }
}

fn pcr_indices(value: &Value) -> Option<Vec<PcrIndex>> {
    let Value::List(items) = value else {
        return None;
    };
    let mut indices = Vec::new();
    for item in items {
        let Value::Integer(number) = item.value else {
            return None;
        };
        let index = PcrIndex::new(u8::try_from(number).ok()?)?;
        if indices.contains(&index) {
            return None;
        }
        indices.push(index);
    }
    (!indices.is_empty()).then_some(indices)
}
