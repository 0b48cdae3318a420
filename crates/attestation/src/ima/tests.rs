use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;
use crate::hex;

const BANK: HashAlg = HashAlg::Sha256;

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../../tests/data/measured-boot/",
            $name,
            "/binary_runtime_measurements"
        ))
    };
}

const TCB: &[u8] = recorded!("secureboot");

fn sized(bytes: &[u8]) -> Vec<u8> {
    let size = u32::try_from(bytes.len()).unwrap().to_le_bytes();
    [&size[..], bytes].concat()
}

fn entry(digest: [u8; 20], template: &str, data: &[u8]) -> Vec<u8> {
    [
        &[10, 0, 0, 0][..],
        &digest,
        &sized(template.as_bytes()),
        data,
    ]
    .concat()
}

fn measured(algorithm: &str, digest: &[u8], path: &str) -> Vec<u8> {
    let digest = [algorithm.as_bytes(), b":\0", digest].concat();
    [sized(&digest), sized(format!("{path}\0").as_bytes())].concat()
}

fn ng(path: &str) -> Vec<u8> {
    entry(
        [1; 20],
        "ima-ng",
        &sized(&measured("sha256", &[7; 32], path)),
    )
}

/// PCR 10 after these template data.
fn replayed(data: &[&[u8]]) -> Vec<u8> {
    data.iter().fold(vec![0; 32], |value, data| {
        Sha256::digest([value, Sha256::digest(data).to_vec()].concat()).to_vec()
    })
}

#[test]
fn recorded_lists_are_read_to_their_ends() {
    for (list, count) in [
        (TCB, 418),
        (recorded!("secureboot-cmdline-changed"), 37),
        (recorded!("no-secureboot"), 418),
    ] {
        let list = ImaList::parse(list).unwrap();
        assert_eq!(list.entries().len(), count);
        let first = list.entries()[0].file.unwrap();
        assert_eq!(
            (first.algorithm, first.path),
            ("sha256", &b"boot_aggregate"[..])
        );
        assert!(list.entries().iter().all(|entry| entry.file.is_some()));
    }
}

#[test]
fn a_quote_proves_the_entries_up_to_it_and_no_more() {
    let list = ImaList::parse(TCB).unwrap();
    let mut value = vec![0; 32];
    assert_eq!(list.proven(BANK, &value).unwrap().len(), 0);
    for (index, entry) in list.entries().iter().enumerate() {
        let digest = entry.digest(BANK).unwrap();
        value = Sha256::digest([value, digest].concat()).to_vec();
        if index % 50 == 0 {
            assert_eq!(list.proven(BANK, &value).unwrap().len(), index + 1);
        }
    }
    assert_eq!(list.proven(BANK, &value).unwrap().len(), 418);
    assert_eq!(list.proven(BANK, &[5; 32]), None);
    assert_eq!(list.proven(HashAlg::Sha384, &value), None);
}

#[test]
fn templates_with_digest_and_name_are_understood() {
    let data = measured("sha256", &[7; 32], "/bin/a");
    let signed = [&data[..], &sized(b"signature")].concat();
    let second = measured("ima:sha256", &[7; 32], "/bin/a");
    for (template, data) in [
        ("ima-ng", &data),
        ("ima-sig", &signed),
        ("ima-ngv2", &second),
    ] {
        let bytes = entry([1; 20], template, &sized(data));
        let list = ImaList::parse(&bytes).unwrap();
        let file = list.entries()[0].file.unwrap();
        assert_eq!(
            (file.algorithm, file.digest, file.path),
            ("sha256", &[7; 32][..], &b"/bin/a"[..]),
            "{template}"
        );
        assert_eq!(list.proven(BANK, &replayed(&[data])).unwrap().len(), 1);
    }
}

#[test]
fn a_template_that_is_not_known_is_replayed_and_says_no_file() {
    let bytes = entry(
        [1; 20],
        "d-ng|n-ng|x",
        &sized(&measured("sha256", &[7; 32], "/a")),
    );
    let list = ImaList::parse(&bytes).unwrap();
    assert_eq!(list.entries()[0].file, None);
    assert!(list.entries()[0].digest(BANK).is_some());
    for broken in [&b""[..], b"\x01\0\0\0", b"\x02\0\0\0ab\x01\0\0\0c"] {
        let bytes = entry([1; 20], "ima-ng", &sized(broken));
        assert_eq!(ImaList::parse(&bytes).unwrap().entries()[0].file, None);
    }
}

