//! Strict JSON: what two readers could read differently is refused.
//!
//! The same bytes are read by this gate and, later, by a runtime written in another language. A
//! document that the two could understand differently (a key given twice, a number that one of
//! them rounds, bytes after the end) is an attack or a mistake, so [`parse`] refuses it and names
//! the place. [`fold`] answers the remaining question: which keys does Go's `encoding/json` take
//! for the same.
//!
//! Nothing is trusted: size and depth are limited by the caller, before anything is built.
//! Layer 0: no I/O, no clock.
//!
//! ```
//! use portcullis_json::{Limits, parse};
//!
//! let limits = Limits { max_bytes: 1024, max_depth: 8 };
//! assert!(parse(br#"{"process": {"cwd": "/"}}"#, limits).is_ok());
//! let refused = parse(b"{\"a\": 1,\n \"a\": 2}", limits).unwrap_err();
//! assert_eq!(refused.to_string(), "cannot accept key 'a' twice in one object at line 2 column 4");
//! ```
#![forbid(unsafe_code)]

mod fold;
mod parse;
mod scan;

pub use fold::fold;
pub use parse::{JsonError, Limits, parse};
