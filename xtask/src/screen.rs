//! The one place that prints.
//!
//! Everything goes to standard error, so that standard output stays free for what a
//! program makes (`--output json`); only the closing line of a test run is output.

/// Shows one line of progress.
#[expect(
    clippy::print_stderr,
    reason = "progress is for the person at the terminal"
)]
pub(crate) fn say(line: &str) {
    eprintln!("{line}");
}

/// Shows one line of a child's or of our own output.
#[expect(clippy::print_stdout, reason = "the outcome of a run is its output")]
pub(crate) fn print(line: &str) {
    println!("{line}");
}
