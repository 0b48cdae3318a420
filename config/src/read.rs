//! From the merged tree of all files to checked settings.

use std::collections::BTreeSet;
use std::time::Duration;

use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection};
use portcullis_attestation::trust::Claim;
use portcullis_gate::{Code, LaunchPolicy, Refusal, Refusals, Requirement};

use crate::config::{
    AgentConfig, Config, ExecGate, ExecPolicy, HookConfig, Mode, NamespacePolicy, RuntimeConfig,
};
use crate::pattern::Pattern;
use crate::reader::{Reader, Section};
use crate::relaxation::{Date, Relaxation};
use crate::tree::{Table, Value};
use crate::{defaults, duration};

/// Longest day that a duration may have.
const DAY: Duration = Duration::from_hours(24);
/// Longest time that a launch may wait for the agent.
const DEADLINE_LIMIT: Duration = Duration::from_mins(1);
/// Beyond this the clocks are wrong, and freshness means nothing.
const SKEW_LIMIT: Duration = Duration::from_mins(5);

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// Longest name of a node, in bytes: that of a DNS name.
const NODE_NAME_LIMIT_BYTES: usize = 253;

/// Checks `root` as a whole. `host_name` is used where no `node_name` is set.
pub(crate) fn config(root: &Table, host_name: &str) -> Result<Config, Refusals> {
    let mut reader = Reader::default();
    reader.unknown_keys(root);
    let top = Section::new("", root);
    let version = |value: &Value| matches!(value, Value::Integer(1)).then_some(());
    reader.optional(top, "version", "1, the only version there is", version);
    let mode = reader.text(top, "mode", "'enforce' or 'audit'", |text| match text {
        "enforce" => Some(Mode::Enforce),
        "audit" => Some(Mode::Audit),
        _ => None,
    });
    let node_name = reader.text(top, "node_name", "a host name", node_name);

    let (launch, snapshot_deadline) = launch(&mut reader, root);
    let (default_profile, profile_order) = profiles(&mut reader, root);
    let namespaces = namespaces(&mut reader, root, &profile_order);
    let config = Config {
        mode: mode.unwrap_or(defaults::MODE),
        node_name: node_name.unwrap_or_else(|| host_name.to_owned()),
        agent: agent(&mut reader, root, &launch),
        launch,
        snapshot_deadline,
        default_profile,
        profile_order,
        namespaces,
        relaxations: relaxations(&mut reader, root),
        exec: exec(&mut reader, root),
        mounts_allow: mounts(&mut reader, root),
        runtime: runtime(&mut reader, root),
        hook: hook(&mut reader, root),
    };
    match Refusals::from_vec(reader.faults) {
        Some(faults) => Err(faults),
        None => Ok(config),
    }
}

fn launch(reader: &mut Reader, root: &Table) -> (LaunchPolicy, Duration) {
    let section = reader.section(root, "attestation", "attestation.");
    let max_verdict_age = span(
        reader,
        section,
        "max_verdict_age",
        SECOND,
        DAY,
        defaults::MAX_VERDICT_AGE,
    );
    let clock_skew = span(
        reader,
        section,
        "clock_skew",
        Duration::ZERO,
        SKEW_LIMIT,
        defaults::CLOCK_SKEW,
    );
    let snapshot_deadline = span(
        reader,
        section,
        "snapshot_deadline",
        MILLISECOND,
        DEADLINE_LIMIT,
        defaults::SNAPSHOT_DEADLINE,
    );
    // What a TPM attester cannot support is pruned from every verdict, so requiring it would
    // refuse every launch.
    let expected = "claims that a TPM can support: 'instance-identity', 'configuration', \
                    'executables', 'hardware' or 'storage-opaque'";
    let required = reader.texts(section, "required", expected, |text| {
        Claim::parse(text).filter(|claim| {
            !matches!(
                claim,
                Claim::RuntimeOpaque | Claim::SourcedData | Claim::FileSystem
            )
        })
    });

    let section = reader.section(root, "asset_tag", "asset_tag.");
    let require_tags = requirement(reader, section, "require").unwrap_or_default();
    let policy = LaunchPolicy {
        max_verdict_age,
        clock_skew,
        required: required.unwrap_or_else(|| defaults::REQUIRED.to_vec()),
        require_tags,
        namespace_require_tags: Vec::new(),
    };
    (policy, snapshot_deadline)
}

