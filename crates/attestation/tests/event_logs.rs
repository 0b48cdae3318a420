//! Event logs recorded from real boots (`tests/data/measured-boot/`), held against what the TPM
//! and another parser said of the same boots, and spoilt.
#![expect(
    clippy::expect_used,
    reason = "a recording that cannot be read fails the test"
)]

use portcullis_attestation::event_log::EventLog;
use portcullis_attestation::hex;
use portcullis_attestation::pcr::{HashAlg, PcrIndex, PcrValues};
use proptest::prelude::*;

/// One recorded boot.
struct Boot {
    name: &'static str,
    log: &'static [u8],
    /// What tpm2_eventlog made of it.
    yaml: &'static str,
    /// What tpm2_pcrread printed.
    sha1: &'static str,
    sha256: &'static str,
}

macro_rules! boot {
    ($name:literal) => {
        Boot {
            name: $name,
            log: include_bytes!(recorded!($name, "binary_bios_measurements")),
            yaml: include_str!(recorded!($name, "eventlog.yaml")),
            sha1: include_str!(recorded!($name, "pcrs.sha1.txt")),
            sha256: include_str!(recorded!($name, "pcrs.sha256.txt")),
        }
    };
}

macro_rules! recorded {
    ($name:literal, $file:literal) => {
        concat!("../../../tests/data/measured-boot/", $name, "/", $file)
    };
}

fn boots() -> [Boot; 3] {
    [
        boot!("secureboot"),
        boot!("secureboot-cmdline-changed"),
        boot!("no-secureboot"),
    ]
}

impl Boot {
    fn parsed(&self) -> EventLog<'static> {
        EventLog::parse(self.log).expect(self.name)
    }

    /// PCR 0 to 9 and 14 as they were read; what the log does not mention is zero.
    fn assert_explains(&self, replayed: &PcrValues, read: &str) {
        for index in (0..=9).chain([14]) {
            let line = read.lines().find_map(|line| {
                let (number, value) = line.split_once(": 0x")?;
                (number.trim() == index.to_string()).then_some(value)
            });
            let read = hex::decode(&line.expect("printed").to_lowercase()).expect("hexadecimal");
            let pcr = PcrIndex::new(index).expect("0 to 23");
            let zeros = vec![0; read.len()];
            let replayed = replayed.value(pcr).unwrap_or(&zeros);
            assert_eq!(replayed, read, "{} PCR {index}", self.name);
        }
    }
}

#[test]
fn the_sha_256_bank_replays_to_what_the_tpm_held() {
    for boot in boots() {
        let replayed = boot.parsed().replay(HashAlg::Sha256).expect("replays");
        boot.assert_explains(&replayed, boot.sha256);
    }
}

#[cfg(feature = "sha1")]
#[test]
fn the_sha_1_bank_replays_to_what_the_tpm_held() {
    for boot in boots() {
        let replayed = boot.parsed().replay(HashAlg::Sha1).expect("replays");
        boot.assert_explains(&replayed, boot.sha1);
    }
}

#[cfg(not(feature = "sha1"))]
#[test]
fn the_sha_1_bank_is_not_replayed_without_its_feature() {
    for boot in boots() {
        assert!(!boot.sha1.is_empty());
        boot.parsed()
            .replay(HashAlg::Sha1)
            .expect_err("not built in");
    }
}

/// The value of `key` in a line of tpm2_eventlog's YAML.
fn field<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let value = line.trim().trim_start_matches("- ").strip_prefix(key)?;
    Some(value.strip_prefix(": ")?.trim_matches('"'))
}

#[test]
fn each_event_is_what_tpm2_eventlog_reads() {
    for boot in boots() {
        let log = boot.parsed();
        let mut expected: Vec<Vec<String>> = Vec::new();
        let events = boot.yaml.split("\npcrs:").next().expect("a part");
        for line in events.lines() {
            if let Some(number) = field(line, "EventNum") {
                expected.push(vec![number.to_owned()]);
            }
            let told = ["PCRIndex", "EventType", "Digest", "EventSize"];
            if let Some(value) = told.iter().find_map(|key| field(line, key)) {
                expected.last_mut().expect("begun").push(value.to_owned());
            }
        }
        let found: Vec<Vec<String>> = log
            .events()
            .iter()
            .map(|event| {
                let digest = |bank| hex::encode(event.digest(bank).expect("of both banks"));
                vec![
                    event.number.to_string(),
                    event.pcr.to_string(),
                    event.kind.to_string(),
                    digest(HashAlg::Sha1),
                    digest(HashAlg::Sha256),
                    event.data.len().to_string(),
                ]
            })
            .collect();
        assert_eq!(found.len(), expected.len() - 1, "{}", boot.name);
        assert_eq!(found, expected[1..], "{}", boot.name);
    }
}

