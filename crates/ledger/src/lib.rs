//! The ledger of one node: its lines, the chain through them, its anchors in a TPM, and how others
//! verify and read all that.
//!
//! The agent appends with [`link::Link`]; whoever holds a copy verifies it with [`audit::Audit`],
//! without the node and without this host's trust: what counts is the chain and what an AK signed.
//! Nothing in a ledger is believed because it stands there: lines are limited, parsed strictly, and
//! judged one after the other.
//!
//! ```
//! use portcullis_ledger::link::{Link, Stamp};
//! use serde_json::Map;
//!
//! let stamp = Stamp { at: "2026-11-21T20:58:04Z".to_owned(), boot: None };
//! let (line, link) = Link::GENESIS.next_line(&Map::new(), &stamp)?;
//! assert_eq!(link.sequence, 1);
//! assert_eq!(Link::of_line(&line)?, link);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! No I/O, no clock. Layer 0: may use `attestation` and `json`.
#![forbid(unsafe_code)]

pub mod anchor;
pub mod audit;
pub mod dsse;
pub mod entry;
pub mod filter;
pub mod link;
pub mod reconcile;
pub mod segment;
pub mod statement;