/// A duration within `least` and `most`; where a second is the least, only whole seconds.
fn span(
    reader: &mut Reader,
    section: Section<'_>,
    key: &str,
    least: Duration,
    most: Duration,
    default: Duration,
) -> Duration {
    let whole = least != MILLISECOND;
    let unit = if whole { " in whole seconds" } else { "" };
    let bounds = format!(
        "from '{}' to '{}'{unit}",
        duration::show(least),
        duration::show(most)
    );
    let expected = format!("{}, {bounds}", duration::FORM);
    reader
        .text(section, key, &expected, |text| {
            duration::parse(text).filter(|duration| {
                (least..=most).contains(duration) && !(whole && duration.subsec_nanos() != 0)
            })
        })
        .unwrap_or(default)
}

fn requirement(reader: &mut Reader, section: Section<'_>, key: &str) -> Option<Requirement> {
    let node = section.node(key)?;
    if let Value::Text(text) = &node.value
        && let Err(error) = Requirement::parse(text)
    {
        let subject = format!("tag requirement in {}, column {}", node.place, error.column);
        let fault = Refusal::new(
            Code::TagRequirementMalformed,
            subject,
            error.expected,
            error.found,
        );
        reader.faults.push(fault);
        return None;
    }
    reader.text(section, key, "a tag requirement", |text| {
        Requirement::parse(text).ok()
    })
}

fn profiles(reader: &mut Reader, root: &Table) -> (String, Vec<String>) {
    let section = reader.section(root, "profile", "profile.");
    let expected = "names of lower-case letters, digits and '-', each once, at least one";
    let order = reader
        .optional(section, "order", expected, |value| {
            let Value::List(items) = value else {
                return None;
            };
            let mut names = Vec::new();
            for item in items {
                let Value::Text(name) = &item.value else {
                    return None;
                };
                if !is_profile_name(name) || names.contains(name) {
                    return None;
                }
                names.push(name.clone());
            }
            (!names.is_empty()).then_some(names)
        })
        .unwrap_or_else(|| defaults::PROFILE_ORDER.map(str::to_owned).to_vec());
    let default = profile(reader, section, "default", &order);
    if default.is_none() && !order.iter().any(|name| name == defaults::PROFILE) {
        let subject = section.cited("order", &order.join(","));
        let expected = "a list with the default profile in it";
        let found = format!("no '{}'", defaults::PROFILE);
        let fault = Refusal::new(Code::ConfigMismatch, subject, expected, found);
        reader
            .faults
            .push(fault.with_remedy("set 'profile.default='"));
    }
    (
        default.unwrap_or_else(|| defaults::PROFILE.to_owned()),
        order,
    )
}

fn profile(
    reader: &mut Reader,
    section: Section<'_>,
    key: &str,
    order: &[String],
) -> Option<String> {
    let expected = format!("one of 'profile.order=': '{}'", order.join("', '"));
    reader.text(section, key, &expected, |name| {
        order.iter().find(|known| *known == name).cloned()
    })
}

pub(crate) fn is_profile_name(name: &str) -> bool {
    let is_known = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=64).contains(&name.len()) && name.bytes().all(is_known) && !name.starts_with('-')
}

fn namespaces(reader: &mut Reader, root: &Table, order: &[String]) -> Vec<NamespacePolicy> {
    let mut policies = Vec::new();
    for (place, section) in reader.list(root, "namespace", "namespace.") {
        let expected = "a name pattern of letters, digits, '-', '_', '.', '*' and '?'";
        let pattern = reader.required(place, section, "name", expected, Pattern::parse);
        let require_tags = requirement(reader, section, "require_tags").unwrap_or_default();
        let profile = profile(reader, section, "profile", order);
        policies.extend(pattern.map(|pattern| NamespacePolicy {
            pattern,
            require_tags,
            profile,
        }));
    }
    policies
}

