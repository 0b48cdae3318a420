//! The table of hostile attestation: each case must be refused, with a code of its own, and after
//! each the host is trusted again. Prints the cases, and how many containers started.
//!
//! `cargo xtask test hostile_attestation` runs it; what stops whom is in `docs/threat-model.md`.

#[path = "asset_tag/authority.rs"]
mod authority;
mod hostile_attestation {
    pub(crate) mod clock;
    pub(crate) mod cost;
    pub(crate) mod crowd;
    pub(crate) mod forgery;
    pub(crate) mod host;
    pub(crate) mod table;
    pub(crate) mod tag;
    pub(crate) mod tokens;
    pub(crate) mod tpm;
}

use portcullis_tests::failure::Outcome;
use portcullis_tests::{in_world, needs};

use hostile_attestation::table::Table;
use hostile_attestation::{cost, crowd, host, tag, tokens, tpm};

/// The cases that must each be told from all others by their code.
const LISTED: [&str; 21] = [
    "verdict of another host",
    "verdict of an earlier boot",
    "verdict of an earlier run of the agent",
    "verdict re-signed with a foreign key",
    "verdict with algorithm 'none'",
    "both dialects of EAR mixed",
    "a claim that is there twice",
    "verdict expired by one second",
    "verdict from the future",
    "PCR bank switched",
    "PCR selection shortened by a pinned verifier",
    "tag of another host in the place of this one's",
    "tag index undefined",
    "tag index undefined and defined anew",
    "older tag of the same host restored",
    "clock set back",
    "TPM hung (its process stopped)",
    "TPM busy with a long command of the agent",
    "TPM whose sessions are all taken",
    "TPM answer truncated",
    "agent replaced by one of another user",
];

#[test]
fn every_listed_case_is_played_and_has_a_code_of_its_own() {
    let all = [tokens::CASES, host::CASES, tag::CASES, tpm::CASES].concat();
    let mut codes = std::collections::BTreeMap::new();
    for name in LISTED {
        let case = all.iter().find(|case| case.name == name);
        let case = case.unwrap_or_else(|| panic!("no case '{name}'"));
        let other = codes.insert(case.expected, name);
        assert_eq!(other, None, "'{name}' shares '{}'", case.expected);
    }
}

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
    fn what_is_done_to_the_tag() -> Outcome {
        needs!(
            Root, Busybox, Containerd, Runc, Cni, Swtpm, TpmTools, Programs
        );
        in_world!(|world| Table::play(world, "done to the tag", tag::CASES))
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

    #[test]
    fn a_launch_asks_the_tpm_for_readings_and_nothing_else() -> Outcome {
        needs!(Root, Busybox, Containerd, Runc, Cni, Swtpm, Programs);
        in_world!(cost::play)
    }
}
