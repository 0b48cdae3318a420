//! Policy bundles on a node: which one is in force, and what of it is the node's own business.

use portcullis_attestation::policy_bundle::{
    self, BundledProfile, PolicyBundle, PolicyError, SignedPolicy, Term,
};
use portcullis_gate::record::PolicyRecord;
use portcullis_gate::{Code, NewestPolicy, Refusal, Refusals, quote};

use crate::config::{PolicyConfig, SignedPolicies};
use crate::load::{local, signed_files};
use crate::reader::Reader;
use crate::tree::{Node, Table, Value};
use crate::trusted_file::Root;
use crate::{Faults, load, paths, profile, read, tree};

/// What only a node can know, and what decides whether bundles count: tables and keys that no
/// bundle sets. An empty key stands for the whole table.
const OWN: [(&str, &str); 4] = [
    ("node_name", ""),
    ("policy", ""),
    ("agent", "tcti"),
    ("remote", "url"),
];

/// Keys whose values may hold a secret.
const SECRETS: [&str; 1] = ["on_drift_webhook"];

/// The bundle that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BundleInForce {
    /// Its file.
    pub path: String,
    /// Key id of who signed it.
    pub signer: String,
    /// SHA-256 of its claims, in hex.
    pub sha256: String,
    /// [`Term::Valid`] or [`Term::Grace`].
    pub term: Term,
    /// When it ceases to count, in seconds since 1970: its end, and the node's grace after that.
    pub counts_until_s: u64,
    /// What it says.
    pub bundle: PolicyBundle,
}

/// A setting that a bundle makes another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its name, such as `exec.allow`.
    pub key: String,
    /// What the node's own files say; none if they say nothing.
    pub own: Option<String>,
    /// What the bundle says.
    pub signed: String,
}

/// Checks what is to be signed: settings as those of a node, and every profile.
///
/// The settings must be whole by themselves, because nodes have all sorts of their own.
///
/// # Errors
///
/// All faults together; `path` names the bundle in them.
pub fn examine(path: &str, settings: &str, profiles: &[BundledProfile]) -> Result<(), Faults> {
    let mut faults = Vec::new();
    if let Some(table) = table(path, settings, &mut faults)
        && let Err(more) = read::config(&table, "node")
    {
        faults.extend(more);
    }
    for bundled in profiles {
        if let Err(more) = profile::bundled(path, bundled) {
            faults.extend(more);
        }
    }
    Refusals::from_vec(faults).map_or(Ok(()), Err)
}

/// What `bundle` makes of the settings in this node's own files.
///
/// # Errors
///
/// Faults of those files, or of the settings in the bundle.
pub fn differences(bundle: &PolicyBundle) -> Result<Vec<Difference>, Faults> {
    let mut faults = Vec::new();
    let own = local(&Root::host(), &mut faults);
    let signed = table(&bundle.name, &bundle.settings, &mut faults);
    if let Some(faults) = Refusals::from_vec(faults) {
        return Err(faults);
    }
    let mut differences = Vec::new();
    compare("", &own, &signed.unwrap_or_default(), &mut differences);
    Ok(differences)
}

/// The bundle that is in force at `now_s`, if there is one; what stands against that is noted.
pub(crate) fn in_force(
    root: &Root,
    policy: PolicyConfig,
    now_s: u64,
    faults: &mut Vec<Refusal>,
) -> Option<BundleInForce> {
    let known = faults.len();
    let files = signed_files(root, paths::POLICY, faults);
    if faults.len() > known {
        return None;
    }
    if files.is_empty() {
        if policy.signed == SignedPolicies::Required {
            let expected = "a bundle ('policy.signed = \"required\"')";
            let subject = quote(paths::POLICY);
            faults.push(Refusal::new(Code::PolicyMissing, subject, expected, "none"));
        }
        return None;
    }
    let keys = match load::trusted_keys_from(root) {
        Ok(keys) => keys,
        Err(more) => {
            faults.extend(more);
            return None;
        }
    };
    let mut signed = Vec::new();
    for file in files {
        match policy_bundle::verify(&file.token, &keys) {
            Ok(policy) => signed.push((file.path, policy)),
            Err(error) => faults.push(unusable(&file.path, &error)),
        }
    }
    // One that cannot be verified may be the one that ought to be in force.
    if faults.len() > known {
        return None;
    }
    match newest(signed, policy, now_s) {
        Ok(bundle) => Some(bundle),
        Err(fault) => {
            faults.push(fault);
            None
        }
    }
}

/// Of `signed`, at least one, the newest that counts.
fn newest(
    mut signed: Vec<(String, SignedPolicy)>,
    policy: PolicyConfig,
    now_s: u64,
) -> Result<BundleInForce, Refusal> {
    let grace_s = policy.grace.as_secs();
    signed.sort_unstable_by_key(|(_, policy)| std::cmp::Reverse(policy.bundle.sequence));
    for pair in signed.windows(2) {
        if let [(one, left), (other, right)] = pair
            && left.bundle.sequence == right.bundle.sequence
            && left.sha256 != right.sha256
        {
            let subject = format!("policy bundle {}", quote(one));
            let expected = format!("another number than {} has", quote(other));
            let found = left.bundle.sequence.to_string();
            return Err(Refusal::new(Code::ConfigMismatch, subject, expected, found));
        }
    }
    let mut nearest = None;
    for (path, policy) in signed {
        let bundle = &policy.bundle;
        match bundle.term(now_s, grace_s) {
            term @ (Term::Valid | Term::Grace) => {
                return Ok(BundleInForce {
                    path,
                    signer: policy.signer,
                    sha256: policy.sha256,
                    term,
                    counts_until_s: bundle.expires_s.saturating_add(grace_s),
                    bundle: policy.bundle,
                });
            }
            term => {
                nearest.get_or_insert_with(|| out_of_term(&path, bundle, term, now_s, grace_s));
            }
        }
    }
    Err(nearest.unwrap_or_else(|| {
        let subject = quote(paths::POLICY);
        Refusal::new(Code::PolicyMissing, subject, "a policy bundle", "none")
    }))
}

