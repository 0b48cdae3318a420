//! `portcullis tag show`

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::hex;
use portcullis_attestation::tag::{self, TagError};
use portcullis_config::paths;
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::{EXIT_REFUSED, Failure};
use crate::paint::{Rows, good, plain, strong};
use crate::report::Report;
use crate::tag_file::TagFile;
use crate::validity::validity;

/// Verify an asset tag and show what it says.
///
/// Whether the TPM holds its digest is in 'portcullis check' and in every launch.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag show
  portcullis tag show --key keys/tag.jwk w7.tag")]
pub(crate) struct ShowArguments {
    /// Tag document; the one provisioned on this node if not given.
    file: Option<PathBuf>,
    /// Public key to verify with, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    key: Vec<PathBuf>,
}

pub(crate) fn run(arguments: &ShowArguments) -> Result<Report, Failure> {
    let path = arguments
        .file
        .clone()
        .unwrap_or_else(|| PathBuf::from(paths::TAG_DOCUMENT));
    let document = TagFile::read(&path)?.document;
    let keys = documents::verifying_keys(&arguments.key)?;
    let asset_tag = tag::verify(&document, &keys).map_err(|error| match error {
        TagError::Signature(_) => Failure::refused(error),
        other => Failure::usage(other),
    })?;
    let now = clock::now_unix_s();
    let valid = asset_tag.is_valid_at(now);
    let sha384 = hex::encode(&tag::digest(&document));

    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    rows.add(
        "validity",
        validity(asset_tag.not_before_s, asset_tag.expires_s, now),
    );
    rows.add("TPM", asset_tag.subject.as_str());
    rows.add("counter", asset_tag.counter.to_string());
    rows.add("tags", tag_list(&asset_tag.tags));
    if let Some(location) = asset_tag.location {
        rows.add(
            "location",
            format!("{}, {}", location.latitude, location.longitude),
        );
    }
    rows.add("issuer", plain(&asset_tag.issuer));
    rows.add(
        "issued",
        clock::utc_and_distance(asset_tag.issued_at_s, now),
    );
    rows.add("sha384", sha384.as_str());
    let text = format!("{}\n{}", strong("Asset tag"), rows.render());
    let json = json!({
        "file": path,
        "verified": true,
        "valid": valid,
        "sha384": sha384,
        "claims": asset_tag.to_claims(),
    });
    Ok(Report {
        text,
        json,
        exit: if valid { 0 } else { EXIT_REFUSED },
    })
}

/// `country=DE, pool, site=fra1`; a tag without a value is its key.
pub(crate) fn tag_list(tags: &BTreeMap<String, String>) -> String {
    let list: Vec<String> = tags
        .iter()
        .map(|(key, value)| {
            if value.is_empty() {
                key.clone()
            } else {
                format!("{key}={value}")
            }
        })
        .collect();
    list.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_tags_in_order() {
        let tags = [("site", "fra1"), ("country", "DE"), ("pool", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        assert_eq!(tag_list(&tags), "country=DE, pool, site=fra1");
    }
}
