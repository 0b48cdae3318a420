//! A failure that stands.

use std::fs;
use std::path::Path;

use portcullis_client::AgentError;
use portcullis_client::method::{Attest, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::swtpm::PowerCycle;
use portcullis_tests::{in_world, needs};
use serde_json::{Value, json};

use crate::host::Host;

#[test]
fn a_failure_stands_over_restart_and_reboot_until_it_is_cleared() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        host.tpm.extend(11, [1; 32]).unwrap();
        host.call(&Attest::default()).unwrap();
        let status = host.call(&Status {}).unwrap().status;
        let latch = status.latch.expect("a failure that stands");
        assert_eq!(latch.failure.code, "pcr-mismatch");
        assert!(latch.failure.subject.contains("PCR 11"), "{latch:?}");

        // Back in the approved state, as after a reboot, with another agent.
        host.tpm.power_cycle(PowerCycle::Reset).unwrap();
        host.restart()?;
        let attested = host.call(&Attest::default()).unwrap();
        assert_eq!(attested.status, "contraindicated");
        let codes: Vec<&str> = attested.findings.iter().map(|it| &*it.code).collect();
        assert_eq!(codes, ["verdict-latched"]);
        let refused = host.decides(&host.snapshot().unwrap());
        assert_eq!(refused, ["verdict-latched", "vector-contraindicated"]);

        for reason in ["", " ", &"x".repeat(2000)] {
            let clear = Attest {
                clear_failure: Some(reason.to_owned()),
            };
            let refused = host.call(&clear).unwrap_err();
            assert!(
                matches!(refused, AgentError::RecordMalformed { .. }),
                "{refused:?}"
            );
        }
        let clear = Attest {
            clear_failure: Some("INC-7, found and mended".to_owned()),
        };
        assert_eq!(host.call(&clear).unwrap().status, "affirming");
        assert!(host.decides(&host.snapshot().unwrap()).is_empty());
        assert_eq!(host.call(&Status {}).unwrap().status.latch, None);
        let ledger = fs::read_to_string("/var/lib/portcullis/ledger.jsonl").unwrap();
        assert!(ledger.contains("\"failure-latched\""), "{ledger}");
        let cleared = |line: &&str| line.contains("\"failure-cleared\"");
        let cleared = ledger.lines().find(cleared).unwrap();
        for part in ["INC-7, found and mended", "PCR 11"] {
            assert!(cleared.contains(part), "{cleared}");
        }
        host.stop()
    })
}

#[test]
fn a_failure_ends_by_itself_only_where_the_settings_say_so() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        let rule = "/etc/portcullis/portcullis.d/latch.toml";
        fs::write(rule, "[attestation]\nlatch = \"off\"\n").unwrap();
        host.restart()?;
        host.tpm.extend(11, [1; 32]).unwrap();
        let failed = host.call(&Attest::default()).unwrap();
        assert_eq!(failed.status, "contraindicated");
        host.tpm.power_cycle(PowerCycle::Reset).unwrap();
        assert_eq!(host.call(&Attest::default()).unwrap().status, "affirming");

        fs::write(rule, "[attestation]\nlatch = \"until-reboot\"\n").unwrap();
        host.restart()?;
        host.tpm.extend(11, [1; 32]).unwrap();
        host.call(&Attest::default()).unwrap();
        // The TPM is reset and the kernel is not: no new boot, whatever the PCRs say.
        host.tpm.power_cycle(PowerCycle::Reset).unwrap();
        let attested = host.call(&Attest::default()).unwrap();
        assert_eq!(attested.status, "contraindicated");
        host.kill()?;
        let path = "/var/lib/portcullis/latch.json";
        let latch = fs::read_to_string(path).unwrap();
        let mut latch: Value = serde_json::from_str(&latch).unwrap();
        latch["bootseed"] = json!(portcullis_attestation::base64url::encode(&[7; 32]));
        fs::write(path, latch.to_string()).unwrap();
        host.start_again()?;
        assert_eq!(host.call(&Attest::default()).unwrap().status, "affirming");
        assert!(!Path::new(path).exists());
        host.stop()
    })
}

#[test]
fn a_failure_that_cannot_be_read_stands() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        fs::write("/var/lib/portcullis/latch.json", "{").unwrap();
        host.restart()?;
        let refused = host.decides(&host.snapshot().unwrap());
        assert_eq!(refused, ["verdict-latched", "vector-contraindicated"]);
        host.stop()
    })
}
