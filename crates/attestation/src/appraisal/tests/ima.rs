//! Boot states that list files, and a recorded IMA list held against them.

use std::collections::BTreeMap;

use super::*;
use crate::ima::{self, ImaList};
use crate::reference::{CaptureFilesError, ImaRules, UnknownFile, contents};

const TCB: &[u8] = include_bytes!(
    "../../../../../tests/data/measured-boot/secureboot/binary_runtime_measurements"
);
const BANK: HashAlg = HashAlg::Sha256;

/// PCR 10 after the first `count` entries.
fn after(list: &[u8], count: usize) -> Vec<u8> {
    let list = ImaList::parse(list).expect("recorded");
    let entries = list.entries().iter().take(count);
    entries.fold(vec![0; 32], |value, entry| {
        let digest = entry.digest(BANK).expect("known");
        crate::hashing::digest(BANK, &[&value, &digest]).expect("hashes")
    })
}

/// A host that was quoted after `count` entries of `list`.
fn host(list: &[u8], count: usize) -> Evidence {
    let mut tpm = FakeTpm::new(1);
    tpm.pcrs
        .insert(pcr(ima::PCR), after(list, count))
        .expect("fits");
    let mut evidence = tpm.evidence(NONCE);
    evidence.ima_list = Some(list.to_vec());
    evidence
}

/// Rules that allow every file of the recorded list.
fn all_files() -> ImaRules {
    let list = ImaList::parse(TCB).expect("recorded");
    let mut files: BTreeMap<String, std::collections::BTreeSet<String>> = BTreeMap::new();
    for file in list.entries().iter().filter_map(|entry| entry.file) {
        let path = String::from_utf8(file.path.to_vec()).expect("text");
        files.entry(path).or_default().insert(contents(&file));
    }
    ImaRules {
        files,
        excluded: Vec::new(),
        unknown: UnknownFile::Refuse,
    }
}

fn held_against(evidence: &Evidence, rules: ImaRules) -> Appraisal {
    let mut approved = reference(&FakeTpm::new(1));
    approved.values.boot_states[0].ima = Some(rules);
    let claims = approved.values.to_claims();
    approved.values = ReferenceValues::from_claims(&claims).expect("reads back");
    appraise_at(evidence, &[approved], NOW_S)
}

#[test]
fn a_run_of_allowed_files_is_approved_and_pcr_10_is_not_pinned() {
    for count in [1, 37, 418] {
        let appraisal = held_against(&host(TCB, count), all_files());
        assert_eq!(codes(&appraisal), [""; 0], "{count}");
        let executables = appraisal.vector.value(Claim::Executables);
        assert_eq!(executables, Some(ClaimValue::APPROVED));
        assert!(appraisal.status.is_affirming());
        let pinned = appraisal.state.expect("genuine").pcrs.selection();
        assert_eq!(pinned.to_string(), "0,1,2,3,4,5,6,7");
    }
}

#[test]
fn captured_files_are_those_that_the_quote_proves() {
    let evidence = host(TCB, 400);
    let list = ImaList::parse(TCB).expect("recorded");
    let state = BootState::exact("x".to_owned(), vec![evidence.pcrs.clone()]);
    let rules = |excluded: &[&str]| ImaRules {
        files: BTreeMap::new(),
        excluded: excluded.iter().map(|one| (*one).to_owned()).collect(),
        unknown: UnknownFile::Refuse,
    };
    let captured = state
        .clone()
        .with_files(&evidence.pcrs, &list, rules(&["/usr/lib/"]))
        .expect("proven");
    assert_eq!(captured.banks[0].value(pcr(ima::PCR)), None);
    let files = &captured.ima.as_ref().expect("rules").files;
    assert!(files.contains_key("boot_aggregate"), "PCR 8 is not quoted");
    assert!(!files.is_empty() && files.keys().all(|path| !path.starts_with("/usr/lib/")));
    let appraisal = held_against(&evidence, captured.ima.expect("rules"));
    assert_eq!(codes(&appraisal), [""; 0]);

    let other = FakeTpm::new(1).pcrs;
    let refused = state.clone().with_files(&other, &list, rules(&[]));
    assert_eq!(refused, Err(CaptureFilesError::NotQuoted));
    let mut other = evidence.pcrs;
    other.insert(pcr(ima::PCR), vec![1; 32]).expect("fits");
    let refused = state.with_files(&other, &list, rules(&[]));
    assert_eq!(refused, Err(CaptureFilesError::Unproven));
}

#[test]
fn entries_after_the_quote_are_not_judged() {
    let mut rules = all_files();
    let list = ImaList::parse(TCB).expect("recorded");
    let last = list.entries()[417].file.expect("a file");
    rules
        .files
        .remove(str::from_utf8(last.path).expect("text"))
        .expect("listed");
    assert_eq!(codes(&held_against(&host(TCB, 30), rules.clone())), [""; 0]);
    assert_eq!(
        codes(&held_against(&host(TCB, 418), rules)),
        ["ima-file-unknown"]
    );
}

#[test]
fn a_file_with_other_contents_is_named() {
    let mut rules = all_files();
    let path = "/usr/lib/systemd/systemd";
    let other = format!("sha256:{}", "00".repeat(32));
    *rules.files.get_mut(path).expect("listed") = [other].into();
    let appraisal = held_against(&host(TCB, 418), rules);
    assert_eq!(codes(&appraisal), ["ima-file-unknown"]);
    let finding = &appraisal.findings[0];
    assert_eq!(
        finding.subject,
        format!("file '{path}', entry 2 of the IMA list")
    );
    assert!(finding.found.starts_with("sha256:090f8a0a"), "{finding:?}");
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
    assert_eq!(appraisal.boot_state, None);
}

