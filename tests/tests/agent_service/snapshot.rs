//! Snapshots: what the gate decides on is read after it asked.

use std::thread;
use std::time::Duration;

use portcullis_client::method::Attest;
use portcullis_tests::failure::Outcome;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::wait::{self, PATIENCE};
use portcullis_tests::{in_world, needs};

use crate::host::Host;

#[test]
fn the_gate_permits_on_a_snapshot_and_refuses_after_drift() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let snapshot = host.snapshot().unwrap();
        assert!(host.decides(&snapshot).is_empty());
        host.tpm.extend(11, [1; 32]).unwrap();
        let snapshot = host.snapshot().unwrap();
        assert_eq!(host.decides(&snapshot), ["pcr-drift"]);

        let attested = host.call(&Attest::default()).unwrap();
        assert_eq!(attested.status, "contraindicated");
        assert_eq!(attested.findings[0].code, "pcr-mismatch");
        let snapshot = host.snapshot().unwrap();
        assert_eq!(
            host.decides(&snapshot),
            ["verdict-withheld", "pcr-mismatch"]
        );
        host.stop()
    })
}

#[test]
fn a_reboot_of_the_tpm_is_refused_and_then_attested_anew() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let before = host.verdict_sequence();
        host.tpm.power_cycle(PowerCycle::Reset).unwrap();
        let snapshot = host.snapshot().unwrap();
        assert_eq!(host.decides(&snapshot), ["host-rebooted"]);
        // Nobody asks for it: the reading itself showed the new boot.
        wait::until_true("a verdict of the new boot", PATIENCE, || {
            host.verdict_sequence() > before
        })?;
        let snapshot = host.snapshot().unwrap();
        assert!(host.decides(&snapshot).is_empty());
        host.stop()
    })
}

#[test]
fn two_hundred_launches_at_once_share_readings() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let host = &host;
        thread::scope(|scope| {
            let launches: Vec<_> = (0..200)
                .map(|_| scope.spawn(|| host.snapshot_within(Duration::from_secs(10))))
                .collect();
            for launch in launches {
                let snapshot = launch.join().unwrap().unwrap();
                assert!(host.decides(&snapshot).is_empty());
            }
        });
        Ok(())
    })
}

#[test]
fn a_snapshot_is_never_older_than_its_call() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let pcr = portcullis_attestation::pcr::PcrIndex::new(11).unwrap();
        for round in 0..20_u8 {
            host.tpm.extend(11, [round; 32]).unwrap();
            let expected = host.tpm.pcr(11).unwrap();
            let live = host.snapshot().unwrap().live;
            assert_eq!(
                live.pcrs.value(pcr),
                Some(expected.as_slice()),
                "round {round}"
            );
        }
        host.stop()
    })
}
