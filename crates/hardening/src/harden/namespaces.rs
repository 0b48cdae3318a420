//! Namespaces: the container's own, or its pod's, never the host's.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value, json};

use super::Context;
use super::user_namespace::{self, UserNamespace};
use crate::facts::{NamespaceKind, NamespaceOrigin};
use crate::oci_config::text;
use crate::review::{Review, take_array};

pub(super) fn harden(
    linux: &mut Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().namespaces;
    let mut namespaces = take_array(linux, "namespaces");
    let mut present = Vec::with_capacity(namespaces.len());
    for (index, namespace) in namespaces.iter().enumerate() {
        let Some(namespace) = namespace.as_object() else {
            continue;
        };
        let pointer = format!("/linux/namespaces/{index}");
        let Some(kind) = NamespaceKind::of_name(text(namespace, "type")) else {
            let found = quote(text(namespace, "type"));
            review.refuse(
                Code::OciFieldDenied,
                pointer,
                "a known namespace type",
                found,
            );
            continue;
        };
        if present.contains(&kind) {
            let found = format!("{kind} twice");
            review.refuse(Code::OciConfigMalformed, &pointer, "each type once", found);
        }
        present.push(kind);
        if !text(namespace, "path").is_empty() {
            let judge = |review: &mut Review<'_>| refuse_joined(kind, &pointer, context, review);
            if kind == NamespaceKind::Mount {
                review.always(Rule::HostNamespaces, judge);
            } else {
                review.asking(Rule::HostNamespaces, judge);
            }
        }
    }
    // Without one of its own the runtime would mount on the host, and what it is held to afterwards
    // would be the host's: no mode of the rule makes sense of that.
    if !present.contains(&NamespaceKind::Mount) {
        review.always(Rule::HostNamespaces, |review| {
            refuse_absent(NamespaceKind::Mount, review);
        });
    }
    review.under(
        Rule::HostNamespaces,
        &mut namespaces,
        |namespaces, review| {
            separate(namespaces, &present, context, review);
        },
    );
    linux.insert("namespaces".to_owned(), Value::Array(namespaces));
    user_namespace::refuse_contradiction(linux, context, review);
    if rules.user_required {
        review.asking(Rule::UserNamespace, |review| {
            require_user_namespace(linux, context, review);
        });
    }
}

/// Refuses the host's namespaces that were asked for by leaving them out, and adds those that
/// nobody asks for.
fn separate(
    namespaces: &mut Vec<Value>,
    present: &[NamespaceKind],
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let rules = &context.profile.rules().namespaces;
    let absent = |kind: &&NamespaceKind| **kind != NamespaceKind::Mount && !present.contains(kind);
    for kind in rules.required.iter().filter(absent) {
        refuse_absent(*kind, review);
    }
    for kind in rules.add.iter().filter(|kind| !present.contains(kind)) {
        let added = json!({"type": kind.as_str()});
        let reason = "the host's own would show the layout of the host";
        review.change("/linux/namespaces/-", Value::Null, added.clone(), reason);
        namespaces.push(added);
    }
}

fn refuse_absent(kind: NamespaceKind, review: &mut Review<'_>) {
    let expected = format!("a {kind} namespace of its own");
    let found = format!("the {kind} namespace of the host");
    let pointer = "/linux/namespaces";
    review.refuse(Code::HostNamespaceDenied, pointer, expected, found);
}

/// A user namespace separates only if none of its ids is one of the host.
fn require_user_namespace(
    linux: &Map<String, Value>,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let minimum = context.profile.rules().process.mapped_uid_min;
    let namespace = UserNamespace::of(linux, context.facts);
    let found = match namespace.low_mapping(minimum) {
        _ if namespace == UserNamespace::Host => "that of the host".to_owned(),
        Some(low) => format!("{}: {}", low.pointer, low.found),
        None => return,
    };
    review.refuse(
        Code::UserNamespaceMissing,
        "/linux/namespaces",
        format!("a user namespace mapped to {minimum} or above"),
        found,
    );
}

/// Judges a namespace that is joined by path.
fn refuse_joined(
    kind: NamespaceKind,
    pointer: &str,
    context: Context<'_>,
    review: &mut Review<'_>,
) {
    let expected = || format!("the {kind} namespace of a pod");
    let found = match context.facts.namespaces.get(&kind) {
        // The mounts of another container carry neither our masks nor our read-only root.
        Some(NamespaceOrigin::Foreign) if kind == NamespaceKind::Mount => {
            "that of another container"
        }
        Some(NamespaceOrigin::Foreign) => return,
        Some(NamespaceOrigin::Host) => "that of the host",
        None => "one that was not examined",
    };
    review.refuse(
        Code::HostNamespaceDenied,
        format!("{pointer}/path"),
        expected(),
        found,
    );
}
