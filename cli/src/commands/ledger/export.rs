//! `portcullis ledger export`

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use portcullis_attestation::jws::Signer as _;
use portcullis_ledger::dsse::{self, SealError};
use portcullis_ledger::statement;
use serde_json::json;

use super::picked::Picked;
use crate::documents;
use crate::failure::Failure;
use crate::files;
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Export entries as signed statements for other tools.
///
/// Each entry becomes an in-toto Statement v1 in a DSSE envelope, one JSON object a line. A ledger
/// whose chain does not hold is not exported. Nobody's signature makes an entry true: it says who
/// exported it.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out export.pem
  portcullis ledger export --key export.pem --since 24h --out decisions.intoto.jsonl")]
pub(crate) struct ExportArguments {
    #[command(flatten)]
    picked: Picked,
    /// Form of the statements.
    #[arg(long, value_enum, default_value_t = Format::InToto)]
    format: Format,
    /// Private key to sign with, P-256 in PKCS#8.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// File to write.
    #[arg(long, short, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

/// Form of what is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// in-toto Statement v1 in DSSE.
    InToto,
}

#[derive(Debug, thiserror::Error)]
enum ExportError {
    #[error("cannot export ledger: its chain does not hold; see 'portcullis ledger verify'")]
    Broken,
    #[error("cannot export entry {sequence}")]
    Seal {
        sequence: u64,
        #[source]
        source: SealError,
    },
}

pub(crate) fn run(arguments: &ExportArguments) -> Result<Report, Failure> {
    let Format::InToto = arguments.format;
    let mut key = documents::private_key(&arguments.key)?;
    if !arguments.picked.is_chained()? {
        return Err(Failure::refused(ExportError::Broken));
    }
    let mut lines = Vec::new();
    let mut count = 0_u64;
    arguments.picked.for_each(&mut |entry| {
        let payload = statement::statement(entry).to_string();
        let envelope =
            dsse::seal(dsse::IN_TOTO, payload.as_bytes(), &mut key).map_err(|source| {
                let sequence = entry.sequence;
                Failure::internal(ExportError::Seal { sequence, source })
            })?;
        lines.extend(envelope.to_string().into_bytes());
        lines.push(b'\n');
        count = count.saturating_add(1);
        Ok(())
    })?;
    // What was decided about whom is not for everybody.
    files::write(&arguments.out, &lines, files::PRIVATE, arguments.force)?;
    let keyid = key.public_key().kid().to_string();
    let out = arguments.out.display().to_string();
    let mut rows = Rows::default();
    rows.add("statements", count.to_string());
    rows.add("key id", keyid.clone());
    Ok(Report::done(
        format!("exported to {}\n{}", strong(&out), rows.render()),
        json!({ "out": out, "format": "in-toto", "statements": count, "keyid": keyid }),
    ))
}
