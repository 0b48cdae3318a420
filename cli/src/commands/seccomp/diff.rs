//! `portcullis seccomp diff`

use std::path::PathBuf;

use clap::Args;
use portcullis_seccomp::{Difference, Direction, differences};
use serde_json::{Value, json};

use super::sections::{ReadingArguments, unusable};
use crate::failure::{EXIT_REFUSED, Failure};
use crate::paint;
use crate::report::Report;

/// Say what one seccomp section permits that another does not, each time with a call.
///
/// Takes what 'seccomp lint' takes. Ends with 0 if the two answer every call alike, with 1 if they do
/// not, with 2 if they cannot be compared.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis seccomp diff old.json new.json
  portcullis seccomp diff --output json --arch aarch64 default.json restricted.json")]
pub(crate) struct DiffArguments {
    /// The first file; '-' is standard input.
    first: PathBuf,
    /// The second file.
    second: PathBuf,
    #[command(flatten)]
    reading: ReadingArguments,
}

pub(crate) fn run(arguments: &DiffArguments) -> Result<Report, Failure> {
    let native = arguments.reading.native()?;
    let first = arguments.reading.section(&arguments.first)?;
    let second = arguments.reading.section(&arguments.second)?;
    let found = differences(&first, &second, native).map_err(unusable)?;
    let json = json!({
        "architecture": native.oci(),
        "differences": found.iter().map(Difference::to_json).collect::<Vec<Value>>(),
    });
    if found.is_empty() {
        let text = format!("they answer every call alike on {native}");
        return Ok(Report::done(text, json));
    }
    let mut text = String::new();
    for direction in [
        Direction::FirstPermits,
        Direction::SecondPermits,
        Direction::OtherAnswer,
    ] {
        let of = || found.iter().filter(|it| it.direction == direction);
        if of().next().is_some() {
            text.push_str(&heading(direction, arguments, of().count()));
            let (own, foreign): (Vec<&Difference>, Vec<_>) =
                of().partition(|it| it.witness.abi == native);
            own.into_iter().for_each(|it| text.push_str(&line(it)));
            text.push_str(&summed(&foreign));
        }
    }
    Ok(Report {
        text,
        json,
        exit: EXIT_REFUSED,
    })
}

fn heading(direction: Direction, arguments: &DiffArguments, count: usize) -> String {
    let name = |path: &PathBuf| paint::plain(&path.display().to_string());
    let (first, second) = (name(&arguments.first), name(&arguments.second));
    let heading = match direction {
        Direction::FirstPermits => format!("{first} permits, {second} does not"),
        Direction::SecondPermits => format!("{second} permits, {first} does not"),
        Direction::OtherAnswer => "answered in another way".to_owned(),
    };
    format!("{} ({count})\n", paint::strong(&heading))
}

/// Other architectures differ in hundreds of calls at once: of those with the same answers one, and
/// how many there are. The whole list is in the JSON.
fn summed(foreign: &[&Difference]) -> String {
    let alike = |one: &Difference, other: &Difference| {
        one.witness.abi == other.witness.abi
            && (one.first, one.second) == (other.first, other.second)
    };
    let mut text = String::new();
    for (index, difference) in foreign.iter().enumerate() {
        let mut before = foreign.iter().take(index);
        if before.any(|it| alike(it, difference)) {
            continue;
        }
        text.push_str(&line(difference));
        let more = foreign.iter().filter(|it| alike(it, difference)).count();
        if more > 1 {
            text.push_str(&format!(
                "    and {} more by way of {} (all with '--output json')\n",
                more.saturating_sub(1),
                difference.witness.abi
            ));
        }
    }
    text
}

/// A call, by which architecture, and both answers to it.
fn line(difference: &Difference) -> String {
    format!(
        "  {} {}: {} / {}\n",
        difference.witness.abi, difference.witness, difference.first, difference.second
    )
}
