//! `portcullis census`

mod coverage;

use std::fmt::Write as _;
use std::path::Path;
use std::thread;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};

use crate::clock;
use crate::containers::{Found, Group, PROC, ProcessesError, runtimes};
use crate::failure::{EXIT_REFUSED, Failure};
use crate::ledger_files::LedgerFiles;
use crate::paint::{bad, good, plain};
use crate::report::Report;

use coverage::{Coverage, Decided, Now, Running, at_ms, cover};

/// A container that is this young may not be in the ledger yet: the hook decides while its first
/// process waits.
const YOUNG_MS: u64 = 15_000;
/// How long such a one is waited for, and how often it is looked at meanwhile.
const ROUNDS: u32 = 12;
/// See [`ROUNDS`].
const PAUSE: Duration = Duration::from_secs(1);

/// List the containers that run here, and which of them the gate has decided about.
///
/// Looks at every process that lives apart from the host, whoever started it and with whatever
/// runtime, and at the ledger. Ends with 0 if each has a record that let it start, with 1 if one
/// has none, and with 2 or more if that could not be found out. Needs root.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  portcullis census
  portcullis census --uncovered --output json")]
pub(crate) struct CensusArguments {
    #[command(flatten)]
    files: LedgerFiles,
    /// Show only those without a record that let them start.
    #[arg(long)]
    uncovered: bool,
}

