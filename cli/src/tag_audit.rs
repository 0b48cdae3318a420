//! A policy for the tags of many hosts, and what breaks it. Pure: files are read elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use portcullis_config::Pattern;
use portcullis_gate::Requirement;
use serde::{Deserialize, Deserializer, de};

/// The tags of one host.
pub(crate) type Tags = BTreeMap<String, String>;

/// What the tags of a fleet must be.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Policy {
    /// How well the tags of each host must be proved.
    #[serde(default)]
    pub(crate) evidence: Evidence,
    /// Keys whose value no two hosts may share.
    #[serde(default)]
    pub(crate) unique: BTreeSet<String>,
    /// Values that a key may have, if a host has it.
    #[serde(default)]
    pub(crate) values: BTreeMap<String, BTreeSet<String>>,
    /// What hosts of a name must have; every rule that covers a host counts, and one must.
    #[serde(default, rename = "host")]
    pub(crate) hosts: Vec<HostRule>,
    /// Changes that must not have happened since the earlier state.
    #[serde(default, rename = "move")]
    pub(crate) moves: Vec<MoveRule>,
}

/// How well tags are proved, the weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Evidence {
    /// Nothing that was signed, or by no given key.
    None,
    /// A tag authority signed the tags for this TPM; nothing says that they are the latest.
    Signed,
    /// A verifier attested that the TPM held this tag as the latest.
    #[default]
    Attested,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HostRule {
    #[serde(deserialize_with = "pattern")]
    name: Pattern,
    #[serde(deserialize_with = "requirement")]
    require: Requirement,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MoveRule {
    key: String,
    /// Any value if absent.
    from: Option<BTreeSet<String>>,
    /// Any other value, or none, if absent.
    to: Option<BTreeSet<String>>,
}

/// One host as its status shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Host {
    pub(crate) name: String,
    pub(crate) ueid: Option<String>,
    pub(crate) tags: Tags,
    pub(crate) evidence: Evidence,
    /// Why the evidence is no better.
    pub(crate) note: Option<String>,
}

/// One thing that breaks the policy.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Violation {
    pub(crate) host: String,
    /// Stable, kebab-case.
    pub(crate) code: &'static str,
    pub(crate) expected: String,
    pub(crate) found: String,
}

/// Holds `hosts` against `policy`; `before` is an earlier state of the same fleet.
pub(crate) fn audit(policy: &Policy, hosts: &[Host], before: &[Host]) -> Vec<Violation> {
    let mut violations: Vec<Violation> = hosts
        .iter()
        .flat_map(|host| alone(policy, host))
        .chain(shared(policy, hosts))
        .chain(hosts.iter().flat_map(|host| moved(policy, host, before)))
        .collect();
    violations.sort();
    violations.dedup();
    violations
}

fn violation(host: &str, code: &'static str, expected: String, found: String) -> Violation {
    Violation {
        host: host.to_owned(),
        code,
        expected,
        found,
    }
}

/// What is wrong with a host whatever the others are.
fn alone(policy: &Policy, host: &Host) -> Vec<Violation> {
    let refuse = |code, expected, found| violation(&host.name, code, expected, found);
    let mut violations = Vec::new();
    if host.evidence < policy.evidence {
        let found = host.note.clone();
        let expected = format!("tags that are {}", policy.evidence.as_str());
        let found = found.unwrap_or_else(|| host.evidence.as_str().to_owned());
        violations.push(refuse("tag-unproved", expected, found));
    }
    let mut covered = policy.hosts.is_empty();
    for rule in (policy.hosts.iter()).filter(|rule| rule.name.matches(&host.name)) {
        covered = true;
        for term in rule.require.unmet(&host.tags) {
            let found = shown(&host.tags, term.key());
            violations.push(refuse("tag-requirement-unmet", term.to_string(), found));
        }
    }
    if !covered {
        let found = "none covers its name".to_owned();
        violations.push(refuse(
            "host-uncovered",
            "a rule '[[host]]'".to_owned(),
            found,
        ));
    }
    for (key, allowed) in &policy.values {
        if host
            .tags
            .get(key)
            .is_some_and(|value| !allowed.contains(value))
        {
            let allowed: Vec<&str> = allowed.iter().map(String::as_str).collect();
            let expected = format!("{key} in ({})", allowed.join(","));
            violations.push(refuse(
                "tag-value-unknown",
                expected,
                shown(&host.tags, key),
            ));
        }
    }
    violations
}

