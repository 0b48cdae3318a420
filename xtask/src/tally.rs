//! Counting what the test runners report.

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
}

// === impl Tally ===

impl Tally {
    /// Adds the counts of one line of output, if it is a runner's summary.
    ///
    /// Samples: `test result: ok. 9 passed; 0 failed; 0 ignored; …` (cargo test) and
    /// `     Summary [   1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 3 skipped` (nextest).
    pub(crate) fn read(&mut self, line: &str) {
        let line = without_colour(line);
        // What a failed test has printed is indented by nextest, and may be a runner's line too.
        if line.starts_with("test result: ") || line.trim_start().starts_with("Summary [") {
            self.passed += number_before(&line, "passed");
            self.failed += number_before(&line, "failed") + number_before(&line, "timed out");
        }
    }
}

/// The number in front of `word`, or 0.
fn number_before(line: &str, word: &str) -> u64 {
    line.find(word)
        .and_then(|at| line.get(..at))
        .and_then(|before| before.split_whitespace().next_back())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0)
}

/// Takes out `ESC [ … m`.
fn without_colour(line: &str) -> String {
    let mut parts = line.split('\u{1b}');
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        text.push_str(part.split_once('m').map_or(part, |(_, rest)| rest));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn adds_up_both_runners() {
        let mut tally = Tally::default();
        tally.read("test result: FAILED. 9 passed; 2 failed; 0 ignored; 0 measured");
        tally.read("     Summary [   1.2s] 12 tests run: 11 passed (1 slow), 1 failed, 3 skipped");
        assert_eq!(
            tally,
            Tally {
                passed: 20,
                failed: 3
            }
        );
    }

    #[test]
    fn reads_through_colour_and_past_other_lines() {
        let mut tally = Tally::default();
        tally.read("\u{1b}[32;1m     Summary\u{1b}[0m [   1s] 2 tests run: \u{1b}[1m2\u{1b}[0m passed, 0 skipped");
        tally.read("running 7 tests");
        tally.read("test seven_passed ... ok");
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 0
            }
        );
    }

    #[test]
    fn what_a_test_prints_is_not_a_result() {
        let mut tally = Tally::default();
        tally.read("    test result: FAILED. 0 passed; 1 failed; 0 ignored");
        assert_eq!(tally, Tally::default());
    }

    #[test]
    fn a_test_that_timed_out_has_failed() {
        let mut tally = Tally::default();
        tally.read("     Summary [  60s] 3 tests run: 2 passed, 1 timed out, 0 skipped");
        assert_eq!(
            tally,
            Tally {
                passed: 2,
                failed: 1
            }
        );
    }
}
