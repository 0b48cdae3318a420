//! Logs that firmware would not write, and what is made of them.

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::hex;

/// A log of the banks `algorithms`, whose digests are as long as asked for.
struct Build(Vec<u8>, Vec<(u16, u16)>);

impl Build {
    fn new(algorithms: &[(u16, u16)]) -> Self {
        let mut spec = b"Spec ID Event03\0".to_vec();
        spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
        spec.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
        for (id, size) in algorithms {
            spec.extend(id.to_le_bytes());
            spec.extend(size.to_le_bytes());
        }
        spec.push(0);
        Self::with_header(&spec, algorithms)
    }

    fn with_header(spec: &[u8], algorithms: &[(u16, u16)]) -> Self {
        let mut log = vec![0; 4];
        log.extend(3_u32.to_le_bytes());
        log.extend([0; 20]);
        log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
        log.extend(spec);
        Self(log, algorithms.to_vec())
    }

    fn sha256() -> Self {
        Self::new(&[(0x000b, 32)])
    }

    /// An event that measured `covered` and shows `data`.
    fn event(mut self, pcr: u32, kind: u32, covered: &[u8], data: &[u8]) -> Self {
        self.0.extend(pcr.to_le_bytes());
        self.0.extend(kind.to_le_bytes());
        self.0
            .extend(u32::try_from(self.1.len()).unwrap().to_le_bytes());
        for (id, size) in &self.1 {
            self.0.extend(id.to_le_bytes());
            let mut digest = Sha256::digest(covered).to_vec();
            digest.resize(usize::from(*size), 0xee);
            self.0.extend(digest);
        }
        self.0
            .extend(u32::try_from(data.len()).unwrap().to_le_bytes());
        self.0.extend(data);
        self
    }

    fn text(self, pcr: u32, text: &str) -> Self {
        self.event(pcr, 0x0d, text.as_bytes(), text.as_bytes())
    }

    fn locality(self, data: &[u8]) -> Self {
        let data = [b"StartupLocality\0", data].concat();
        self.event(0, 3, b"", &data)
    }
}

fn pcr(index: u8) -> PcrIndex {
    PcrIndex::new(index).unwrap()
}

fn refused(bytes: &[u8]) -> String {
    EventLog::parse(bytes).expect_err("refused").to_string()
}

fn extended(old: &[u8], text: &str) -> Vec<u8> {
    Sha256::digest([old, Sha256::digest(text).as_slice()].concat()).to_vec()
}

#[test]
fn replays_each_pcr_by_itself_and_in_order() {
    let log = Build::sha256().text(4, "a").text(7, "b").text(4, "c").0;
    let log = EventLog::parse(&log).unwrap();
    let values = log.replay(HashAlg::Sha256).unwrap();
    let four = extended(&extended(&[0; 32], "a"), "c");
    assert_eq!(values.value(pcr(4)), Some(&four[..]));
    assert_eq!(values.value(pcr(7)), Some(&extended(&[0; 32], "b")[..]));
    assert_eq!(values.value(pcr(5)), None);
    assert_eq!(log.measured(pcr(4)).count(), 2);
    let numbers: Vec<usize> = log.events().iter().map(|event| event.number).collect();
    assert_eq!(numbers, [1, 2, 3]);
}

#[test]
fn what_was_not_extended_is_not_replayed_whatever_register_it_names() {
    let log = Build::sha256()
        .event(4, 3, b"x", b"x")
        .event(u32::MAX, 3, b"x", b"x")
        .text(4, "a")
        .0;
    let log = EventLog::parse(&log).unwrap();
    let values = log.replay(HashAlg::Sha256).unwrap();
    assert_eq!(values.value(pcr(4)), Some(&extended(&[0; 32], "a")[..]));
    assert_eq!(log.events().len(), 3);
}

#[test]
fn pcr_0_begins_with_the_locality_and_no_other_does() {
    let log = Build::sha256().locality(&[3]).text(0, "a").text(1, "a").0;
    let log = EventLog::parse(&log).unwrap();
    let values = log.replay(HashAlg::Sha256).unwrap();
    let mut initial = [0; 32];
    initial[31] = 3;
    assert_eq!(values.value(pcr(0)), Some(&extended(&initial, "a")[..]));
    assert_eq!(values.value(pcr(1)), Some(&extended(&[0; 32], "a")[..]));
    assert_eq!(log.initial(HashAlg::Sha256, pcr(0)), initial);

    for wrong in [&[][..], &[1], &[3, 0], &[0xff]] {
        let log = Build::sha256().locality(wrong).0;
        assert!(refused(&log).contains("startupLocality"), "{wrong:?}");
    }
    let twice = Build::sha256().locality(&[0]).locality(&[3]).0;
    assert!(refused(&twice).contains("is another one, expected 0, 3 or 4, once"));
}