/// What two hosts have in common and must not.
fn shared(policy: &Policy, hosts: &[Host]) -> Vec<Violation> {
    let mut seen: BTreeMap<(&str, &str), &str> = BTreeMap::new();
    let mut violations = Vec::new();
    for host in hosts {
        let own = [("node name", Some(&host.name)), ("TPM", host.ueid.as_ref())];
        let own = own.map(|(what, value)| (what, value, "host-twice"));
        let tags = (policy.unique.iter())
            .map(|key| (key.as_str(), host.tags.get(key), "tag-value-shared"));
        for (what, value, code) in own.into_iter().chain(tags) {
            let Some(value) = value else { continue };
            if let Some(other) = seen.insert((what, value), &host.name) {
                let expected = format!("{what} '{value}' once");
                let found = format!("host '{other}' has it, too");
                violations.push(violation(&host.name, code, expected, found));
            }
        }
    }
    violations
}

/// What changed and must not have. A host is the same if its TPM is.
fn moved(policy: &Policy, host: &Host, before: &[Host]) -> Vec<Violation> {
    let same = |earlier: &&Host| earlier.ueid.is_some() && earlier.ueid == host.ueid;
    let Some(earlier) = before.iter().find(same) else {
        return Vec::new();
    };
    let within = |set: &Option<BTreeSet<String>>, value: Option<&String>| match set {
        None => true,
        Some(set) => value.is_some_and(|value| set.contains(value)),
    };
    policy
        .moves
        .iter()
        .filter_map(|rule| {
            let (was, is) = (earlier.tags.get(&rule.key), host.tags.get(&rule.key));
            // A tag that is new has moved from nowhere.
            let forbidden =
                was.is_some() && was != is && within(&rule.from, was) && within(&rule.to, is);
            forbidden.then(|| {
                let (was, is) = (
                    shown(&earlier.tags, &rule.key),
                    shown(&host.tags, &rule.key),
                );
                violation(&host.name, "tag-moved", format!("{was}, as before"), is)
            })
        })
        .collect()
}

fn shown(tags: &Tags, key: &str) -> String {
    match tags.get(key) {
        Some(value) => format!("{key}={value}"),
        None => format!("no '{key}'"),
    }
}

fn pattern<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pattern, D::Error> {
    let text = String::deserialize(deserializer)?;
    Pattern::parse(&text).ok_or_else(|| {
        de::Error::custom("expected a name of letters, digits, '-', '_' and '.', with '*' and '?'")
    })
}

fn requirement<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Requirement, D::Error> {
    let text = String::deserialize(deserializer)?;
    Requirement::parse(&text).map_err(de::Error::custom)
}

// === impl Evidence ===

impl Evidence {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::None => "not proved",
            Self::Signed => "signed",
            Self::Attested => "attested",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: &str = r#"
        unique = ["slot"]
        [values]
        country = ["DE", "FR"]
        [[host]]
        name = "fra-*"
        require = "country=DE, site"
        [[host]]
        name = "*"
        require = "country"
        [[move]]
        key = "site"
        [[move]]
        key = "country"
        from = ["DE"]
        to = ["FR"]
    "#;

    fn policy(text: &str) -> Policy {
        toml::from_str(text).unwrap()
    }

    fn host(name: &str, tags: &[(&str, &str)]) -> Host {
        Host {
            name: name.to_owned(),
            ueid: Some(format!("tpm of {name}")),
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect(),
            evidence: Evidence::Attested,
            note: None,
        }
    }

