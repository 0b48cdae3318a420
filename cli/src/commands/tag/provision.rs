//! `portcullis tag provision`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::jws::{JwsError, Typ, Unverified};
use portcullis_client::method::ProvisionTag;
use serde_json::json;

use crate::agent;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;

/// Store an asset tag on this node and write its digest to the TPM.
///
/// The agent verifies the tag first: signature, validity, and that it is for this TPM.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag provision w7.jws")]
pub(crate) struct ProvisionArguments {
    /// Tag made with 'tag issue'.
    file: PathBuf,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot provision '{}'", path.display())]
struct ProvisionError {
    path: PathBuf,
    #[source]
    source: JwsError,
}

pub(crate) fn run(arguments: &ProvisionArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.file)?;
    // A wrong file is named here, before the agent and the TPM are troubled with it.
    if let Err(source) = Unverified::parse(&document, Typ::Tag) {
        let path = arguments.file.clone();
        return Err(Failure::usage(ProvisionError { path, source }));
    }
    let reply = agent::call(&ProvisionTag { document }, agent::SLOW)?;
    let mut rows = Rows::default();
    rows.add("NV index", plain(&reply.nv_index));
    rows.add("NV name", plain(&reply.nv_name));
    rows.add("sha384", plain(&reply.sha384));
    let text = format!(
        "{}\n{}\nNext: run 'portcullis attest', so that the verdict is bound to the tag.",
        strong("Provisioned."),
        rows.render()
    );
    let json = json!({
        "nv_index": reply.nv_index,
        "nv_name": reply.nv_name,
        "sha384": reply.sha384,
    });
    Ok(Report::done(text, json))
}
