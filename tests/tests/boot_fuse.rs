//! The boot fuse of a real TPM, through every way in which a TPM starts.

#[path = "agent_service/host.rs"]
#[expect(dead_code, reason = "the host of the agent's own suite can do more")]
mod host;

use std::path::Path;
use std::time::Duration;

use host::Host;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrSelection};
use portcullis_client::method::{Attest, Status};
use portcullis_gate::Moment;
use portcullis_tests::failure::{Doing, Outcome};
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::{in_world, needs};
use portcullis_tpm::{Deadline, Tpm};
use sha2::{Digest, Sha256};

/// What the gate is told about the moment of a decision.
fn moment() -> Moment {
    portcullis_host::moment(Path::new(portcullis_config::paths::SEEN)).unwrap()
}

/// What the TPM's fuse holds, read beside the agent.
fn fuse(host: &Host) -> Option<Vec<u8>> {
    let mut tpm = Tpm::new(host.tpm.tcti().parse().unwrap());
    let selection = PcrSelection::new(HashAlg::Sha256, PcrIndex::new(7));
    let deadline = Deadline::within(Duration::from_secs(20));
    tpm.read(selection, &deadline).unwrap().boot_fuse
}

mod needs_root {
    use super::*;

    #[test]
    fn it_holds_the_hash_of_the_last_verdict_until_the_tpm_starts_anew() -> Outcome {
        needs!(Root, Swtpm, Programs);
        in_world!(|world| {
            let mut host = Host::start(world)?;
            assert_eq!(fuse(&host), None);
            host.approve()?;
            let first = host.snapshot().unwrap();
            let hash = |token: &str| Some(Sha256::digest(token).to_vec());
            assert_eq!(first.live.boot_fuse, hash(first.verdict.as_ref().unwrap()));
            assert!(host.decides(&first).is_empty());
            let status = host.call(&Status {}).unwrap().status;
            assert_eq!(status.boot_fuse.as_deref(), Some("set"));

            // The next verdict takes the place of the one before.
            host.call(&Attest {
                clear_failure: None,
            })
            .unwrap();
            let second = host.snapshot().unwrap();
            assert_ne!(second.live.boot_fuse, first.live.boot_fuse);
            assert!(host.decides(&second).is_empty());
            let mut exchanged = second.clone();
            exchanged.live.boot_fuse = first.live.boot_fuse;
            assert_eq!(host.decides(&exchanged), ["boot-fuse-blown"]);

            // Without an agent that would write it again.
            host.kill()?;
            for (cycle, is_blown) in [
                (PowerCycle::Resume, false),
                (PowerCycle::Reset, true),
                (PowerCycle::UncleanReset, true),
            ] {
                host.tpm.power_cycle(cycle).doing("restart the TPM")?;
                let found = fuse(&host);
                let expected = if is_blown {
                    Some(Vec::new())
                } else {
                    second.live.boot_fuse.clone()
                };
                assert_eq!(found, expected, "{cycle:?}");
                // As if nothing else told of it.
                let mut after = second.clone();
                after.live.boot_fuse = found;
                let codes = if is_blown {
                    &["boot-fuse-blown"][..]
                } else {
                    &[]
                };
                assert_eq!(host.decides(&after), codes, "{cycle:?}");
            }
            host.start_again()?;
            host.call(&Attest {
                clear_failure: None,
            })
            .unwrap();
            let snapshot = host.snapshot().unwrap();
            assert!(host.decides(&snapshot).is_empty());
            host.stop()
        })
    }
}
