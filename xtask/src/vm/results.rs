//! What came back from a boot.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

/// The folder that the guest has handed back.
#[derive(Debug, Clone)]
pub(super) struct Results {
    folder: PathBuf,
}

/// How one step of the job ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Step {
    /// Exit status; `None` if the step was not reached.
    pub(super) code: Option<i32>,
    /// What it printed.
    pub(super) out: String,
    /// What it complained about.
    pub(super) err: String,
}

// === impl Results ===

impl Results {
    pub(super) fn of(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// How step `name` ended.
    pub(super) fn step(&self, name: &str) -> Step {
        Step {
            code: self.text(&format!("{name}.code")).trim().parse().ok(),
            out: self.text(&format!("{name}.out")),
            err: self.text(&format!("{name}.err")),
        }
    }

    /// A file of the job, or nothing if there is none.
    pub(super) fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The values of PCRs `wanted` in the SHA-256 bank, in the order of their numbers.
    ///
    /// Sample: `/sys/class/tpm/tpm0/pcr-sha256/7:65CA…`.
    pub(super) fn pcrs(&self, wanted: &[u32]) -> Vec<(u32, String)> {
        let text = self.text("pcrs.txt");
        let mut found: Vec<(u32, String)> = text
            .lines()
            .filter_map(|line| {
                let (file, value) = line.rsplit_once(':')?;
                let number = file.rsplit('/').next()?.parse().ok()?;
                Some((number, value.to_owned()))
            })
            .filter(|(number, _)| wanted.contains(number))
            .collect();
        found.sort();
        found
    }

    /// Where a file of the job is.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

// === impl Step ===

impl Step {
    /// Whether it ended well.
    pub(super) fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// What it printed, as JSON; `Null` if it is none.
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_default()
    }

    /// Code of the refusal it ended with: `portcullis: refused [host-rebooted] …`.
    pub(super) fn refusal(&self) -> Option<&str> {
        if self.succeeded() {
            return None;
        }
        let (_, rest) = self.err.split_once("portcullis: ")?;
        let (_, rest) = rest.split_once('[')?;
        rest.split_once(']').map(|(code, _)| code)
    }

    /// How it ended, in one line.
    pub(super) fn summary(&self) -> String {
        let Some(code) = self.code else {
            return "not reached".to_owned();
        };
        let text = if self.err.trim().is_empty() {
            &self.out
        } else {
            &self.err
        };
        let last = text.trim().lines().last().unwrap_or_default();
        format!("exit status {code}: {last}")
    }
}

#[cfg(test)]
mod tests {
    use super::{Results, Step};

    #[test]
    fn a_refusal_is_known_by_its_code() {
        let step = Step {
            code: Some(1),
            out: String::new(),
            err: "ctr: failed to create shim task: portcullis: refused [host-rebooted] node 'n' \
                  boot: expected a, found b; ref=1"
                .to_owned(),
        };
        assert_eq!(step.refusal(), Some("host-rebooted"));
        let started = Step {
            code: Some(0),
            ..step
        };
        assert_eq!(started.refusal(), None);
    }

    #[test]
    fn a_step_that_was_not_reached_is_no_success() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::of(folder.path().to_owned());
        let step = results.step("attest");
        assert_eq!(step, Step::default());
        assert!(!step.succeeded());
        assert_eq!(step.summary(), "not reached");
        assert!(step.json().is_null());
        std::fs::write(results.path("attest.code"), "0\n").unwrap();
        std::fs::write(results.path("attest.out"), "{\"a\": 1}").unwrap();
        assert!(results.step("attest").succeeded());
        assert_eq!(results.step("attest").json()["a"], 1);
    }

    #[test]
    fn pcrs_are_read_by_number() {
        let folder = tempfile::tempdir().unwrap();
        let results = Results::of(folder.path().to_owned());
        let text = "/sys/x/pcr-sha256/10:AA\n/sys/x/pcr-sha256/7:BB\n/sys/x/pcr-sha256/1:CC\n";
        std::fs::write(results.path("pcrs.txt"), text).unwrap();
        let pcrs = results.pcrs(&[1, 7, 9]);
        assert_eq!(pcrs, [(1, "CC".to_owned()), (7, "BB".to_owned())]);
    }
}