#[derive(Debug, thiserror::Error)]
enum CensusError {
    #[error(transparent)]
    Processes(#[from] ProcessesError),
    #[error("cannot tell the time since boot")]
    Clock,
}

/// A container as it is shown.
struct Counted {
    group: Group,
    runtime: &'static str,
    running: Running,
    image: Option<String>,
    coverage: Coverage,
}

pub(crate) fn run(arguments: &CensusArguments) -> Result<Report, Failure> {
    let mut round = 1;
    let (counted, services) = loop {
        // Processes first: the record of a container that is seen is in the ledger already.
        let found = Found::now().map_err(undecided)?;
        let services = found.services;
        let now = now()?;
        let counted = count(&found, &now, &arguments.files)?;
        let is_settled = counted.iter().all(|one| {
            let age_ms = now.boottime_ms.saturating_sub(one.running.start_ms);
            one.coverage.is_covered() || age_ms > YOUNG_MS
        });
        if is_settled || round >= ROUNDS {
            break (counted, services);
        }
        round = round.saturating_add(1);
        if round == 3 {
            anstream::eprintln!("portcullis: waiting for the decision about a new container");
        }
        pause();
    };
    Ok(report(&counted, services, arguments.uncovered))
}

/// Lets time pass: nothing tells when the hook of another program has decided. Waking early is no
/// harm.
fn pause() {
    thread::park_timeout(PAUSE);
}

fn now() -> Result<Now, Failure> {
    let boot_id = portcullis_host::boot_id().map_err(|error| Failure::from(error.refusal()))?;
    let uptime = std::fs::read_to_string(Path::new(PROC).join("uptime")).ok();
    // Seconds since boot with two decimals, time asleep included.
    let boottime_ms = uptime
        .as_deref()
        .and_then(|text| text.split_ascii_whitespace().next())
        .and_then(|text| text.split_once('.'))
        .and_then(|(seconds, hundredths)| {
            let seconds: u64 = seconds.parse().ok()?;
            let hundredths: u64 = hundredths.parse().ok()?;
            seconds.checked_mul(1000)?.checked_add(hundredths * 10)
        })
        .ok_or_else(|| undecided(CensusError::Clock))?;
    Ok(Now {
        boot_id,
        boottime_ms,
        unix_s: clock::now_unix_s(),
    })
}

/// Names the groups and asks the ledger about them.
fn count(found: &Found, now: &Now, files: &LedgerFiles) -> Result<Vec<Counted>, Failure> {
    let (decided, begins_ms) = decisions(now, files)?;
    let (running, runtimes): (Vec<Running>, Vec<&'static str>) = found
        .containers
        .iter()
        .map(|group| {
            let names = found.names_of(group);
            let running = Running {
                id: names.id,
                namespace: names.namespace,
                start_ms: group.start_ms(),
            };
            (running, names.runtime)
        })
        .unzip();
    let covered = cover(&running, &decided, begins_ms);
    Ok(found
        .containers
        .iter()
        .zip(running.into_iter().zip(runtimes))
        .zip(covered)
        .map(|((group, (running, runtime)), coverage)| {
            let image = coverage
                .decided()
                .and_then(|decided| decided.image.clone())
                .or_else(|| runtimes::image_in(found.state_of(group)?.bundle.as_deref()?));
            Counted {
                group: group.clone(),
                runtime,
                running,
                image,
                coverage,
            }
        })
        .collect())
}

/// The decisions about new containers in this boot, and when the ledger's first line was written,
/// if that was in this boot.
fn decisions(now: &Now, files: &LedgerFiles) -> Result<(Vec<Decided>, Option<u64>), Failure> {
    let (mut decided, mut begins_ms) = (Vec::new(), None);
    let mut is_first = true;
    files.for_each_entry(Failure::undecided, &mut |entry| {
        if is_first {
            begins_ms = at_ms(entry, now);
            is_first = false;
        }
        decided.extend(Decided::read(entry, now));
        Ok(())
    })?;
    Ok((decided, begins_ms))
}

fn undecided(error: impl Into<CensusError>) -> Failure {
    Failure::undecided(error.into())
}

fn report(counted: &[Counted], services: usize, only_uncovered: bool) -> Report {
    let uncovered = counted
        .iter()
        .filter(|one| !one.coverage.is_covered())
        .count();
    let shown: Vec<&Counted> = counted
        .iter()
        .filter(|one| !only_uncovered || !one.coverage.is_covered())
        .collect();
    let total = counted.len();
    let mut text = if uncovered == 0 {
        format!(
            "{} {total} containers, all decided by the gate\n",
            good("covered:")
        )
    } else {
        format!("{} {uncovered} of {total} containers\n", bad("uncovered:"))
    };
    text.push_str(&table(&shown));
    if services > 0 {
        let line = format!("{services} services with a root of their own are not counted\n");
        text.push_str(&line);
    }
    Report {
        text,
        json: json!({
            "containers": shown.iter().map(|one| to_json(one)).collect::<Vec<Value>>(),
            "total": total,
            "uncovered": uncovered,
            "services": services,
        }),
        exit: if uncovered == 0 { 0 } else { EXIT_REFUSED },
    }
}

fn to_json(one: &Counted) -> Value {
    let decided = one.coverage.decided();
    json!({
        "id": some(&one.running.id),
        "namespace": some(&one.running.namespace),
        "runtime": some(one.runtime),
        "pid": one.group.pid,
        "processes": one.group.pids.len(),
        "mount_namespace": one.group.namespace,
        "cgroup": one.group.cgroup,
        "started_boottime_ms": one.running.start_ms,
        "coverage": one.coverage.as_str(),
        "ref": decided.map(|decided| decided.reference.as_str()),
        "sequence": decided.map(|decided| decided.sequence),
        "image": one.image,
    })
}

fn some(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Columns as wide as what stands in them.
fn table(shown: &[&Counted]) -> String {
    if shown.is_empty() {
        return String::new();
    }
    const HEAD: [&str; 7] = [
        "COVERAGE",
        "REF",
        "NAMESPACE",
        "ID",
        "RUNTIME",
        "PID",
        "IMAGE",
    ];
    let dash = |text: &str| {
        let text = plain(text);
        if text.is_empty() {
            "-".to_owned()
        } else {
            text
        }
    };
    let mut rows = vec![HEAD.map(str::to_owned)];
    for one in shown {
        let reference = one.coverage.decided().map(|it| it.reference.as_str());
        rows.push([
            one.coverage.as_str().to_owned(),
            dash(reference.unwrap_or_default()),
            dash(&one.running.namespace),
            dash(&one.running.id),
            dash(one.runtime),
            one.group.pid.to_string(),
            dash(one.image.as_deref().unwrap_or_default()),
        ]);
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: [usize; 7] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            let _a_string_takes_every_write = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(id: &str, coverage: Coverage) -> Counted {
        Counted {
            group: Group {
                namespace: 4_026_532_000,
                pid: 77,
                start_ticks: 100,
                cgroup: format!("/default/{id}"),
                own_pids: true,
                pids: vec![77, 78],
            },
            runtime: "runc",
            running: Running {
                id: id.to_owned(),
                namespace: String::new(),
                start_ms: 1000,
            },
            image: None,
            coverage,
        }
    }

    #[test]
    fn the_exit_code_and_the_table_say_who_is_uncovered() {
        let none = report(&[], 0, false);
        assert_eq!((none.exit, none.json["total"].as_u64()), (0, Some(0)));
        let found = report(&[counted("we\nb", Coverage::NoRecord)], 2, true);
        assert_eq!((found.exit, &found.json["uncovered"]), (1, &json!(1)));
        assert_eq!(found.json["containers"][0]["started_boottime_ms"], 1000);
        assert_eq!(found.json["containers"][0]["namespace"], Value::Null);
        let text = anstream::adapter::strip_str(&found.text).to_string();
        assert_eq!(
            text,
            "uncovered: 1 of 1 containers\n\
             COVERAGE   REF  NAMESPACE  ID    RUNTIME  PID  IMAGE\n\
             no-record  -    -          we?b  runc     77   -\n\
             2 services with a root of their own are not counted\n"
        );
    }
}