#[test]
fn a_log_of_the_older_form_has_sha_1_alone() {
    let mut log = Vec::new();
    for (pcr, data) in [(4_u32, "a"), (7, "b")] {
        log.extend(pcr.to_le_bytes());
        log.extend(0x0d_u32.to_le_bytes());
        log.extend([0xaa; 20]);
        log.extend(1_u32.to_le_bytes());
        log.extend(data.as_bytes());
    }
    for length in (0..log.len()).filter(|length| *length != 33) {
        assert!(EventLog::parse(&log[..length]).is_err(), "{length}");
    }
    let log = EventLog::parse(&log).unwrap();
    assert_eq!(log.banks().collect::<Vec<_>>(), [HashAlg::Sha1]);
    assert_eq!(log.events()[0].digest(HashAlg::Sha1), Some(&[0xaa; 20][..]));
    assert_eq!(log.events()[1].number, 1);
    let bank = HashAlg::Sha256;
    assert_eq!(log.replay(bank), Err(ReplayError::Bank { bank }));
}

#[test]
fn a_header_of_another_version_is_an_event_of_the_older_form() {
    let log = Build::with_header(b"Spec ID Event02\0whatever", &[]).0;
    let log = EventLog::parse(&log).unwrap();
    assert_eq!(log.banks().collect::<Vec<_>>(), [HashAlg::Sha1]);
    assert!(!log.events()[0].is_extended());
}

#[test]
fn an_algorithm_that_is_not_known_is_carried_along() {
    let log = Build::new(&[(0x0012, 32), (0x000b, 32)]).text(4, "a").0;
    let log = EventLog::parse(&log).unwrap();
    assert_eq!(log.banks().collect::<Vec<_>>(), [HashAlg::Sha256]);
    log.replay(HashAlg::Sha256).unwrap();
}

#[test]
fn a_header_that_contradicts_itself_is_refused() {
    assert!(refused(&Build::new(&[]).0).contains("numberOfAlgorithms at byte 56 is 0"));
    let many: Vec<(u16, u16)> = (100..117).map(|id| (id, 32)).collect();
    EventLog::parse(&Build::new(&many[..16]).0).unwrap();
    assert!(refused(&Build::new(&many).0).contains("is 17, expected 1 to 16"));
    for (algorithms, field) in [
        (&[(0x000b, 31)][..], "digestSize"),
        (&[(0x000b, 20)], "digestSize"),
        (&[(0x0012, 0)], "digestSize"),
        (&[(0x0012, 65)], "digestSize"),
        (&[(0x000b, 32), (0x000b, 32)], "algorithmId"),
    ] {
        assert!(
            refused(&Build::new(algorithms).0).contains(field),
            "{algorithms:?}"
        );
    }
    let spec = |count: u32| {
        let count = count.to_le_bytes();
        let parts: [&[u8]; 5] = [
            b"Spec ID Event03\0",
            &[0; 8],
            &count,
            &[0x0b, 0, 32, 0],
            &[0],
        ];
        Build::with_header(&parts.concat(), &[(0x000b, 32)]).0
    };
    EventLog::parse(&spec(1)).unwrap();
    assert!(refused(&spec(2)).contains("event 0 of event log"));
    assert!(refused(&spec(u32::MAX)).contains("is 4294967295, expected 1 to 16"));
}

#[test]
fn digests_must_be_those_of_the_header() {
    let good = Build::sha256().text(4, "a").0;
    let count = good.len() - 1 - 4 - 32 - 2 - 4;
    let changed = |offset: usize, bytes: &[u8]| {
        let mut log = good.clone();
        log[offset..offset + bytes.len()].copy_from_slice(bytes);
        refused(&log)
    };
    for wrong in [0_u32, 2, 17, u32::MAX] {
        let text = changed(count, &wrong.to_le_bytes());
        assert_eq!(
            text,
            format!(
                "cannot read event 1 of event log: digests.count at byte {count} is {wrong}, \
                 expected one digest for each algorithm of the header"
            )
        );
    }
    assert!(changed(count + 4, &[0x0c, 0]).contains("digests.hashAlg"));

    // Two algorithms, one of them twice.
    let both = Build::new(&[(0x0004, 20), (0x000b, 32)]).text(4, "a").0;
    let first = both.len() - 1 - 4 - 34 - 22;
    let mut twice = both;
    twice[first] = 0x0b;
    EventLog::parse(&twice).unwrap_err();
}

#[test]
fn sizes_beyond_the_end_are_refused_and_not_allocated() {
    let good = Build::sha256().text(4, "a").0;
    let size = good.len() - 5;
    for wrong in [2_u32, 0x7fff_ffff, 0x8000_0000, u32::MAX] {
        let mut log = good.clone();
        log[size..size + 4].copy_from_slice(&wrong.to_le_bytes());
        assert_eq!(
            refused(&log),
            format!("cannot read event 1 of event log: event at byte {size} ends after the log")
        );
    }
}

#[test]
fn every_cut_is_refused_but_those_between_events() {
    let whole = Build::sha256().text(4, "a").text(7, "bcd").0;
    let header = Build::sha256().0.len();
    let one = Build::sha256().text(4, "a").0.len();
    for length in 0..whole.len() {
        let parsed = EventLog::parse(&whole[..length]);
        assert_eq!(
            parsed.is_ok(),
            length == header || length == one,
            "{length}"
        );
    }
}

