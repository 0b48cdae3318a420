//! The table of hostile attestation: each case must be refused, with a code of its own, and after
//! each the host is trusted again. Prints the cases, and how many containers started.
//!
//! `cargo xtask test hostile_attestation` runs it; what stops whom is in `docs/threat-model.md`.

mod hostile_attestation {
    pub(crate) mod crowd;
    pub(crate) mod forgery;
    pub(crate) mod host;
    pub(crate) mod table;
    pub(crate) mod tokens;
    pub(crate) mod tpm;
}

use portcullis_tests::failure::Outcome;
use portcullis_tests::{in_world, needs};

use hostile_attestation::table::Table;
use hostile_attestation::{crowd, host, tokens, tpm};

mod needs_containerd {
    use super::*;

    #[test]
    fn what_is_carried_to_the_gate() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| Table::play(world, "carried to the gate", tokens::CASES))
    }

    #[test]
    fn what_happens_to_the_host() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| Table::play(world, "done to the host", host::CASES))
    }

    #[test]
    fn what_the_tpm_does() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(|world| Table::play(world, "of the TPM", tpm::CASES))
    }

    #[test]
    fn two_hundred_launches_on_a_slow_tpm() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(crowd::play)
    }
}
