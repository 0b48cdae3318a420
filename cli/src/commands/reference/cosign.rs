//! `portcullis reference cosign`

use std::path::PathBuf;

use clap::Args;
use portcullis_attestation::jws::{SignError, Signer as _};
use portcullis_attestation::reference;
use portcullis_config::paths;
use serde_json::json;

use crate::documents;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Sign reference values that another one has signed, so that both signatures count.
///
/// Nodes whose settings ask for several (`reference_signatures=`) take a document only if as many
/// pinned keys signed the same. The new file goes beside the other one.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference cosign --signed-by alice.jwk --key keys/bob.pem -i debian-12.jws \\
    -o debian-12.bob.jws")]
pub(crate) struct CosignArguments {
    /// Your private key, made with 'keys generate --use reference'.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Public key of the other signer, instead of those pinned on this host.
    #[arg(long, value_name = "FILE")]
    signed_by: Vec<PathBuf>,
    /// The signed document.
    #[arg(long = "in", short, value_name = "FILE")]
    input: PathBuf,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
enum CosignError {
    #[error("cannot sign '{}' a second time with the same key {kid}", path.display())]
    Same { path: PathBuf, kid: String },
    #[error("cannot sign reference values")]
    Sign(#[source] SignError),
}

pub(crate) fn run(arguments: &CosignArguments) -> Result<Report, Failure> {
    let document = files::read_text(&arguments.input)?;
    let keys = documents::verifying_keys(&arguments.signed_by)?;
    let known = reference::verify(document.trim(), &keys).map_err(Failure::refused)?;
    let mut key = documents::private_key(&arguments.key)?;
    let kid = key.public_key().kid().to_string();
    if kid == known.signer {
        let path = arguments.input.clone();
        return Err(Failure::usage(CosignError::Same { path, kid }));
    }
    let signed = known
        .values
        .sign(&mut key)
        .map_err(CosignError::Sign)
        .map_err(Failure::internal)?;
    let bytes = signed.as_bytes();
    files::write(&arguments.out, bytes, files::PUBLIC, arguments.force)?;
    let mut rows = Rows::default();
    rows.add("signed before with", known.signer.as_str());
    rows.add("signed now with", kid.as_str());
    rows.add("sequence", known.values.sequence.to_string());
    rows.add("file", arguments.out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: copy both files to {}/ on the nodes.",
        strong("Signed."),
        rows.render(),
        paths::REFERENCE
    );
    let json = json!({ "file": arguments.out, "kid": kid, "signed_before_with": known.signer });
    Ok(Report::done(text, json))
}