#[test]
fn a_register_that_no_tpm_has_is_refused() {
    EventLog::parse(&Build::sha256().text(23, "a").0).unwrap();
    for wrong in [24, 256, u32::MAX] {
        let text = refused(&Build::sha256().text(wrong, "a").0);
        assert!(
            text.contains(&format!("is {wrong}, expected 0 to 23")),
            "{text}"
        );
    }
}

#[test]
fn size_and_number_of_events_are_limited() {
    let mut log = Build::sha256();
    for _ in 1..MAX_EVENTS {
        log = log.event(4, 0x0d, b"", b"");
    }
    assert_eq!(
        EventLog::parse(&log.0).unwrap().events().len(),
        MAX_EVENTS - 1
    );
    let offset = log.0.len();
    let log = log.event(4, 0x0d, b"", b"").0;
    assert_eq!(EventLog::parse(&log), Err(EventLogError::Events { offset }));

    let data = vec![0; MAX_BYTES];
    let log = Build::sha256().event(4, 0x0d, b"", &data).0;
    assert!(matches!(
        EventLog::parse(&log),
        Err(EventLogError::Size { .. })
    ));
}

#[test]
fn data_is_shown_as_proven_only_if_its_hash_is_the_digest() {
    let checked = |covered: &[u8], data: &[u8]| {
        let log = Build::sha256().event(8, 0x0d, covered, data).0;
        let log = EventLog::parse(&log).unwrap();
        log.events()[0]
            .checked(HashAlg::Sha256)
            .map(|checked| checked.describe())
    };
    let variable = |name: &str, value: &[u8]| Variable::to_data(Variable::GLOBAL, name, value);
    let on = variable("SecureBoot", &[1]);
    for (covered, data, shown) in [
        (
            &b"/vmlinuz quiet"[..],
            &b"kernel_cmdline: /vmlinuz quiet\0"[..],
            "/vmlinuz quiet",
        ),
        (
            b"linux /vmlinuz",
            b"grub_cmd: linux /vmlinuz\0",
            "linux /vmlinuz",
        ),
        (b"Calling EFI", b"Calling EFI", "Calling EFI"),
        (b"v\0e\0r\0\0\0", b"v\0e\0r\0\0\0", "ver"),
        (&[0; 4], &[0; 4], "separator 00000000"),
        (&on, &on, "SecureBoot = 01"),
        (
            &[0, 1, 2],
            &variable("Boot0001", &[0, 1, 2]),
            "3 bytes 000102",
        ),
    ] {
        assert_eq!(checked(covered, data).as_deref(), Some(shown));
        for place in 0..data.len() {
            let mut flipped = data.to_vec();
            flipped[place] ^= 1;
            if let Some(text) = checked(covered, &flipped) {
                // Only what nothing covers and is not shown can change unseen: a variable's name.
                assert_eq!(
                    (text.as_str(), data[..16] == Variable::GLOBAL),
                    (shown, true)
                );
            }
        }
    }
    assert_eq!(checked(b"other", b"grub_cmd: linux\0"), None);
}

#[test]
fn what_moves_the_cursor_is_never_shown() {
    for hostile in [
        &b"a\x1b[2Jb"[..],
        b"a\nb",
        b"\x1b\0[\0",
        b"\xff\xfe\xfd",
        b"",
    ] {
        let log = Build::sha256().event(8, 0x0d, hostile, hostile).0;
        let log = EventLog::parse(&log).unwrap();
        let event = &log.events()[0];
        assert_eq!(event.hint(), None, "{hostile:?}");
        let shown = event.checked(HashAlg::Sha256).unwrap().describe();
        assert!(shown.contains("bytes"), "{shown}");
    }
}

#[test]
fn secure_boot_is_measured_as_every_firmware_measures_it() {
    let data = Variable::to_data(Variable::GLOBAL, "SecureBoot", &[1]);
    assert_eq!(
        hex::encode(&Sha256::digest(&data)),
        "ccfc4bb32888a345bc8aeadaba552b627d99348c767681ab3141f5b01e40a40e"
    );
    let variable = Variable::parse(&data).unwrap();
    assert_eq!(
        (variable.name.as_str(), variable.value),
        ("SecureBoot", &[1][..])
    );
    for length in 0..data.len() {
        assert_eq!(Variable::parse(&data[..length]), None);
    }
    assert_eq!(Variable::parse(&[&data[..], &[0]].concat()), None);
    for place in [16, 24] {
        let mut huge = data.clone();
        huge[place..place + 8].fill(0xff);
        assert_eq!(Variable::parse(&huge), None);
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic_and_never_grow(
        bytes in prop::collection::vec(any::<u8>(), 0..2048),
    ) {
        let log = Build::sha256().0;
        for bytes in [bytes.clone(), [log, bytes].concat()] {
            if let Ok(log) = EventLog::parse(&bytes) {
                prop_assert!(log.events().len() <= bytes.len() / 16);
                for event in log.events() {
                    prop_assert!(event.checked(HashAlg::Sha256).is_none_or(|one| one.bytes().len() <= bytes.len()));
                    let _shown = event.hint();
                }
                let _replayed = log.replay(HashAlg::Sha256);
            }
        }
    }
}
