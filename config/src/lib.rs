//! Typed settings of a node: where they are, how they are read, what they default to.
//!
//! Files are opened once and checked on the descriptor; unknown keys are faults; all faults of all
//! files are reported together. Nothing comes from the environment.

#![forbid(unsafe_code)]

mod config;
pub mod paths;
mod pattern;
mod relaxation;

pub use config::{
    AgentConfig, Config, Effective, ExecGate, ExecPolicy, HookConfig, Mode, NamespacePolicy,
    RuntimeConfig, namespace_of,
};
pub use pattern::Pattern;
pub use relaxation::{Date, Relaxation};

/// Everything that is wrong with the files, at least one fault.
pub type Faults = portcullis_gate::Refusals;