fn relaxations(reader: &mut Reader, root: &Table) -> Vec<Relaxation> {
    let mut relaxations: Vec<Relaxation> = Vec::new();
    let mut seen = BTreeSet::new();
    for (place, section) in reader.list(root, "relaxation", "relaxation.") {
        let text = |text: &str| (!text.trim().is_empty()).then(|| text.to_owned());
        let name = reader.required(place, section, "name", "the name of a relaxation", text);
        let namespace = reader.required(place, section, "namespace", "one namespace", |text| {
            let exact = Pattern::parse(text).is_some() && !text.contains(['*', '?']);
            exact.then(|| text.to_owned())
        });
        let digest = "'sha256:' and 64 lower-case hex digits";
        let image = reader.required(place, section, "image", digest, |text| {
            let digits = text.strip_prefix("sha256:")?;
            let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
            (digits.len() == 64 && digits.bytes().all(is_hex)).then(|| text.to_owned())
        });
        let expires = reader.required(place, section, "expires", "a day 'YYYY-MM-DD'", Date::parse);
        let reason = reader.required(place, section, "reason", "a reason", text);
        let (Some(name), Some(namespace), Some(image), Some(expires), Some(reason)) =
            (name, namespace, image, expires, reason)
        else {
            continue;
        };
        if !seen.insert((name.clone(), namespace.clone(), image.clone())) {
            let expected = "one table for one name, namespace and image";
            reader.fault(
                Code::ConfigMismatch,
                place,
                "relaxation",
                expected,
                "a second one",
            );
            continue;
        }
        relaxations.push(Relaxation {
            name,
            namespace,
            image,
            expires,
            reason,
        });
    }
    relaxations
}

fn exec(reader: &mut Reader, root: &Table) -> ExecPolicy {
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

fn mounts(reader: &mut Reader, root: &Table) -> Vec<String> {
    let section = reader.section(root, "mounts", "mounts.");
    let expected = "absolute paths without '.', '..' or '//', and not '/' itself";
    reader
        .texts(section, "allow", expected, absolute)
        .unwrap_or_default()
}

/// An absolute path with one spelling, and not the root directory.
fn absolute(text: &str) -> Option<String> {
    let inner = text.strip_prefix('/')?;
    let plain = inner
        .split('/')
        .all(|part| !matches!(part, "" | "." | ".."));
    (plain && !text.contains('\0')).then(|| text.to_owned())
}

fn runtime(reader: &mut Reader, root: &Table) -> RuntimeConfig {
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

fn hook(reader: &mut Reader, root: &Table) -> HookConfig {
    let section = reader.section(root, "hook", "hook.");
    let require_hardened = reader.switch(section, "require_hardened");
    HookConfig {
        require_hardened: require_hardened.unwrap_or(defaults::HOOK_REQUIRE_HARDENED),
    }
}

fn agent(reader: &mut Reader, root: &Table, launch: &LaunchPolicy) -> AgentConfig {
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

    renewed_in_time(reader, root, launch, attest_interval, verdict_lifetime);
    AgentConfig {
        tcti: tcti.unwrap_or_else(|| defaults::TCTI.to_owned()),
        attest_interval,
        verdict_lifetime,
        pcrs: PcrSelection::new(bank.unwrap_or(defaults::PCR_BANK), indices),
        issuer: issuer.unwrap_or_else(|| defaults::ISSUER.to_owned()),
    }
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

/// A name fit for refusals, records and JSON.
pub(crate) fn node_name(text: &str) -> Option<String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=NODE_NAME_LIMIT_BYTES).contains(&text.len()) && text.bytes().all(is_known);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
