//! `portcullis tag issue`

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use portcullis_attestation::hex;
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::tag::authorization::WriteAuthorization;
use portcullis_attestation::tag::{self, AssetTag, Location};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_attestation::ueid::Ueid;
use serde_json::json;

use crate::clock;
use crate::documents;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, strong};
use crate::report::Report;
use crate::tag_file::TagFile;

/// Sign an asset tag for one TPM.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag issue --key keys/tag.pem --request w7.request.json --tag country=DE \
--tag site=fra1 -o w7.tag
  portcullis tag issue --key keys/tag.pem --tpm AXx… --counter 4 --tag pool=pci \
--location 50.11,8.68 --valid 30d -o w7.tag

The request is what 'portcullis tag request' writes on the node. A tag is for one count of the TPM's
tag counter: issue only one for each, and it is void once the next one is provisioned.")]
pub(crate) struct IssueArguments {
    /// Private key made with 'keys generate --use tag'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Request of the node, which names TPM and count and is signed by its attestation key.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "tpm",
        conflicts_with = "tpm"
    )]
    request: Option<PathBuf>,
    /// TPM name of the attestation key that must have signed the request, as 'enroll' printed it.
    #[arg(long, value_name = "HEX", requires = "request", value_parser = ak_name)]
    ak_name: Option<TpmName>,
    /// Identity of the TPM (44 characters, beginning with 'A'), in place of a request.
    #[arg(long, value_name = "UEID", requires = "counter", value_parser = ueid)]
    tpm: Option<Ueid>,
    /// The count the tag is for: one more than where the TPM's tag counter stands.
    #[arg(long, value_name = "NUMBER", requires = "tpm", value_parser = clap::value_parser!(u64).range(1..))]
    counter: Option<u64>,
    /// One tag; the grammar is that of Kubernetes labels.
    #[arg(long = "tag", value_name = "KEY=VALUE", required_unless_present = "imported", value_parser = pair)]
    tags: Vec<(String, String)>,
    /// Tags that 'tag import' took over, beside those given with '--tag'.
    #[arg(long = "tags", id = "imported", value_name = "FILE")]
    imported: Option<PathBuf>,
    /// Where the host stands, in degrees.
    #[arg(long, value_name = "LAT,LON", value_parser = location, allow_hyphen_values = true)]
    location: Option<Location>,
    /// Validity from now on.
    #[arg(long, value_name = "SPAN", default_value = "365d", value_parser = documents::validity)]
    valid: Duration,
    /// Who says so; the identity of the key if not given.
    #[arg(long, value_name = "NAME")]
    issuer: Option<String>,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum IssueError {
    #[error("cannot give tag '{key}' twice")]
    Twice { key: String },
    #[error("cannot sign asset tag")]
    Sign(#[source] SignError),
    #[error("cannot issue a tag without the TPM's identity and count")]
    Subject,
    #[error("cannot issue a tag beyond the last count of a TPM")]
    Count,
}

pub(crate) fn run(arguments: &IssueArguments) -> Result<Report, Failure> {
    let mut pairs = arguments.tags.clone();
    if let Some(path) = &arguments.imported {
        pairs.extend(super::import::read(path)?);
    }
    let tags = unique(&pairs).map_err(Failure::usage)?;
    let (subject, counter) = about(arguments)?;
    let mut key = documents::private_key(&arguments.key)?;
    let kid = key.public_key().kid().to_string();
    let now = clock::now_unix_s();
    let asset_tag = AssetTag {
        issuer: arguments
            .issuer
            .clone()
            .unwrap_or_else(|| documents::issuer_of(&kid)),
        subject,
        issued_at_s: now,
        not_before_s: now,
        expires_s: now.saturating_add(arguments.valid.as_secs()),
        counter,
        tags,
        location: arguments.location,
    };
    let document = asset_tag
        .sign(&mut key)
        .map_err(IssueError::Sign)
        .map_err(Failure::internal)?;
    let authorization = WriteAuthorization::sign(&document, &asset_tag.subject, &mut key)
        .map_err(IssueError::Sign)
        .map_err(Failure::internal)?;
    let file = TagFile::to_text(&document, &authorization);
    files::write(
        &arguments.out,
        file.as_bytes(),
        files::PUBLIC,
        arguments.force,
    )?;

    let sha384 = hex::encode(&tag::digest(&document));
    let mut rows = Rows::default();
    rows.add("TPM", asset_tag.subject.as_str());
    rows.add("counter", asset_tag.counter.to_string());
    rows.add("tags", super::tag_list(&asset_tag.tags));
    rows.add(
        "valid until",
        clock::utc_and_distance(asset_tag.expires_s, now),
    );
    rows.add("signed with", kid.as_str());
    rows.add("sha384", sha384.as_str());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: copy it to the node and run 'portcullis tag provision {}' there.",
        strong("Issued."),
        rows.render(),
        arguments.out.display()
    );
    let json = json!({
        "file": arguments.out,
        "kid": kid,
        "sha384": sha384,
        "claims": asset_tag.to_claims(),
    });
    Ok(Report::done(text, json))
}