#[test]
fn unknown_files_may_be_a_warning() {
    let mut rules = all_files();
    rules.unknown = UnknownFile::Warn;
    rules.files.retain(|path, _| path == "boot_aggregate");
    let appraisal = held_against(&host(TCB, 418), rules);
    assert_eq!(codes(&appraisal), ["ima-file-unknown"; 8]);
    assert!(
        appraisal.findings[7].found.ends_with(" more entries"),
        "{:?}",
        appraisal.findings[7]
    );
    assert_eq!(
        appraisal.vector.value(Claim::Executables),
        Some(ClaimValue::UNRECOGNIZED_RUNTIME)
    );
    assert_eq!(appraisal.status, TrustTier::Warning);
    assert_eq!(appraisal.boot_state.as_deref(), Some("debian-12"));
}

#[test]
fn excluded_directories_are_not_judged() {
    let mut rules = all_files();
    rules.files.retain(|path, _| !path.starts_with("/usr/"));
    rules.excluded = vec!["/usr/".to_owned()];
    assert_eq!(codes(&held_against(&host(TCB, 418), rules)), [""; 0]);
}

#[test]
fn a_list_that_the_quote_does_not_prove_is_refused() {
    let good = host(TCB, 418);
    let with = |list: Option<Vec<u8>>| {
        let evidence = Evidence {
            ima_list: list,
            ..good.clone()
        };
        held_against(&evidence, all_files())
    };
    assert_eq!(codes(&with(None)), ["ima-list-missing"]);
    let cut = TCB[..TCB.len() - 1].to_vec();
    let malformed = with(Some(cut));
    assert_eq!(codes(&malformed), ["ima-list-malformed"]);
    assert!(malformed.findings[0].found.contains("entry 418"));
    let mut changed = TCB.to_vec();
    changed[60] ^= 1;
    assert_eq!(codes(&with(Some(changed))), ["ima-list-mismatch"]);
    assert_eq!(codes(&with(Some(Vec::new()))), ["ima-list-mismatch"]);
    assert_eq!(with(None).status, TrustTier::Contraindicated);
}

#[test]
fn pcr_10_must_be_quoted() {
    let mut evidence = FakeTpm::new(1).evidence(NONCE);
    evidence.ima_list = Some(TCB.to_vec());
    let appraisal = held_against(&evidence, all_files());
    assert_eq!(codes(&appraisal), ["quote-selection-short"]);
    assert!(appraisal.findings[0].expected.starts_with("also PCR 10 "));
}

#[test]
fn a_violation_is_reported_unless_it_is_excluded() {
    let mut list = TCB.to_vec();
    list[4..24].fill(0);
    let evidence = host(&list, 418);
    let appraisal = held_against(&evidence, all_files());
    assert_eq!(codes(&appraisal), ["ima-violation"]);

    // The second entry is of a file in /usr.
    let mut list = TCB.to_vec();
    let second = 4 + list
        .windows(4)
        .enumerate()
        .skip(30)
        .find_map(|(place, bytes)| (bytes == [10, 0, 0, 0]).then_some(place))
        .expect("a second entry");
    list[second..second + 20].fill(0);
    let mut rules = all_files();
    rules.files.retain(|path, _| !path.starts_with("/usr/"));
    rules.excluded = vec!["/usr/".to_owned()];
    assert_eq!(codes(&held_against(&host(&list, 418), rules)), [""; 0]);
}

#[test]
fn the_boot_aggregate_of_the_quoted_pcrs_needs_no_rule() {
    let mut tpm = FakeTpm::new(1);
    for index in [8, 9] {
        tpm.pcrs.insert(pcr(index), vec![index; 32]).expect("fits");
    }
    let values: Vec<&[u8]> = tpm.pcrs.iter().map(|(_, value)| value).collect();
    let digest = crate::hashing::digest(BANK, &values).expect("hashes");
    let digest = [&b"sha256:\0"[..], &digest].concat();
    let sized = |bytes: &[u8]| {
        let size = u32::try_from(bytes.len()).expect("short").to_le_bytes();
        [&size[..], bytes].concat()
    };
    let data = [sized(&digest), sized(b"boot_aggregate\0")].concat();
    let list = [
        &[10, 0, 0, 0][..],
        &[1; 20],
        &sized(b"ima-ng"),
        &sized(&data),
    ]
    .concat();
    tpm.pcrs
        .insert(pcr(ima::PCR), after(&list, 1))
        .expect("fits");
    let mut evidence = tpm.evidence(NONCE);
    evidence.ima_list = Some(list);
    let rules = ImaRules {
        files: BTreeMap::new(),
        excluded: Vec::new(),
        unknown: UnknownFile::Refuse,
    };
    assert_eq!(codes(&held_against(&evidence, rules.clone())), [""; 0]);

    // Of other PCRs, as after a start of another kernel.
    tpm.pcrs.insert(pcr(9), vec![0xee; 32]).expect("fits");
    let other = Evidence {
        ima_list: evidence.ima_list,
        ..tpm.evidence(NONCE)
    };
    assert_eq!(codes(&held_against(&other, rules)), ["ima-file-unknown"]);
}
