//! `portcullis seccomp intersect`

use std::path::PathBuf;

use clap::Args;
use portcullis_seccomp::{Note, intersect};
use serde_json::{Value, json};

use super::sections::{ReadingArguments, unusable};
use crate::failure::{EXIT_REFUSED, Failure};
use crate::files;
use crate::paint;
use crate::report::Report;

/// Write one seccomp section that permits exactly what two permit, and answers like the stricter one.
///
/// Takes what 'seccomp lint' takes. What is written is compared again with the two before it is
/// printed. Ends with 0 if it is exact, with 1 if it had to be stricter ('--tighten'), with 2 if
/// there is none.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis seccomp intersect default.json application.json --out both.json
  portcullis seccomp intersect --tighten default.json application.json")]
pub(crate) struct IntersectArguments {
    /// The first file; '-' is standard input. Of two denials its errno is taken.
    first: PathBuf,
    /// The second file.
    second: PathBuf,
    /// Permit less where OCI rules cannot say what both permit, and name each case.
    #[arg(long)]
    tighten: bool,
    /// File to write the section to, instead of standard output.
    #[arg(short = 'o', long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the file if it exists.
    #[arg(long, requires = "out")]
    force: bool,
    #[command(flatten)]
    reading: ReadingArguments,
}

pub(crate) fn run(arguments: &IntersectArguments) -> Result<Report, Failure> {
    let native = arguments.reading.native()?;
    let first = arguments.reading.section(&arguments.first)?;
    let second = arguments.reading.section(&arguments.second)?;
    let met = intersect(&first, &second, native, arguments.tighten).map_err(unusable)?;
    let written = format!("{:#}\n", met.section);
    if let Some(out) = &arguments.out {
        files::write(out, written.as_bytes(), files::PUBLIC, arguments.force)?;
    }
    let json = json!({
        "architecture": native.oci(),
        "section": met.section,
        "notes": met.notes.iter().map(Note::to_json).collect::<Vec<Value>>(),
    });
    let notes: Vec<String> = met
        .notes
        .iter()
        .map(|note| format!("{} {note}", paint::caution("stricter:")))
        .collect();
    let notes = notes.join("\n");
    let text = match &arguments.out {
        None => {
            // The section alone is what a reader of standard output expects.
            if !notes.is_empty() {
                anstream::eprintln!("{notes}");
            }
            written
        }
        Some(out) if notes.is_empty() => {
            format!("wrote {}", paint::plain(&out.display().to_string()))
        }
        Some(out) => format!(
            "wrote {}\n{notes}",
            paint::plain(&out.display().to_string())
        ),
    };
    let exit = if met.notes.is_empty() {
        0
    } else {
        EXIT_REFUSED
    };
    Ok(Report { text, json, exit })
}
