//! From the start of the agent to its end.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use portcullis_client::method::{Attest, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::wait::PATIENCE;
use portcullis_tests::{in_world, needs};

use crate::VERDICT;
use crate::host::{self, Host, SOCKET};

#[test]
fn sequence_numbers_grow_across_restarts_and_crashes() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        let mut seen = vec![host.verdict_sequence()];
        for round in 0..3 {
            if round == 1 {
                host.crash()?;
            } else {
                host.restart()?;
            }
            host.call(&Attest::default()).unwrap();
            seen.push(host.verdict_sequence());
        }
        assert!(seen.is_sorted_by(|one, next| one < next), "{seen:?}");
        host.stop()
    })
}

#[test]
fn it_tells_systemd_when_it_is_ready_and_when_it_stops() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start_approved(world)?;
        host.kill()?;
        let manager = UnixDatagram::bind("/run/notify").unwrap();
        manager.set_read_timeout(Some(PATIENCE)).unwrap();
        let told = || {
            let mut buffer = [0; 64];
            let count = manager.recv(&mut buffer).unwrap();
            String::from_utf8(buffer[..count].to_vec()).unwrap()
        };
        let before = host.stored_sequence();
        host.start_with(&[("NOTIFY_SOCKET", "/run/notify")])?;
        assert_eq!(told(), "READY=1");
        // Ready means attested, so that the first launch finds a verdict of this boot.
        assert!(host.verdict_sequence() > before);
        host.stop()?;
        assert_eq!(told(), "STOPPING=1");
        assert!(!Path::new(SOCKET).exists());
        Ok(())
    })
}

#[test]
fn a_second_agent_does_not_start_and_the_first_one_goes_on() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let second = host::run_agent(&[])?;
        assert_eq!(second.code, Some(70));
        assert!(
            second.stderr.contains("another agent runs"),
            "{}",
            second.stderr
        );
        host.call(&Status {}).unwrap();
        host.stop()
    })
}

#[test]
fn wrong_settings_are_all_named_and_end_it_with_64() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start(world)?;
        host.kill()?;
        let wrong = "[agent]\ntcti = \"mssim:x\"\npcrs = [99]\nunknown = 1\n";
        fs::write("/etc/portcullis/portcullis.d/wrong.toml", wrong).unwrap();
        let ended = host::run_agent(&[])?;
        assert_eq!(ended.code, Some(64));
        for key in ["tcti", "pcrs", "unknown"] {
            assert!(ended.stderr.contains(key), "{key}: {}", ended.stderr);
        }
        Ok(())
    })
}

#[test]
fn the_command_line_moves_nothing() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|_world| {
        host::install()?;
        for (argument, code) in [
            ("--help", 0),
            ("--version", 0),
            ("--socket=/x", 64),
            ("x", 64),
        ] {
            assert_eq!(host::run_agent(&[argument])?.code, Some(code), "{argument}");
        }
        Ok(())
    })
}

#[test]
fn the_log_holds_no_token_and_no_key() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start_approved(world)?;
        let document = host.tag(|_| {});
        host.call(&host.provision(&document)).unwrap();
        let token = fs::read_to_string(VERDICT).unwrap();
        let log = host.log();
        assert!(log.contains("verdict issued"));
        for secret in [token, document] {
            for part in secret.split('.') {
                assert!(!log.contains(part), "{log}");
            }
        }
        host.stop()
    })
}
