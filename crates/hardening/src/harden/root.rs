//! The root filesystem.

use portcullis_gate::{Code, Rule, quote};
use serde_json::{Map, Value};

use super::Context;
use crate::oci_config::text;
use crate::path::{is_within, normal};
use crate::review::{Review, take_object};

pub(super) fn harden(spec: &mut Map<String, Value>, context: Context<'_>, review: &mut Review<'_>) {
    let mut root = take_object(spec, "root");
    let path = text(&root, "path");
    if !may_be_a_root(path) {
        let (code, expected) = (Code::RootFilesystemDenied, "a directory of the bundle");
        review.asking(Rule::RootFilesystem, |review| {
            review.refuse(code, "/root/path", expected, quote(path));
        });
    }
    if context.profile.rules().root.read_only {
        let reason = "a program that cannot be changed cannot be replaced";
        review.under(Rule::ReadOnlyRoot, &mut root, |root, review| {
            review.set(root, "/root", "readonly", true, reason);
        });
    }
    spec.insert("root".to_owned(), Value::Object(root));
}

/// False for paths that cannot be the root filesystem of a bundle, whoever asks; the front that
/// knows the bundle compares them with it.
fn may_be_a_root(path: &str) -> bool {
    let from_bundle = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    match normal(&from_bundle) {
        None => false,
        Some(root) => {
            root != "/"
                && !["/proc", "/sys", "/dev"]
                    .iter()
                    .any(|it| is_within(&root, it))
        }
    }
}
