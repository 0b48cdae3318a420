//! What is set for the node itself: exec, mounts, runtime, hook and agent.

use std::time::Duration;

use portcullis_attestation::latch::LatchRule;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection};
use portcullis_gate::{Code, LaunchPolicy, Refusal};

use super::{DAY, SECOND, span};
use crate::config::{AgentConfig, ExecGate, ExecPolicy, HookConfig, KeyPolicy, RuntimeConfig};
use crate::reader::Reader;
use crate::source_pattern::SourcePattern;
use crate::tree::{Table, Value};
use crate::{defaults, duration};

/// A ledger that is anchored more often wears out the TPM.
const MINUTE: Duration = Duration::from_mins(1);

pub(super) fn exec(reader: &mut Reader, root: &Table) -> ExecPolicy {
    let section = reader.section(root, "exec", "exec.");
    let allow = reader
        .switch(section, "allow")
        .unwrap_or(defaults::EXEC_ALLOW);
    let gate = reader.text(section, "gate", "'full' or 'fresh'", |text| match text {
        "full" => Some(ExecGate::Full),
        "fresh" => Some(ExecGate::Fresh),
        _ => None,
    });
    ExecPolicy {
        gate: gate.unwrap_or(defaults::EXEC_GATE),
        allow,
    }
}

pub(super) fn root_sources(reader: &mut Reader, root: &Table) -> Vec<SourcePattern> {
    let section = reader.section(root, "mounts", "mounts.");
    let expected = "devices ('/dev/mapper/pool-snap-*') or datasets ('tank/containerd/*')";
    reader
        .texts(section, "root_sources", expected, SourcePattern::parse)
        .unwrap_or_default()
}

pub(super) fn mounts(reader: &mut Reader, root: &Table) -> Vec<String> {
    let section = reader.section(root, "mounts", "mounts.");
    let expected = "absolute paths without '.', '..' or '//', and not '/' itself";
    reader
        .texts(section, "allow", expected, absolute)
        .unwrap_or_default()
}

/// An absolute path with one spelling, and not the root directory.
pub(super) fn absolute(text: &str) -> Option<String> {
    let inner = text.strip_prefix('/')?;
    let plain = inner
        .split('/')
        .all(|part| !matches!(part, "" | "." | ".."));
    (plain && !text.contains('\0')).then(|| text.to_owned())
}

pub(super) fn runtime(reader: &mut Reader, root: &Table) -> RuntimeConfig {
    let section = reader.section(root, "runtime", "runtime.");
    let binary = reader.text(
        section,
        "binary",
        "an absolute path or a bare name",
        |text| {
            let bare =
                !text.is_empty() && !text.contains(['/', '\0']) && !text.starts_with(['-', '.']);
            if bare {
                Some(text.to_owned())
            } else {
                absolute(text)
            }
        },
    );
    let state = reader.text(section, "root", "an absolute path", absolute);
    let systemd_cgroup = reader.switch(section, "systemd_cgroup");
    RuntimeConfig {
        binary: binary.unwrap_or_else(|| defaults::RUNTIME_BINARY.to_owned()),
        root: state.unwrap_or_else(|| defaults::RUNTIME_ROOT.to_owned()),
        systemd_cgroup: systemd_cgroup.unwrap_or(defaults::RUNTIME_SYSTEMD_CGROUP),
    }
}

pub(super) fn hook(reader: &mut Reader, root: &Table) -> HookConfig {
    let section = reader.section(root, "hook", "hook.");
    let require_hardened = reader.switch(section, "require_hardened");
    HookConfig {
        require_hardened: require_hardened.unwrap_or(defaults::HOOK_REQUIRE_HARDENED),
    }
}

pub(super) fn agent(reader: &mut Reader, root: &Table, launch: &LaunchPolicy) -> AgentConfig {
    let section = reader.section(root, "agent", "agent.");
    let tcti = reader.text(
        section,
        "tcti",
        "'device:PATH' or 'swtpm:host=ADDRESS,port=PORT'",
        |text| is_tcti(text).then(|| text.to_owned()),
    );
    let attestation = reader.section(root, "attestation", "attestation.");
    let latch = reader.text(
        attestation,
        "latch",
        "'until-cleared', 'until-reboot' or 'off'",
        |text| match text {
            "until-cleared" => Some(LatchRule::UntilCleared),
            "until-reboot" => Some(LatchRule::UntilReboot),
            "off" => Some(LatchRule::Off),
            _ => None,
        },
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
    let key_policy = reader.text(
        section,
        "key_policy",
        "'approved-state' or 'none'",
        |text| match text {
            "approved-state" => Some(KeyPolicy::ApprovedState),
            "none" => Some(KeyPolicy::None),
            _ => None,
        },
    );
    let reference_signatures = reference_signatures(reader, root);
    let remote = super::remote::remote(reader, root);

    renewed_in_time(reader, root, launch, attest_interval, verdict_lifetime);
    AgentConfig {
        tcti: tcti.unwrap_or_else(|| defaults::TCTI.to_owned()),
        attest_interval,
        verdict_lifetime,
        pcrs: PcrSelection::new(bank.unwrap_or(defaults::PCR_BANK), indices),
        issuer: issuer.unwrap_or_else(|| defaults::ISSUER.to_owned()),
        ledger_anchor_interval: ledger_anchor_interval.unwrap_or(defaults::LEDGER_ANCHOR_INTERVAL),
        reference_signatures: reference_signatures.unwrap_or(defaults::REFERENCE_SIGNATURES),
        remote,
        key_policy: key_policy.unwrap_or(defaults::KEY_POLICY),
        latch: latch.unwrap_or(defaults::LATCH),
    }
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
