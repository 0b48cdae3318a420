//! `portcullis tag provision`

use std::path::PathBuf;

use clap::Args;
use portcullis_client::method::ProvisionTag;
use serde_json::json;

use crate::agent;
use crate::failure::Failure;
use crate::paint::{Rows, plain, strong};
use crate::report::Report;
use crate::tag_file::TagFile;

/// Store an asset tag on this node and write its digest to the TPM.
///
/// The agent verifies the tag first: signature, validity, that it is for this TPM and for the next
/// count of its tag counter. The TPM then takes the digest only because the tag authority signed
/// that, too; an index of another sort in that place, as earlier versions and Intel SecL made it,
/// is replaced.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis tag provision w7.tag")]
pub(crate) struct ProvisionArguments {
    /// Tag made with 'tag issue'.
    file: PathBuf,
}

pub(crate) fn run(arguments: &ProvisionArguments) -> Result<Report, Failure> {
    // A wrong file is named here, before the agent and the TPM are troubled with it.
    let file = TagFile::read(&arguments.file)?;
    let call = ProvisionTag {
        document: file.document,
        authorization: file.authorization.map(|it| it.to_string()),
    };
    let reply = agent::call(&call, agent::SLOW)?;
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
