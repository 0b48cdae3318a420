//! From the merged tree of all files to checked settings.

mod agent;
mod drift;
mod floor;
mod node;
mod node_rules;
mod remote;
mod rules;
mod signed;
mod workload;

use std::time::Duration;

use portcullis_attestation::pcr::PcrSelection;
use portcullis_attestation::trust::Claim;
use portcullis_gate::{Code, LaunchPolicy, Refusal, Refusals, Requirement};

use crate::config::{Config, Mode};
use crate::reader::{Reader, Section};
use crate::tree::{Table, Value};
use crate::{defaults, duration};

pub(crate) use signed::policy;
pub(crate) use workload::is_profile_name;

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

    // What the agent reads of the TPM is what its verdicts must be about.
    let pcrs = agent::pcrs(&mut reader, root);
    let (launch, snapshot_deadline) = launch(&mut reader, root, pcrs);
    let (default_profile, profile_order) = workload::profiles(&mut reader, root);
    let namespaces = workload::namespaces(&mut reader, root, &profile_order);
    let config = Config {
        mode: mode.unwrap_or(defaults::MODE),
        node_name: node_name.unwrap_or_else(|| host_name.to_owned()),
        agent: agent::agent(&mut reader, root, &launch),
        launch,
        snapshot_deadline,
        default_profile,
        profile_order,
        rules: rules::node(&mut reader, root),
        namespaces,
        relaxations: workload::relaxations(&mut reader, root),
        exec: node::exec(&mut reader, root),
        mounts_allow: node::mounts(&mut reader, root),
        root_sources: node::root_sources(&mut reader, root),
        floor: floor::floor(&mut reader, root),
        runtime: node::runtime(&mut reader, root),
        node_rules: node_rules::rules(&mut reader, root),
        hook: node::hook(&mut reader, root),
        policy: policy(&mut reader, root),
        bundle: None,
        break_glass: signed::break_glass(&mut reader, root),
    };
    match Refusals::from_vec(reader.faults) {
        Some(faults) => Err(faults),
        None => Ok(config),
    }
}

fn launch(reader: &mut Reader, root: &Table, pcrs: PcrSelection) -> (LaunchPolicy, Duration) {
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

    let boot_fuse = reader.switch(section, "boot_fuse");

    let section = reader.section(root, "asset_tag", "asset_tag.");
    let require_tags = requirement(reader, section, "require").unwrap_or_default();
    let policy = LaunchPolicy {
        max_verdict_age,
        clock_skew,
        pcrs,
        required: required.unwrap_or_else(|| defaults::REQUIRED.to_vec()),
        boot_fuse: boot_fuse.unwrap_or(defaults::BOOT_FUSE),
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

/// A name fit for refusals, records and JSON.
pub(crate) fn node_name(text: &str) -> Option<String> {
    let is_known = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let fits = (1..=NODE_NAME_LIMIT_BYTES).contains(&text.len()) && text.bytes().all(is_known);
    fits.then(|| text.to_owned())
}

#[cfg(test)]
mod tests;
