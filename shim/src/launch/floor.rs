//! The floor of the node, for one container.

use std::sync::Arc;

use portcullis_config::{Config, Mode};
use portcullis_hardening::{Profile, Relaxations};
use portcullis_seccomp::Instruction;

/// Programs of 32 bits on x86, which make their sockets by a call whose arguments no filter sees.
const ABI32: &str = "SCMP_ARCH_X86";

/// The filter, and what of the container it depends on.
#[derive(Debug, Clone)]
pub(super) struct Floor {
    socketcall: bool,
    program: Arc<[Instruction]>,
}

// === impl Floor ===

impl Floor {
    /// The node's floor for a container under `profile` with these relaxations.
    pub(super) fn of(config: &Config, profile: &Profile, relaxations: &Relaxations) -> Self {
        let socketcall = profile.runs(ABI32, relaxations);
        Self {
            socketcall,
            program: program(config, socketcall),
        }
    }

    /// The same under newer settings: what is started from now on, an exec, does not wait for the
    /// next container.
    pub(super) fn under(&self, config: &Config) -> Arc<[Instruction]> {
        program(config, self.socketcall)
    }

    pub(super) fn program(&self) -> Arc<[Instruction]> {
        Arc::clone(&self.program)
    }
}

/// Empty for none: if nothing is denied, and in audit mode, which changes nothing.
fn program(config: &Config, socketcall: bool) -> Arc<[Instruction]> {
    if config.mode == Mode::Audit || config.floor.is_empty() {
        return Arc::default();
    }
    config.floor.program(socketcall).into()
}