#[test]
fn the_command_line_is_proven_and_file_names_are_not() {
    let [golden, changed, _] = boots();
    let shown = |boot: &Boot, pcr: u32| -> Vec<Option<String>> {
        boot.parsed()
            .events()
            .iter()
            .filter(|event| event.pcr == pcr)
            .map(|event| Some(event.checked(HashAlg::Sha256)?.describe()))
            .collect()
    };
    let line = |boot: &Boot| {
        shown(boot, 8)
            .iter()
            .flatten()
            .nth(9)
            .cloned()
            .expect("ten")
    };
    assert_eq!(
        line(&golden),
        "/vmlinuz console=ttyS0 panic=-1 quiet ima_policy=tcb systemd.show_status=0"
    );
    assert!(line(&changed).contains("lab.tampered=1"));
    assert!(shown(&golden, 8).iter().all(Option::is_some));
    assert!(shown(&golden, 9).iter().all(Option::is_none));
    assert!(shown(&golden, 7).iter().all(Option::is_some));
    assert_eq!(shown(&golden, 7)[0].as_deref(), Some("SecureBoot = 01"));
}

#[test]
fn every_cut_reads_as_fewer_events_or_not_at_all() {
    for boot in boots() {
        let whole = boot.parsed();
        let ends: Vec<usize> = whole.events().iter().map(|event| event.offset).collect();
        for length in 0..boot.log.len() {
            let parsed = EventLog::parse(&boot.log[..length]);
            assert_eq!(
                parsed.is_ok(),
                ends.contains(&length),
                "{} {length}",
                boot.name
            );
        }
    }
}

#[test]
fn events_in_another_order_twice_or_left_out_do_not_replay() {
    let [boot, ..] = boots();
    let whole = boot.parsed();
    let good = whole.replay(HashAlg::Sha256).expect("replays");
    let offsets: Vec<usize> = whole.events().iter().map(|event| event.offset).collect();
    let pieces: Vec<&[u8]> = offsets
        .iter()
        .zip(offsets.iter().skip(1).chain([&boot.log.len()]))
        .map(|(from, to)| &boot.log[*from..*to])
        .collect();
    let replayed = |pieces: &[&[u8]]| {
        let log = [&[&boot.log[..offsets[0]]], pieces].concat().concat();
        let log = EventLog::parse(&log).expect("well formed");
        log.replay(HashAlg::Sha256).expect("replays")
    };
    assert_eq!(replayed(&pieces), good);
    for place in 0..pieces.len() {
        let mut without = pieces.clone();
        without.remove(place);
        assert_ne!(replayed(&without), good, "without {place}");
        let mut twice = pieces.clone();
        twice.insert(place, pieces[place]);
        assert_ne!(replayed(&twice), good, "twice {place}");
    }
    // Boot order before the Boot0000 option: both in PCR 1, one after the other.
    let mut swapped = pieces.clone();
    swapped.swap(9, 10);
    assert_ne!(replayed(&swapped), good);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_byte_is_refused_changes_the_replay_or_is_not_proven(
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let [boot, ..] = boots();
        let good = boot.parsed();
        let place = place.index(boot.log.len());
        let mut changed = boot.log.to_vec();
        changed[place] ^= 1 << bit;
        let Ok(log) = EventLog::parse(&changed) else {
            return Ok(());
        };
        let Ok(replayed) = log.replay(HashAlg::Sha256) else {
            return Ok(());
        };
        if Ok(replayed) != good.replay(HashAlg::Sha256) {
            return Ok(());
        }
        for (one, other) in good.events().iter().zip(log.events()) {
            if let Some(checked) = other.checked(HashAlg::Sha256) {
                prop_assert_eq!(Some(checked), one.checked(HashAlg::Sha256));
            }
        }
    }

    #[test]
    fn spoilt_logs_never_panic(
        spoils in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..16),
        cut in any::<prop::sample::Index>(),
    ) {
        let [boot, ..] = boots();
        let mut log = boot.log.to_vec();
        for (place, byte) in spoils {
            let place = place.index(log.len());
            log[place] = byte;
        }
        let cut = cut.index(log.len());
        for bytes in [&log[..], &log[..cut]] {
            if let Ok(log) = EventLog::parse(bytes) {
                let _replayed = log.replay(HashAlg::Sha256);
                for event in log.events() {
                    let hint = event.hint();
                    prop_assert!(hint.is_none_or(|hint| !hint.contains(char::is_control)));
                }
            }
        }
    }
}