    fn codes(policy: &str, hosts: &[Host], before: &[Host]) -> Vec<(String, &'static str)> {
        audit(&self::policy(policy), hosts, before)
            .into_iter()
            .map(|it| (it.host, it.code))
            .collect()
    }

    fn one(name: &str, code: &'static str) -> Vec<(String, &'static str)> {
        vec![(name.to_owned(), code)]
    }

    #[test]
    fn a_fleet_in_order_breaks_nothing() {
        let hosts = [
            host("fra-1", &[("country", "DE"), ("site", "a"), ("slot", "1")]),
            host("par-1", &[("country", "FR"), ("slot", "2")]),
        ];
        assert_eq!(codes(POLICY, &hosts, &hosts), []);
    }

    #[test]
    fn each_rule_is_broken_by_itself() {
        let good = [("country", "DE"), ("site", "a"), ("slot", "1")];
        let elsewhere = host("fra-1", &[("country", "FR"), ("site", "a")]);
        assert_eq!(
            codes(POLICY, &[elsewhere], &[]),
            one("fra-1", "tag-requirement-unmet")
        );
        let unknown = host("lon-1", &[("country", "GB")]);
        assert_eq!(
            codes(POLICY, &[unknown], &[]),
            one("lon-1", "tag-value-unknown")
        );
        let twice = [host("fra-1", &good), host("fra-2", &good)];
        assert_eq!(codes(POLICY, &twice, &[]), one("fra-2", "tag-value-shared"));
        let unproved = Host {
            evidence: Evidence::Signed,
            ..host("fra-1", &good)
        };
        let hosts = [unproved];
        assert_eq!(codes(POLICY, &hosts, &[]), one("fra-1", "tag-unproved"));
        let lenient = POLICY.replacen("unique", "evidence = \"signed\"\nunique", 1);
        assert_eq!(codes(&lenient, &hosts, &[]), []);
        let only = "[[host]]\nname = \"fra-*\"\nrequire = \"\"";
        let stranger = host("x", &[]);
        assert_eq!(codes(only, &[stranger], &[]), one("x", "host-uncovered"));
        let mut copy = host("fra-3", &[("country", "DE"), ("site", "a")]);
        copy.ueid = Some("tpm of fra-1".to_owned());
        assert_eq!(
            codes(POLICY, &[host("fra-1", &good), copy], &[]),
            one("fra-3", "host-twice")
        );
    }

    #[test]
    fn moves_are_those_of_one_tpm() {
        let before = [host("w1", &[("country", "DE"), ("site", "a")])];
        for (tags, moved) in [
            (&[("country", "DE"), ("site", "a")][..], false),
            (&[("country", "DE"), ("site", "b")], true),
            (&[("country", "DE")], true), // the tag is gone
            (&[("country", "FR"), ("site", "a")], true),
        ] {
            let found = codes(POLICY, &[host("w1", tags)], &before);
            let expected = if moved {
                one("w1", "tag-moved")
            } else {
                vec![]
            };
            assert_eq!(found, expected, "{tags:?}");
        }
        // Back is not forbidden, and another TPM under the same name is another host.
        let back = [host("w1", &[("country", "FR"), ("site", "a")])];
        assert_eq!(codes(POLICY, &before, &back), []);
        let mut other = before.to_vec();
        other[0].ueid = Some("another".to_owned());
        assert_eq!(
            codes(POLICY, &[host("w1", &[("country", "FR")])], &other),
            []
        );
    }

    #[test]
    fn a_policy_with_a_fault_is_refused() {
        for text in [
            "uniqe = []",
            "[[host]]\nname = \"a b\"\nrequire = \"\"",
            "[[host]]\nname = \"a\"\nrequire = \"x in y\"",
            "[[host]]\nname = \"a\"",
            "[[move]]\nfrom = [\"a\"]",
            "evidence = \"trusted\"",
        ] {
            toml::from_str::<Policy>(text).expect_err(text);
        }
    }
}
