//! `portcullis reference import`

use std::path::PathBuf;

use clap::Args;

use crate::clock;
use crate::documents::Capture;
use crate::failure::Failure;
use crate::files;
use crate::manifest::{self, ManifestError};
use crate::paint::{Rows, strong};
use crate::report::Report;

/// Take measured values over from a CoRIM: integrity registers 0 to 23 become PCR values.
///
/// Reads an unsigned CoRIM in CBOR (draft-ietf-rats-corim-10) and writes a capture, one boot state for
/// each reference triple with integrity registers. Nothing in it is approved before 'reference
/// sign': whether the manifest is genuine is for you to know. Check a signed one with its provider's
/// tools and take its payload.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis reference import vendor.corim --name vendor-2026-11 --out captured.json")]
pub(crate) struct ImportArguments {
    /// The manifest.
    file: PathBuf,
    /// Name of the boot state; several are numbered.
    #[arg(long, value_name = "NAME")]
    name: String,
    /// File to write; standard output if not given.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, thiserror::Error)]
#[error("cannot import '{}'", path.display())]
struct ImportError {
    path: PathBuf,
    source: ManifestError,
}

pub(crate) fn run(arguments: &ImportArguments) -> Result<Report, Failure> {
    let bytes = files::read(&arguments.file, files::INPUT_LIMIT_BYTES)?;
    let now = i64::try_from(clock::now_unix_s()).unwrap_or(i64::MAX);
    let boot_states = manifest::boot_states(&bytes, &arguments.name, now).map_err(|source| {
        let path = arguments.file.clone();
        Failure::usage(ImportError { path, source })
    })?;
    let capture = Capture {
        boot_states,
        tpms: Vec::new(),
    };
    written(arguments, &capture)
}

fn written(arguments: &ImportArguments, capture: &Capture) -> Result<Report, Failure> {
    let json = capture.to_value();
    let Some(out) = &arguments.out else {
        return Ok(Report::done(format!("{json:#}"), json));
    };
    let text = format!("{json:#}\n");
    files::write(out, text.as_bytes(), files::PUBLIC, arguments.force)?;
    let mut rows = Rows::default();
    rows.add("boot states", capture.boot_states.len().to_string());
    rows.add("file", out.display().to_string());
    let text = format!(
        "{}\n{}\nNext: look at it, add the TPMs with a 'reference capture' of theirs, and sign.",
        strong("Imported."),
        rows.render()
    );
    Ok(Report::done(text, json))
}
