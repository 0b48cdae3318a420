//! What our shim itself noted about its launches.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::Value;

use crate::failure::{Doing, Failure, Outcome};

/// The ledger of the host.
const LEDGER: &str = "/var/lib/portcullis/ledger.jsonl";

/// A place in the ledger, after which something is measured.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place(u64);

// === impl Place ===

impl Place {
    /// Its present end.
    pub(super) fn now() -> Outcome<Self> {
        let file = std::fs::metadata(LEDGER).doing(format!("look at '{LEDGER}'"))?;
        Ok(Self(file.len()))
    }

    /// Milliseconds from request to record of each creation of a container whose id begins with
    /// `prefix`, in the order of the records.
    pub(super) fn creates(self, prefix: &str) -> Outcome<Vec<f64>> {
        let mut file = File::open(LEDGER).doing(format!("open '{LEDGER}'"))?;
        file.seek(SeekFrom::Start(self.0))
            .doing(format!("skip in '{LEDGER}'"))?;
        let mut text = String::new();
        file.read_to_string(&mut text)
            .doing(format!("read '{LEDGER}'"))?;
        let found = creates(&text, prefix);
        if found.is_empty() {
            return Err(Failure::new(format!(
                "no records of '{prefix}' in the ledger"
            )));
        }
        Ok(found)
    }
}

fn creates(text: &str, prefix: &str) -> Vec<f64> {
    let records = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok());
    records
        .filter(|record| {
            let id = record["container"]["id"].as_str().unwrap_or_default();
            record["operation"] == "create" && id.starts_with(prefix)
        })
        .filter_map(|record| Some(record["latency_us"].as_f64()? / 1000.0))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::creates;

    #[test]
    fn counts_creations_of_the_named_containers() {
        let text = r#"{"operation":"create","container":{"id":"a-1"},"latency_us":2500}
{"operation":"exec","container":{"id":"a-1"},"latency_us":1}
{"operation":"create","container":{"id":"b-1"},"latency_us":2}
no record
{"operation":"create","container":{"id":"a-2"},"latency_us":500}
"#;
        assert_eq!(creates(text, "a-"), [2.5, 0.5]);
    }
}
