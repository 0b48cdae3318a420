//! The test harness: private worlds, real daemons, and nothing left behind.
//!
//! A suite that needs root, a TPM or containerd runs inside a [`world`]: its own mount, process,
//! network, IPC, host-name and cgroup namespaces, with writable copies of `/etc`, `/usr` and
//! `/var` and an empty `/run`. There everything has its real path and its real name, and nothing
//! of the machine is touched. When the world ends, all of it is gone; [`world`] checks that.
//!
//! - [`require`]: what a test needs; a loud skip on a laptop, a failure where it is promised.
//! - [`wait`]: the one way to wait: for a condition, with a deadline.
//! - [`carrier`], [`tpm_proxy`], [`tpm_sessions`]: an agent under foreign control, a TPM that does
//!   not serve.
//! - [`swtpm`], [`containerd`], [`cri`], [`tasks`], [`ttrpc`], [`image`]: the real parts.
//! - [`keylime`], [`https_server`]: verifiers elsewhere.
//! - [`refusal`], [`process`]: what a client is told, and what a process finds itself to be.
//! - [`confinement`]: what the kernel holds of a process, against the data file of a profile.
//! - [`node`]: a host set up as an operator would, through the `portcullis` command.
//! - [`demo`], [`bench`], [`compat`]: what `cargo xtask demo` shows, `cargo xtask bench` measures
//!   and `cargo xtask compat` tries.
#![forbid(unsafe_code)]

pub mod added;
pub mod bench;
pub mod carrier;
pub mod cgroup_driver;
pub mod compat;
pub mod confinement;
pub mod containerd;
pub mod cri;
pub mod daemon;
pub mod demo;
pub mod failure;
pub mod grpc;
pub mod held;
pub mod https_server;
pub mod image;
pub mod keylime;
pub mod lying;
pub mod node;
pub mod process;
pub mod programs;
pub mod refusal;
pub mod require;
pub mod run;
pub mod shim_tasks;
pub mod signed;
pub mod subject;
pub mod swtpm;
pub mod task_events;
pub mod task_message;
pub mod tasks;
pub mod tpm_proxy;
pub mod tpm_sessions;
pub mod ttrpc;
pub mod wait;
pub mod webhook;
pub mod world;

pub use failure::{Doing, Failure};
