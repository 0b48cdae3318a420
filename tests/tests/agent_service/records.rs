//! Records of launches: kept before they are answered, mended or left alone.

use std::fs;
use std::io::Write;

use portcullis_client::AgentError;
use portcullis_client::method::{Explain, Record, Status};
use portcullis_tests::failure::Outcome;
use portcullis_tests::{in_world, needs};
use serde_json::{Map, Value};

use crate::host::Host;
use crate::{LEDGER, append, record};

#[test]
fn a_decision_is_in_the_ledger_before_it_is_answered_and_can_be_explained() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start(world)?;
        assert_eq!(append(&host, "8d21c0aa", "permitted").unwrap(), 1);
        assert!(fs::read_to_string(LEDGER).unwrap().contains("8d21c0aa"));
        assert_eq!(append(&host, "8d21c0ab", "refused").unwrap(), 2);
        host.crash()?;
        assert_eq!(append(&host, "8d21c0ac", "undecided").unwrap(), 3);

        let reference = "8d21c0ab".to_owned();
        let explained = host.call(&Explain { reference }).unwrap().record;
        assert_eq!(
            (&explained["seq"], &explained["decision"]),
            (&2.into(), &"refused".into())
        );
        for unknown in ["8d21c0ad", "", "8D21C0AA", "../../../x"] {
            let reference = unknown.to_owned();
            let refused = host.call(&Explain { reference }).unwrap_err();
            assert!(
                matches!(refused, AgentError::RecordUnknown { .. }),
                "{refused}"
            );
        }
        let status = host.call(&Status {}).unwrap().status;
        assert_eq!((status.ledger_sequence, status.launches.undecided), (3, 1));
        host.stop()
    })
}

#[test]
fn a_record_that_is_none_is_refused_and_leaves_no_line() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let host = Host::start(world)?;
        let mut oversized = record("00000001", "permitted");
        oversized.insert("profile".to_owned(), "x".repeat(64 * 1024).into());
        let mut unknown_decision = record("00000001", "maybe");
        unknown_decision.insert("note".to_owned(), Value::Null);
        let mut event = record("00000001", "permitted");
        event.insert("event".to_owned(), "anchor".into());
        for malformed in [
            Map::new(),
            event,
            record("0000000", "permitted"),
            record("0000000G", "permitted"),
            unknown_decision,
            oversized,
        ] {
            let refused = host.call(&Record { record: malformed }).unwrap_err();
            assert!(
                matches!(refused, AgentError::RecordMalformed { .. }),
                "{refused}"
            );
        }
        assert_eq!(fs::read_to_string(LEDGER).unwrap(), "");
        host.stop()
    })
}

#[test]
fn a_torn_ledger_is_mended_at_the_start_and_nothing_is_dropped() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start(world)?;
        append(&host, "00000001", "permitted").unwrap();
        host.kill()?;
        let mut torn = fs::OpenOptions::new().append(true).open(LEDGER).unwrap();
        torn.write_all(b"{\"ref\":\"00000002").unwrap();
        host.start_again()?;
        assert_eq!(append(&host, "00000003", "permitted").unwrap(), 3);
        let aside = fs::read_dir("/var/lib/portcullis")
            .unwrap()
            .flatten()
            .find(|entry| entry.file_name().to_string_lossy().contains(".torn-"))
            .unwrap();
        assert_eq!(fs::read(aside.path()).unwrap(), b"{\"ref\":\"00000002");
        host.stop()
    })
}

#[test]
fn a_ledger_that_cannot_be_continued_refuses_records_and_keeps_the_agent() -> Outcome {
    needs!(Root, Swtpm, Programs);
    in_world!(|world| {
        let mut host = Host::start(world)?;
        host.kill()?;
        fs::write(LEDGER, "not a record\n").unwrap();
        host.start_again()?;
        let refused = append(&host, "00000001", "permitted").unwrap_err();
        assert!(
            matches!(refused, AgentError::LedgerFailed { .. }),
            "{refused}"
        );
        host.call(&Status {}).unwrap();
        host.stop()
    })
}