#[test]
fn the_oldest_template_hashes_its_name_filled_up_with_zeros() {
    let data = [&[3; 20][..], &sized(b"/bin/a")].concat();
    let bytes = entry([1; 20], "ima", &data);
    let list = ImaList::parse(&bytes).unwrap();
    let mut hashed = [&[3; 20][..], b"/bin/a"].concat();
    hashed.resize(20 + 256, 0);
    assert_eq!(list.proven(BANK, &replayed(&[&hashed])).unwrap().len(), 1);
    let file = list.entries()[0].file.unwrap();
    assert_eq!((file.algorithm, file.path), ("sha1", &b"/bin/a"[..]));

    let long = [&[3; 20][..], &sized(&[b'a'; 255])].concat();
    ImaList::parse(&entry([1; 20], "ima", &long)).unwrap();
    let long = [&[3; 20][..], &sized(&[b'a'; 256])].concat();
    ImaList::parse(&entry([1; 20], "ima", &long)).unwrap_err();
}

#[test]
fn a_violation_is_extended_as_all_ones() {
    let bytes = entry(
        [0; 20],
        "ima-ng",
        &sized(&measured("sha256", &[0; 32], "/a")),
    );
    let list = ImaList::parse(&bytes).unwrap();
    assert!(list.entries()[0].is_violation);
    let value = Sha256::digest([[0; 32], [0xff; 32]].concat()).to_vec();
    assert_eq!(list.proven(BANK, &value).unwrap().len(), 1);
}

#[test]
fn every_cut_is_refused_but_those_between_entries() {
    let bytes = [ng("/a"), ng("/b")].concat();
    let one = ng("/a").len();
    for length in 0..bytes.len() {
        let parsed = ImaList::parse(&bytes[..length]);
        assert_eq!(parsed.is_ok(), [0, one].contains(&length), "{length}");
    }
}

#[test]
fn places_of_what_is_wrong_are_named() {
    let mut other = ng("/a");
    other[0] = 11;
    assert_eq!(
        ImaList::parse(&[ng("/a"), other].concat())
            .unwrap_err()
            .to_string(),
        format!(
            "cannot read entry 2 of IMA list: pcr at byte {} is not 10",
            ng("/a").len()
        )
    );
    for wrong in [0_u32, 65, 0x8000_0000, u32::MAX] {
        let mut sizes = ng("/a");
        sizes[24..28].copy_from_slice(&wrong.to_le_bytes());
        ImaList::parse(&sizes).unwrap_err();
    }
    let size_bytes = MAX_BYTES + 1;
    assert_eq!(
        ImaList::parse(&vec![0; size_bytes]),
        Err(ImaListError::Size { size_bytes })
    );
}

#[test]
fn the_boot_aggregate_is_the_hash_of_the_first_ten_pcrs() {
    let read = include_str!("../../../../tests/data/measured-boot/secureboot/pcrs.sha256.txt");
    let mut values = Vec::new();
    for index in 0..10 {
        let line = read.lines().find_map(|line| {
            let (number, value) = line.split_once(": 0x")?;
            (number.trim() == index.to_string()).then_some(value)
        });
        values.extend(hex::decode(&line.unwrap().to_lowercase()).unwrap());
    }
    let list = ImaList::parse(TCB).unwrap();
    let file = list.entries()[0].file.unwrap();
    assert_eq!(file.digest, &Sha256::digest(&values)[..]);
}

proptest! {
    #[test]
    fn a_changed_byte_is_refused_or_changes_the_replay(
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let bytes = recorded!("secureboot-cmdline-changed");
        let quoted = ImaList::parse(bytes).unwrap().entries().iter().fold(vec![0; 32], |value, entry| {
            Sha256::digest([value, entry.digest(BANK).unwrap()].concat()).to_vec()
        });
        let mut changed = bytes.to_vec();
        let place = place.index(changed.len());
        changed[place] ^= 1 << bit;
        if let Ok(list) = ImaList::parse(&changed)
            && let Some(proven) = list.proven(BANK, &quoted)
        {
            // What the kernel shows of SHA-1 is not used but to know a violation; a name of a
            // template decides whether it is read.
            let whole = ImaList::parse(bytes).unwrap();
            for (one, other) in whole.entries().iter().zip(proven) {
                prop_assert!(other.file.is_none() || one.file == other.file);
            }
        }
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..1024)) {
        for bytes in [bytes.clone(), [ng("/a"), bytes].concat()] {
            if let Ok(list) = ImaList::parse(&bytes) {
                let _none = list.proven(BANK, &[1; 32]);
            }
        }
    }
}
