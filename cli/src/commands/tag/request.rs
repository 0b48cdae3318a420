//! `portcullis tag request`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::tag::request::{CertifiedCounter, RequestError, TagRequest};
use portcullis_attestation::tpm_name::TpmName;
use portcullis_client::method::{RequestTag, RequestTagReply};
use portcullis_json::{JsonError, Limits};
use serde_json::{Value, json};

use crate::agent;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// Objects inside each other in a request; it has one.
const DEPTH: usize = 2;

/// Ask for an asset tag: write what the tag authority must know about this node to a file.
///
/// The file names the TPM and says where its tag counter stands, signed by the attestation key.
/// Each tag is for the next count, so ask anew for every tag.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag request -o w7.request.json
  portcullis tag request --output json | jq .counter")]
pub(crate) struct RequestArguments {
    /// File to write; without it the request is only shown.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum RequestFileError {
    #[error("cannot read tag request '{}'", path.display())]
    Json {
        path: PathBuf,
        #[source]
        source: JsonError,
    },
    #[error("cannot accept tag request '{}'", path.display())]
    Request {
        path: PathBuf,
        #[source]
        source: RequestError,
    },
    #[error("cannot accept tag request '{}': it is by attestation key {found}, expected {expected}", path.display())]
    Key {
        path: PathBuf,
        expected: TpmName,
        found: TpmName,
    },
    #[error("cannot understand the request that the agent made")]
    Agent(#[source] RequestError),
}

pub(crate) fn run(arguments: &RequestArguments) -> Result<Report, Failure> {
    let reply = agent::call(&RequestTag {}, agent::SLOW)?;
    let value = to_value(&reply);
    // What the authority would refuse is not handed out.
    let verified = TagRequest::from_value(&value)
        .map_err(RequestError::from)
        .and_then(|request| request.verify())
        .map_err(|source| Failure::internal(RequestFileError::Agent(source)))?;
    if let Some(path) = &arguments.out {
        let text = format!("{value:#}\n");
        files::write(path, text.as_bytes(), files::PUBLIC, arguments.force)?;
    }
    let mut rows = Rows::default();
    rows.add("TPM", plain(&reply.ueid));
    rows.add("AK name", verified.ak_name.to_string());
    rows.add("tag counter", verified.counter.to_string());
    let next = match &arguments.out {
        Some(path) => {
            rows.add("file", path.display().to_string());
            format!(
                "Next, where the tag key is: portcullis tag issue --request {} --tag KEY=VALUE …",
                path.display()
            )
        }
        None => format!(
            "Next, where the tag key is: portcullis tag issue --tpm {} --counter {} --tag \
             KEY=VALUE …",
            plain(&reply.ueid),
            verified.counter.saturating_add(1)
        ),
    };
    let text = format!("{}\n{}\n{next}", strong("Tag request"), rows.render());
    Ok(Report::done(text, value))
}

fn to_value(reply: &RequestTagReply) -> Value {
    json!({
        "ueid": reply.ueid,
        "ak_name": reply.ak_name,
        "ak_public": reply.ak_public,
        "counter": reply.counter,
        "message": reply.message,
        "signature": reply.signature,
    })
}

/// Reads a request and verifies it; with `ak_name`, only that attestation key may have made it.
pub(super) fn read(
    path: &std::path::Path,
    ak_name: Option<&TpmName>,
) -> Result<CertifiedCounter, Failure> {
    let named = || path.to_path_buf();
    let bytes = files::read(path, files::INPUT_LIMIT_BYTES)?;
    let limits = Limits {
        max_bytes: bytes.len(),
        max_depth: DEPTH,
    };
    let value = portcullis_json::parse(&bytes, limits).map_err(|source| {
        Failure::usage(RequestFileError::Json {
            path: named(),
            source,
        })
    })?;
    let unfit = |source| RequestFileError::Request {
        path: named(),
        source,
    };
    let request =
        TagRequest::from_value(&value).map_err(|error| Failure::usage(unfit(error.into())))?;
    let verified = request
        .verify()
        .map_err(|error| Failure::refused(unfit(error)))?;
    match ak_name {
        Some(expected) if *expected != verified.ak_name => {
            Err(Failure::refused(RequestFileError::Key {
                path: named(),
                expected: expected.clone(),
                found: verified.ak_name,
            }))
        }
        _ => Ok(verified),
    }
}
