//! What is set about what is signed: policy bundles and break-glass tokens.

use std::time::Duration;

use portcullis_gate::break_glass::BreakGlassPolicy;

use super::{DAY, SECOND, span};
use crate::config::{PolicyConfig, SignedPolicies};
use crate::defaults;
use crate::reader::Reader;
use crate::tree::Table;

/// Beyond this an end is none.
const GRACE_LIMIT: Duration = Duration::from_hours(30 * 24);

pub(crate) fn policy(reader: &mut Reader, root: &Table) -> PolicyConfig {
    let section = reader.section(root, "policy", "policy.");
    let signed = reader.text(
        section,
        "signed",
        "'optional' or 'required'",
        |text| match text {
            "optional" => Some(SignedPolicies::Optional),
            "required" => Some(SignedPolicies::Required),
            _ => None,
        },
    );
    let (least, default) = (Duration::ZERO, defaults::POLICY_GRACE);
    PolicyConfig {
        signed: signed.unwrap_or(defaults::POLICY_SIGNED),
        grace: span(reader, section, "grace", least, GRACE_LIMIT, default),
    }
}

pub(super) fn break_glass(reader: &mut Reader, root: &Table) -> BreakGlassPolicy {
    let section = reader.section(root, "break_glass", "break_glass.");
    let allow = reader.switch(section, "allow");
    let allow_host_trust = reader.switch(section, "allow_host_trust");
    let default = defaults::BREAK_GLASS_MAX_LIFETIME;
    BreakGlassPolicy {
        allow: allow.unwrap_or(defaults::BREAK_GLASS_ALLOW),
        allow_host_trust: allow_host_trust.unwrap_or(defaults::BREAK_GLASS_ALLOW_HOST_TRUST),
        max_lifetime: span(reader, section, "max_lifetime", SECOND, DAY, default),
    }
}
