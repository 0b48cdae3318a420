//! What is set for containers: profiles, namespaces and relaxations.

use std::collections::BTreeSet;

use portcullis_gate::{Code, Refusal};

use super::{node_rules, requirement, rules};
use crate::config::NamespacePolicy;
use crate::defaults;
use crate::pattern::Pattern;
use crate::reader::{Reader, Section};
use crate::relaxation::{Date, Relaxation};
use crate::tree::{Table, Value};

pub(super) fn profiles(reader: &mut Reader, root: &Table) -> (String, Vec<String>) {
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

pub(super) fn namespaces(
    reader: &mut Reader,
    root: &Table,
    order: &[String],
) -> Vec<NamespacePolicy> {
    let mut policies = Vec::new();
    for (place, section) in reader.list(root, "namespace", "namespace.") {
        let expected = "a name pattern of letters, digits, '-', '_', '.', '*' and '?'";
        let pattern = reader.required(place, section, "name", expected, Pattern::parse);
        let require_tags = requirement(reader, section, "require_tags").unwrap_or_default();
        let profile = profile(reader, section, "profile", order);
        let rules = rules::namespace(reader, section);
        let image = node_rules::image(reader, section);
        let sensitivity = node_rules::level(reader, section, "sensitivity");
        policies.extend(pattern.map(|pattern| NamespacePolicy {
            pattern,
            require_tags,
            profile,
            rules,
            image,
            sensitivity,
        }));
    }
    policies
}

pub(super) fn relaxations(reader: &mut Reader, root: &Table) -> Vec<Relaxation> {
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