fn out_of_term(path: &str, bundle: &PolicyBundle, term: Term, now_s: u64, grace_s: u64) -> Refusal {
    let subject = format!("policy bundle {}", quote(path));
    if term == Term::Premature {
        let early = bundle.not_before_s.saturating_sub(now_s);
        let found = format!("one that counts in {early} s");
        return Refusal::new(Code::PolicyPremature, subject, "one that counts now", found);
    }
    let late = now_s.saturating_sub(bundle.expires_s);
    let expected = format!("one that expired less than {grace_s} s ago ('policy.grace=')");
    let found = format!("one that expired {late} s ago");
    Refusal::new(Code::PolicyExpired, subject, expected, found)
}

fn unusable(path: &str, error: &PolicyError) -> Refusal {
    let code = match error {
        PolicyError::Signature(_) => Code::PolicySignatureInvalid,
        _ => Code::PolicyMalformed,
    };
    let expected = match code {
        Code::PolicySignatureInvalid => "a signature by a key that is pinned for policies",
        _ => "the claims of a policy bundle",
    };
    let subject = format!("policy bundle {}", quote(path));
    Refusal::new(code, subject, expected, load::innermost(error))
}

/// The settings of a bundle, if they can be read and are its to make.
fn table(path: &str, settings: &str, faults: &mut Vec<Refusal>) -> Option<Table> {
    let table = tree::parse(&format!("{path}#settings"), settings, faults)?;
    let known = faults.len();
    let mut refuse = |key: String, node: &Node| {
        let subject = format!("'{key}' in {}", node.place);
        let expected = "settings that a node leaves to others";
        let found = "one that is the node's own";
        faults.push(Refusal::new(
            Code::PolicyMalformed,
            subject,
            expected,
            found,
        ));
    };
    for (name, key) in OWN {
        match table.get(name) {
            Some(node) if key.is_empty() => refuse(name.to_owned(), node),
            Some(Node {
                value: Value::Table(inner),
                ..
            }) => {
                if let Some(node) = inner.get(key) {
                    refuse(format!("{name}.{key}"), node);
                }
            }
            _ => {}
        }
    }
    (faults.len() == known).then_some(table)
}

fn compare(prefix: &str, own: &Table, signed: &Table, differences: &mut Vec<Difference>) {
    for (key, node) in signed {
        let beside = own.get(key);
        if let (Value::Table(signed), Some(Value::Table(own))) =
            (&node.value, beside.map(|node| &node.value))
        {
            compare(&format!("{prefix}{key}."), own, signed, differences);
            continue;
        }
        if let (Value::Table(signed), None) = (&node.value, beside) {
            compare(
                &format!("{prefix}{key}."),
                &Table::new(),
                signed,
                differences,
            );
            continue;
        }
        let (own, signed) = (beside.map(Node::spelled), node.spelled());
        if own.as_ref() != Some(&signed) {
            let hidden = |text: String| match SECRETS.contains(&key.as_str()) {
                true => "not shown".to_owned(),
                false => text,
            };
            let (own, signed) = (own.map(hidden), hidden(signed));
            differences.push(Difference {
                key: format!("{prefix}{key}"),
                own,
                signed,
            });
        }
    }
}

// === impl BundleInForce ===

impl BundleInForce {
    /// Puts its settings on top of the node's own.
    pub(crate) fn overrule(&self, own: &mut Table, faults: &mut Vec<Refusal>) {
        if let Some(table) = table(&self.path, &self.bundle.settings, faults) {
            tree::overrule(own, table);
        }
    }

    /// What has to be remembered, so that an older one is refused.
    pub fn newest(&self) -> NewestPolicy {
        NewestPolicy {
            sequence: self.bundle.sequence,
            sha256: self.sha256.clone(),
        }
    }

    /// The line for the journal about a bundle that is past its end.
    pub fn warning(&self) -> Option<String> {
        (self.term == Term::Grace).then(|| {
            format!(
                "policy bundle {} number {} is past its end and counts until {} (seconds since 1970)",
                quote(&self.bundle.name),
                self.bundle.sequence,
                self.counts_until_s
            )
        })
    }

    /// As records name it.
    pub fn to_record(&self) -> PolicyRecord {
        PolicyRecord {
            name: self.bundle.name.clone(),
            sequence: self.bundle.sequence,
            sha256: self.sha256.clone(),
        }
    }
}

/// Reads `[policy]` of the node's own files; what is wrong with it is said by whoever reads all.
pub(crate) fn policy_of(own: &Table) -> PolicyConfig {
    read::policy(&mut Reader::default(), own)
}

#[cfg(test)]
mod tests;
