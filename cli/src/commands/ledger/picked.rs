//! Options that pick entries.

use clap::Args;
use jiff::Timestamp;
use portcullis_ledger::entry::Entry;
use portcullis_ledger::filter::Filter;
use portcullis_ledger::link::Link;

use crate::clock;
use crate::failure::Failure;
use crate::ledger_files::{LedgerFiles, Line};

/// Answers that a decision can have.
const DECISIONS: [&str; 6] = [
    "permitted",
    "refused",
    "undecided",
    "fault",
    "would-refuse",
    "break-glass",
];

/// Which entries.
#[derive(Debug, Args)]
pub(crate) struct Picked {
    #[command(flatten)]
    files: LedgerFiles,
    /// Written then or later: '2026-11-21T20:58:04Z', or a span such as '2h' before now.
    #[arg(long, value_name = "TIME|SPAN", value_parser = instant)]
    since: Option<String>,
    /// Written before then; like --since.
    #[arg(long, value_name = "TIME|SPAN", value_parser = instant)]
    until: Option<String>,
    /// Answered so.
    #[arg(long, value_name = "OUTCOME", value_parser = DECISIONS)]
    outcome: Option<String>,
    /// The containerd namespace, or the pod's namespace.
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// Begin of the container's id, or name of the container or its pod.
    #[arg(long, value_name = "ID|NAME")]
    container: Option<String>,
    /// What was asked for: 'create', 'start', 'exec', 'update', 'restore', 'checkpoint', 'hook'.
    #[arg(long, value_name = "NAME")]
    operation: Option<String>,
    /// Refused with this code.
    #[arg(long, value_name = "CODE")]
    code: Option<String>,
    /// Also what the ledger notes about itself, such as anchors.
    #[arg(long)]
    events: bool,
}

// === impl Picked ===

impl Picked {
    /// Calls `each` with every entry that is picked. The chain is not looked at here; that is what
    /// `ledger verify` does.
    pub(crate) fn for_each(
        &self,
        each: &mut dyn FnMut(&Entry) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let filter = self.filter();
        self.files.for_each_entry(Failure::refused, &mut |entry| {
            if filter.accepts(entry) {
                each(entry)?;
            }
            Ok(())
        })
    }

    /// Whether the chain through all lines holds, for those who hand entries on.
    pub(crate) fn is_chained(&self) -> Result<bool, Failure> {
        let mut end: Option<Link> = None;
        let mut holds = true;
        self.files.for_each(&mut |_, line| {
            let Line::Whole(line) = line else {
                holds &= matches!(line, Line::Torn(_));
                return Ok(());
            };
            match Entry::parse(line) {
                Ok(entry) => {
                    holds &= end.is_none_or(|end| {
                        entry.before == end.head
                            && Some(entry.sequence) == end.sequence.checked_add(1)
                    });
                    end = Some(entry.link());
                }
                Err(_) => holds = false,
            }
            Ok(())
        })?;
        Ok(holds)
    }

    fn filter(&self) -> Filter {
        Filter {
            since: self.since.clone(),
            until: self.until.clone(),
            decision: self.outcome.clone(),
            namespace: self.namespace.clone(),
            container: self.container.clone(),
            operation: self.operation.clone(),
            code: self.code.clone(),
            events: self.events,
        }
    }
}

/// An instant in the form in which entries have it.
fn instant(text: &str) -> Result<String, String> {
    if let Ok(span) = humantime::parse_duration(text) {
        return Ok(clock::utc(
            clock::now_unix_s().saturating_sub(span.as_secs()),
        ));
    }
    text.parse::<Timestamp>()
        .ok()
        .and_then(|instant| u64::try_from(instant.as_second()).ok())
        .map(clock::utc)
        .ok_or_else(|| {
            "expected a time such as '2026-11-21T20:58:04Z' or a span such as '2h'".into()
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_instants_of_any_zone_and_spans() {
        for text in [
            "2026-11-21T20:58:04Z",
            "2026-11-21T21:58:04+01:00",
            "2026-11-21T20:58:04.7Z",
        ] {
            assert_eq!(
                instant(text).as_deref(),
                Ok("2026-11-21T20:58:04Z"),
                "{text}"
            );
        }
        let ago = instant("2h").unwrap();
        assert!(ago.len() == 20 && ago < clock::utc(clock::now_unix_s()));
        for text in ["", "yesterday", "2026-11-21", "1969-01-01T00:00:00Z"] {
            assert!(instant(text).is_err(), "{text}");
        }
    }
}
