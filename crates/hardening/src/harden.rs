//! Hardening of a whole configuration.

pub(crate) mod baseline;
mod devices;
mod hooks;
mod linux;
mod mounts;
mod namespaces;
pub(crate) mod process;
mod purpose;
pub(crate) mod resources;
mod root;
mod tmpfs;
mod user_namespace;

use portcullis_gate::{Refusals, Rule, RuleModes};
use serde_json::Value;

use crate::baseline::Baseline;
use crate::change::Change;
use crate::concessions::Concessions;
use crate::facts::HostFacts;
use crate::oci_config::OciConfig;
use crate::profile::Profile;
use crate::relaxation::Relaxations;
use crate::review::{Audited, Review, take_object};

pub use purpose::Purpose;

/// A configuration that may start.
#[derive(Debug, Clone, PartialEq)]
pub struct Hardened {
    /// What to give to the runtime.
    pub config: OciConfig,
    /// What was edited, in the order of the fields; empty if it was hardened before.
    pub changes: Vec<Change>,
    /// What rules in audit would have edited and refused.
    pub audited: Audited,
    /// The bounds of later requests.
    pub baseline: Baseline,
}

/// What every rule may look at.
#[derive(Debug, Clone, Copy)]
struct Context<'a> {
    profile: &'a Profile,
    facts: &'a HostFacts,
    relaxations: &'a Relaxations,
    modes: &'a RuleModes,
}

/// Hardens `config` as `profile` says, but for what node policy concedes.
///
/// Never adds a right, and changes nothing in a configuration that it returned before. Does not
/// look at the host: `facts` must have been gathered for this very configuration.
///
/// # Errors
///
/// Everything that was asked for and is not allowed; a privileged container is named first.
///
/// # Source
///
/// Kubernetes Pod Security Standards, "Restricted"; NIST SP 800-190, "Container runtime
/// countermeasures"; OCI runtime-spec, "Configuration" and "Linux Container Configuration".
pub fn harden(
    config: OciConfig,
    profile: &Profile,
    facts: &HostFacts,
    concessions: &Concessions,
) -> Result<Hardened, Refusals> {
    let mut config = config;
    let context = Context {
        profile,
        facts,
        relaxations: &concessions.relaxations,
        modes: &concessions.modes,
    };
    let mut review = Review::of("config.json", &concessions.modes);
    let purpose = Purpose::of(&config);

    let spec = config.as_map_mut();
    let mut process = take_object(spec, "process");
    let mut linux = take_object(spec, "linux");

    review.asking(Rule::Privileged, |review| {
        process::refuse_privileged(&process, &linux, review);
    });
    process::harden(&mut process, &linux, purpose, context, &mut review);
    root::harden(spec, context, &mut review);
    namespaces::harden(&mut linux, context, &mut review);
    mounts::harden(spec, &process, &linux, context, &mut review);
    devices::harden(&mut linux, context, &mut review);
    resources::harden(&mut linux, purpose, context, &mut review);
    linux::harden(&mut linux, context, &mut review);
    hooks::harden(spec, context, &mut review);

    let (changes, audited) = review.finish()?;
    let baseline = baseline::of(&process, &linux, context);
    let spec = config.as_map_mut();
    spec.insert("process".to_owned(), Value::Object(process));
    spec.insert("linux".to_owned(), Value::Object(linux));
    Ok(Hardened {
        config,
        changes,
        audited,
        baseline,
    })
}

#[cfg(test)]
pub(crate) mod tests;
