//! HTTPS with pinned authorities: one question, one bounded answer.
//!
//! No proxy, no redirect, no certificate store of the system: the operator names the authorities, and
//! what answers under others is nobody. Layer 1; for programs off the launch path.
#![forbid(unsafe_code)]

mod client;

pub use client::{Client, HttpsError, Identity, host_of};