/// Which TPM the tag is about, and for which count.
fn about(arguments: &IssueArguments) -> Result<(Ueid, u64), Failure> {
    let Some(path) = &arguments.request else {
        let named = arguments.tpm.clone().zip(arguments.counter);
        return named.ok_or_else(|| Failure::usage(IssueError::Subject));
    };
    let verified = super::request::read(path, arguments.ak_name.as_ref())?;
    let next = verified.counter.checked_add(1);
    let counter = next.ok_or_else(|| Failure::refused(IssueError::Count))?;
    Ok((verified.ueid, counter))
}

fn ak_name(text: &str) -> Result<TpmName, String> {
    TpmName::parse(text).ok_or_else(|| "expected a TPM name in hexadecimal".to_owned())
}

fn unique(pairs: &[(String, String)]) -> Result<BTreeMap<String, String>, IssueError> {
    let mut tags = BTreeMap::new();
    for (key, value) in pairs {
        if tags.insert(key.clone(), value.clone()).is_some() {
            return Err(IssueError::Twice { key: key.clone() });
        }
    }
    Ok(tags)
}

fn ueid(text: &str) -> Result<Ueid, String> {
    Ueid::parse(text).ok_or_else(|| "expected the 44 characters of a ueid".to_owned())
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("expected KEY=VALUE")?;
    if !tag::is_key(key) {
        return Err(format!(
            "expected the key of a Kubernetes label, found '{key}'"
        ));
    }
    if !tag::is_value(value) {
        return Err(format!(
            "expected the value of a Kubernetes label, found '{value}'"
        ));
    }
    Ok((key.to_owned(), value.to_owned()))
}

fn location(text: &str) -> Result<Location, String> {
    let degrees = |text: &str, limit: f64| {
        text.trim()
            .parse::<f64>()
            .ok()
            .filter(|degrees| degrees.abs() <= limit)
    };
    text.split_once(',')
        .and_then(|(latitude, longitude)| {
            Some(Location {
                latitude: degrees(latitude, 90.0)?,
                longitude: degrees(longitude, 180.0)?,
            })
        })
        .ok_or_else(|| "expected LAT,LON in degrees, such as 50.11,8.68".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_tags_and_places() {
        assert_eq!(
            pair("country=DE").unwrap(),
            ("country".to_owned(), "DE".to_owned())
        );
        assert_eq!(pair("pool=").unwrap(), ("pool".to_owned(), String::new()));
        for text in ["country", "=DE", "a b=c", "a=b c", "a=-"] {
            assert!(pair(text).is_err(), "{text}");
        }
        assert_eq!(
            location("-33.9, 18.4").unwrap().latitude.to_string(),
            "-33.9"
        );
        for text in ["", "50", "91,0", "0,181", "a,b", "NaN,0"] {
            assert!(location(text).is_err(), "{text}");
        }
    }

    #[test]
    fn refuses_a_tag_given_twice() {
        let twice = [
            ("a".to_owned(), "1".to_owned()),
            ("a".to_owned(), "1".to_owned()),
        ];
        assert_eq!(
            unique(&twice).unwrap_err().to_string(),
            "cannot give tag 'a' twice"
        );
    }
}
