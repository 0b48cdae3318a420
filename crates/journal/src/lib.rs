//! Lines for the journal: one for each event, on standard error.
//!
//! ```text
//! <6>portcullis-agent: verdict issued status='affirming' seq='41' boot_state='debian-12'
//! ```
//!
//! The number is the priority that systemd reads. Values are quoted and escaped, so nothing from
//! outside can start a line of its own. Keys, tokens and environment never belong in one. Layer 1; for
//! the programs that stay.
#![forbid(unsafe_code)]

mod line;

pub use line::{Journal, chain};
