//! `portcullis tag import`

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use clap::Args;
use portcullis_attestation::{hex, tag};
use portcullis_json::{JsonError, Limits};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384};

use crate::clock;
use crate::failure::Failure;
use crate::files;
use crate::isecl::{Certificate, CertificateError};
use crate::paint::{Rows, good, plain, strong};
use crate::report::Report;

/// Objects inside each other in a file of tags; it has three.
const DEPTH: usize = 4;
/// What a PEM file of one certificate begins and ends with.
const PEM: (&str, &str) = ("-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----");

/// Read an asset tag certificate of Intel SecL and take over its tags.
///
/// The certificate is verified with that of the tag authority that issued it. It names the host by
/// its SMBIOS UUID, which proves nothing, so the tags go into a document for one TPM that our own
/// tag authority signs: 'tag issue --tags FILE'.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag import --ca tag-ca.pem tagcert.der -o w7.tags.json
  portcullis tag issue --key keys/tag.pem --request w7.request.json --tags w7.tags.json -o w7.tag")]
pub(crate) struct ImportArguments {
    /// Tag certificate, DER or PEM.
    certificate: PathBuf,
    /// Certificate of the authority that issued it, DER or PEM; it is trusted as it is.
    #[arg(long, value_name = "FILE")]
    ca: PathBuf,
    /// Take over this tag only; may be given more than once.
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// File to write the tags to; without it they are only shown.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum ImportError {
    #[error("cannot read '{}': expected one certificate in PEM", path.display())]
    Pem { path: PathBuf },
    #[error("cannot take over tags of '{}'", path.display())]
    Certificate {
        path: PathBuf,
        #[source]
        source: CertificateError,
    },
    #[error("cannot take over tags of '{}': it is not valid now, but from {from} to {to}", path.display())]
    Validity {
        path: PathBuf,
        from: String,
        to: String,
    },
    #[error(
        "cannot take over tag '{name}' with value '{value}': they do not fit the grammar of Kubernetes labels; leave it out with '--only'"
    )]
    Grammar { name: String, value: String },
    #[error("cannot take over tag '{name}': the certificate holds it twice")]
    Twice { name: String },
    #[error("cannot take over tag '{name}': the certificate does not hold it")]
    Absent { name: String },
    #[error("cannot read tags '{}'", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot read tags '{}': expected an object 'tags' of texts, as 'tag import' writes it", path.display())]
    Shape { path: PathBuf },
}

pub(crate) fn run(arguments: &ImportArguments) -> Result<Report, Failure> {
    let path = &arguments.certificate;
    let (bytes, authority) = (certificate(path)?, certificate(&arguments.ca)?);
    let refused = |path: &Path| {
        let path = path.to_path_buf();
        |source| ImportError::Certificate { path, source }
    };
    let parsed = Certificate::parse(&bytes)
        .map_err(CertificateError::from)
        .map_err(refused(path))
        .map_err(Failure::usage)?;
    let authority = Certificate::parse(&authority)
        .map_err(CertificateError::from)
        .map_err(refused(&arguments.ca))
        .map_err(Failure::usage)?;
    let verified = parsed
        .verify(&authority)
        .map_err(refused(path))
        .map_err(Failure::refused)?;
    let now = clock::now_unix_s();
    if now < verified.not_before_s || now > verified.not_after_s {
        return Err(Failure::refused(ImportError::Validity {
            path: path.clone(),
            from: clock::utc(verified.not_before_s),
            to: clock::utc(verified.not_after_s),
        }));
    }
    let tags = taken_over(&verified.tags, &arguments.only).map_err(Failure::usage)?;
    let json = json!({
        "tags": tags,
        "certificate": {
            "hardware_uuid": verified.hardware_uuid,
            "sha384": hex::encode(&Sha384::digest(&bytes)),
            "not_after": verified.not_after_s,
        },
    });
    let mut rows = Rows::default();
    rows.add("signature", good("verified"));
    rows.add("hardware", plain(&verified.hardware_uuid));
    rows.add(
        "valid until",
        clock::utc_and_distance(verified.not_after_s, now),
    );
    for (name, value) in &verified.tags {
        rows.add("tag", plain(&format!("{name}={value}")));
    }
    if let Some(path) = &arguments.out {
        let text = format!("{json:#}\n");
        files::write(path, text.as_bytes(), files::PUBLIC, arguments.force)?;
        rows.add("file", path.display().to_string());
    }
    let text = format!(
        "{}\n{}\nNext: have your own tag authority sign them for the host's TPM with 'portcullis tag \
         issue --tags'.",
        strong("Tag certificate of Intel SecL"),
        rows.render()
    );
    Ok(Report::done(text, json))
}

/// Reads a certificate, DER or PEM.
fn certificate(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
    let Some(text) = str::from_utf8(&bytes).ok().filter(|it| it.contains(PEM.0)) else {
        return Ok(bytes);
    };
    let body: Option<String> = text
        .split_once(PEM.0)
        .and_then(|(_, rest)| rest.split_once(PEM.1))
        .filter(|(_, rest)| !rest.contains(PEM.0))
        .map(|(body, _)| body.split_ascii_whitespace().collect());
    body.and_then(|body| Base64::decode_vec(&body).ok())
        .ok_or_else(|| {
            Failure::usage(ImportError::Pem {
                path: path.to_path_buf(),
            })
        })
}

fn taken_over(
    pairs: &[(String, String)],
    only: &[String],
) -> Result<BTreeMap<String, String>, ImportError> {
    let mut tags = BTreeMap::new();
    let wanted = |name: &String| only.is_empty() || only.contains(name);
    for (name, value) in pairs.iter().filter(|(name, _)| wanted(name)) {
        if !tag::is_key(name) || !tag::is_value(value) {
            return Err(ImportError::Grammar {
                name: plain(name),
                value: plain(value),
            });
        }
        if tags.insert(name.clone(), value.clone()).is_some() {
            return Err(ImportError::Twice { name: name.clone() });
        }
    }
    match only.iter().find(|name| !tags.contains_key(*name)) {
        Some(name) => Err(ImportError::Absent { name: name.clone() }),
        None => Ok(tags),
    }
}

/// Reads the file that [`run`] writes.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, Failure> {
    let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
    let limits = Limits {
        max_bytes: bytes.len(),
        max_depth: DEPTH,
    };
    let value = portcullis_json::parse(&bytes, limits).map_err(|source| {
        Failure::usage(ImportError::Json {
            path: path.to_path_buf(),
            source,
        })
    })?;
    let shape = || {
        Failure::usage(ImportError::Shape {
            path: path.to_path_buf(),
        })
    };
    let members = value
        .get("tags")
        .and_then(Value::as_object)
        .ok_or_else(shape)?;
    members
        .iter()
        .map(|(name, value)| {
            let value = value.as_str().filter(|value| tag::is_value(value))?;
            tag::is_key(name).then(|| (name.clone(), value.to_owned()))
        })
        .collect::<Option<_>>()
        .ok_or_else(shape)
}
