//! Typed settings of a node: where they are, how they are read, what they default to.
//!
//! Files are opened once and checked on the descriptor; unknown keys are faults; all faults of all
//! files are reported together. Nothing comes from the environment.

#![forbid(unsafe_code)]

mod bundle;
mod config;
mod defaults;
mod demands;
mod duration;
mod identity;
mod image_pattern;
mod keys;
mod load;
pub mod node_rules;
pub mod paths;
mod pattern;
mod profile;
mod read;
mod reader;
mod relaxation;
mod source_pattern;
mod tree;
mod trusted_file;

pub use bundle::{BundleInForce, Difference, differences, examine};
pub use config::{
    AgentConfig, Config, Effective, ExecGate, ExecPolicy, HookConfig, KeyPolicy, Mode,
    NamespacePolicy, OnDriftPods, PolicyConfig, RemoteConfig, RuntimeConfig, SignedPolicies,
    WebhookConfig, namespace_of,
};
pub use demands::Demands;
pub use identity::Identity;
pub use image_pattern::ImagePattern;
pub use load::{
    SignedFile, break_glass_tokens, load, load_as, load_at, load_from, parse, reference_values,
    reference_values_from, trusted_keys, trusted_keys_from,
};
pub use node_rules::NodeRules;
pub use pattern::Pattern;
pub use profile::{profile, profile_from};
pub use relaxation::{Date, Relaxation};
pub use source_pattern::SourcePattern;
pub use trusted_file::{FILE_LIMIT_BYTES, Root};

/// Everything that is wrong with the files, at least one fault.
pub type Faults = portcullis_gate::Refusals;
