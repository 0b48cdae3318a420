//! Boot states that rule events, and recorded boots held against them.

use super::*;
use crate::event_log::EventLog;
use crate::reference::{EventRules, PcrRules, SecureBootRules, Step};

macro_rules! recorded {
    ($name:literal) => {
        include_bytes!(concat!(
            "../../../../../tests/data/measured-boot/",
            $name,
            "/binary_bios_measurements"
        ))
    };
}

const GOLDEN: &[u8] = recorded!("secureboot");
const OTHER_COMMAND_LINE: &[u8] = recorded!("secureboot-cmdline-changed");
const NO_SECURE_BOOT: &[u8] = recorded!("no-secureboot");
const BANK: HashAlg = HashAlg::Sha256;

/// A host that booted as `log` says, and quotes PCR 0 to 9, 11 and 14.
fn host(log: &[u8]) -> (FakeTpm, Evidence) {
    let replayed = EventLog::parse(log)
        .expect("recorded")
        .replay(BANK)
        .expect("replays");
    let mut tpm = FakeTpm::new(1);
    tpm.pcrs = PcrValues::new(BANK);
    for index in (0..=9).chain([11, 14]) {
        let value = replayed.value(pcr(index)).unwrap_or(&[0; 32]);
        tpm.pcrs.insert(pcr(index), value.to_vec()).expect("fits");
    }
    let mut evidence = tpm.evidence(NONCE);
    evidence.event_log = Some(log.to_vec());
    (tpm, evidence)
}

/// The state that a capture on the golden host gives.
fn golden() -> BootState {
    let (tpm, _) = host(GOLDEN);
    let log = EventLog::parse(GOLDEN).expect("recorded");
    BootState::captured("golden".to_owned(), &tpm.pcrs, &log).expect("replays")
}

fn held_against(evidence: &Evidence, states: Vec<BootState>) -> Appraisal {
    let mut approved = reference(&FakeTpm::new(1));
    approved.values.boot_states = states;
    // As it is after signing and reading.
    let claims = approved.values.to_claims();
    approved.values = ReferenceValues::from_claims(&claims).expect("reads back");
    appraise_at(evidence, &[approved], NOW_S)
}

/// The finding of golden rules, changed, on the golden host.
fn with_rules(change: impl FnOnce(&mut EventRules)) -> Appraisal {
    let mut state = golden();
    change(&mut state.events[0]);
    held_against(&host(GOLDEN).1, vec![state])
}

fn rule(rules: &mut EventRules, index: u8) -> &mut Vec<Step> {
    let rules = rules.pcrs.get_mut(&pcr(index)).expect("ruled");
    &mut rules.any_of[0]
}

#[test]
fn a_captured_host_meets_its_own_rules_again() {
    let state = golden();
    let ruled: Vec<u8> = state.events[0].pcrs.keys().map(|pcr| pcr.get()).collect();
    assert_eq!(ruled, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 14]);
    assert_eq!(
        state.banks[0].selection().to_string(),
        "11",
        "nothing was measured"
    );
    assert!(state.events[0].secure_boot.is_some());
    let appraisal = held_against(&host(GOLDEN).1, vec![state]);
    assert_eq!(codes(&appraisal), [""; 0]);
    assert_eq!(appraisal.boot_state.as_deref(), Some("golden"));
    assert_eq!(
        appraisal.vector.value(Claim::Executables),
        Some(ClaimValue::BOOT_APPROVED)
    );
}

#[test]
fn another_command_line_is_named_with_its_proven_text() {
    let appraisal = held_against(&host(OTHER_COMMAND_LINE).1, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-unexpected"; 3]);
    assert_eq!(appraisal.status, TrustTier::Contraindicated);
    let line = &appraisal.findings[1];
    assert_eq!(line.subject, "event 49 (EV_IPL) of PCR 8 (sha256)");
    assert!(
        line.expected.contains("'/vmlinuz console=ttyS0")
            && line.expected.ends_with("by boot state 'golden'"),
        "{line:?}"
    );
    assert!(line.found.contains("lab.tampered=1"), "{line:?}");
    let file = &appraisal.findings[2];
    assert!(
        file.found
            .ends_with(", by its unproven label '(hd0,gpt1)/EFI/debian/grub.cfg'"),
        "{file:?}"
    );
}

#[test]
fn a_text_that_its_digest_does_not_prove_is_never_shown_as_found() {
    let (_, mut evidence) = host(OTHER_COMMAND_LINE);
    let log = evidence.event_log.as_mut().expect("a log");
    let tampered = b"lab.tampered=1";
    while let Some(place) = log
        .windows(tampered.len())
        .position(|window| window == tampered)
    {
        log[place..place + tampered.len()].copy_from_slice(b"quiet quiet ok");
    }
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-unexpected"; 3]);
    for finding in &appraisal.findings {
        let is_marked = finding.found.contains("by its unproven label");
        assert!(is_marked || !finding.found.contains("quiet"), "{finding:?}");
    }
}

#[test]
fn without_a_log_no_rule_is_met() {
    let (_, mut evidence) = host(GOLDEN);
    evidence.event_log = None;
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-log-missing"]);
    assert_eq!(appraisal.boot_state, None);
    assert_eq!(appraisal.status, TrustTier::Contraindicated);

    // Exact values need no log.
    let exact = BootState::exact("exact".to_owned(), vec![evidence.pcrs.clone()]);
    let appraisal = held_against(&evidence, vec![golden(), exact]);
    assert_eq!(appraisal.boot_state.as_deref(), Some("exact"));
}

#[test]
fn a_log_that_cannot_be_read_is_named_with_its_place() {
    let (_, mut evidence) = host(GOLDEN);
    evidence.event_log = Some(GOLDEN[..GOLDEN.len() - 1].to_vec());
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-log-malformed"]);
    let found = &appraisal.findings[0].found;
    assert!(
        found.contains("event 54") && found.contains("at byte"),
        "{found}"
    );
}

#[test]
fn a_log_of_another_boot_is_not_believed() {
    let (_, mut evidence) = host(GOLDEN);
    evidence.event_log = Some(OTHER_COMMAND_LINE.to_vec());
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-log-mismatch"; 2]);
    assert_eq!(
        appraisal.findings[0].subject,
        "event log for PCR 8 (sha256)"
    );

    // The clean log beside the PCRs of the other boot.
    let (_, mut evidence) = host(OTHER_COMMAND_LINE);
    evidence.event_log = Some(GOLDEN.to_vec());
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["event-log-mismatch"; 2]);
    assert_eq!(appraisal.boot_state, None);
}

#[test]
fn secure_boot_must_have_been_on_before_the_firmware_handed_over() {
    let (_, off) = host(NO_SECURE_BOOT);
    let mut state = golden();
    state.events[0].pcrs.remove(&pcr(7));
    state.banks[0]
        .insert(pcr(7), off.pcrs.value(pcr(7)).expect("quoted").to_vec())
        .expect("fits");
    let appraisal = held_against(&off, vec![state]);
    let finding = appraisal
        .findings
        .iter()
        .find(|finding| finding.code == "secure-boot-off");
    assert_eq!(finding.expect("off").found, "off, by event 4 of PCR 7");

    // Measured by somebody else, after the separator.
    let on =
        crate::event_log::Variable::to_data(crate::event_log::Variable::GLOBAL, "SecureBoot", &[1]);
    let mut log = NO_SECURE_BOOT.to_vec();
    log.extend(7_u32.to_le_bytes());
    log.extend(0x8000_0001_u32.to_le_bytes());
    log.extend(2_u32.to_le_bytes());
    log.extend(4_u16.to_le_bytes());
    log.extend([0; 20]);
    log.extend(0x0b_u16.to_le_bytes());
    log.extend(crate::hashing::digest(BANK, &[&on]).expect("hashes"));
    log.extend(u32::try_from(on.len()).expect("short").to_le_bytes());
    log.extend(&on);
    let (tpm, evidence) = host(&log);
    let parsed = EventLog::parse(&log).expect("well formed");
    let mut state = BootState::captured("late".to_owned(), &tpm.pcrs, &parsed).expect("replays");
    state.events[0].secure_boot = Some(SecureBootRules::default());
    let appraisal = held_against(&evidence, vec![state]);
    assert_eq!(codes(&appraisal), ["secure-boot-off"]);
}

#[test]
fn keys_of_secure_boot_are_held_to_what_is_allowed() {
    let (tpm, evidence) = host(GOLDEN);
    let log = EventLog::parse(GOLDEN).expect("recorded");
    let digest = |number: usize| {
        log.events()[number - 1]
            .digest(BANK)
            .expect("there")
            .to_vec()
    };
    let allowed = SecureBootRules {
        pk: vec![vec![0; 32], digest(5)],
        kek: vec![digest(6)],
        db: vec![digest(7)],
        dbx: vec![digest(8)],
    };
    let with = |rules: SecureBootRules| {
        let mut state = BootState::captured("golden".to_owned(), &tpm.pcrs, &log).expect("replays");
        state.events[0].secure_boot = Some(rules);
        held_against(&evidence, vec![state])
    };
    assert_eq!(codes(&with(allowed.clone())), [""; 0]);
    let appraisal = with(SecureBootRules {
        db: vec![digest(6)],
        ..allowed
    });
    assert_eq!(codes(&appraisal), ["secure-boot-key-unknown"]);
    let finding = &appraisal.findings[0];
    assert_eq!(finding.subject, "variable db of Secure Boot (sha256)");
    assert!(finding.found.ends_with(", event 7"), "{finding:?}");

    // A byte of the data flipped: the event is no longer known to be db, so there is none.
    let mut spoilt = GOLDEN.to_vec();
    spoilt[7483 - 1] ^= 1;
    let mut evidence = host(GOLDEN).1;
    evidence.event_log = Some(spoilt);
    let mut state = golden();
    state.events[0].secure_boot = Some(SecureBootRules {
        db: vec![digest(7)],
        ..SecureBootRules::default()
    });
    let appraisal = held_against(&evidence, vec![state]);
    assert_eq!(codes(&appraisal), ["secure-boot-key-unknown"]);
    assert_eq!(appraisal.findings[0].found, "none");
}

#[test]
fn every_quoted_pcr_must_be_covered_where_events_are_ruled() {
    let appraisal = with_rules(|rules| {
        rules.pcrs.remove(&pcr(2));
    });
    assert_eq!(codes(&appraisal), ["pcr-uncovered"]);
    assert_eq!(appraisal.findings[0].subject, "PCR 2 (sha256)");
}

#[test]
fn a_ruled_pcr_must_be_quoted() {
    let (mut tpm, _) = host(GOLDEN);
    let all = tpm.pcrs.clone();
    tpm.pcrs = PcrValues::new(BANK);
    for (index, value) in all
        .iter()
        .filter(|(index, _)| ![7, 8].contains(&index.get()))
    {
        tpm.pcrs.insert(index, value.to_vec()).expect("fits");
    }
    let mut evidence = tpm.evidence(NONCE);
    evidence.event_log = Some(GOLDEN.to_vec());
    let appraisal = held_against(&evidence, vec![golden()]);
    assert_eq!(codes(&appraisal), ["quote-selection-short"]);
    assert_eq!(
        appraisal.findings[0].expected,
        "also PCR 7,8 of boot state 'golden'"
    );
}

#[test]
fn an_event_too_few_or_too_many_is_named() {
    let appraisal = with_rules(|rules| {
        let extra = Step {
            note: Some("the end".to_owned()),
            ..Step::measured(vec![0xaa; 32])
        };
        rule(rules, 4).push(extra);
    });
    assert_eq!(codes(&appraisal), ["event-missing"]);
    let finding = &appraisal.findings[0];
    assert_eq!(finding.subject, "end of the events of PCR 4 (sha256)");
    assert!(finding.expected.contains("'the end'"), "{finding:?}");

    let appraisal = with_rules(|rules| {
        rule(rules, 4).pop();
    });
    assert_eq!(codes(&appraisal), ["event-unexpected"]);
    let finding = &appraisal.findings[0];
    assert!(finding.subject.starts_with("event 48 "), "{finding:?}");
    assert!(finding.expected.starts_with("no further event"));

    let appraisal = with_rules(|rules| rule(rules, 5).clear());
    assert_eq!(codes(&appraisal), ["event-unexpected"]);
}

#[test]
fn rules_of_another_order_are_not_met_unless_they_say_so() {
    let appraisal = with_rules(|rules| rule(rules, 9).swap(0, 1));
    assert_eq!(codes(&appraisal), ["event-unexpected"; 2]);
    let appraisal = with_rules(|rules| {
        let mut swapped = rule(rules, 9).clone();
        swapped.swap(0, 1);
        let rules = rules.pcrs.get_mut(&pcr(9)).expect("ruled");
        rules.any_of.insert(0, swapped);
    });
    assert_eq!(codes(&appraisal), [""; 0]);
}

#[test]
fn one_of_several_digests_is_enough_and_optional_events_may_be_absent() {
    let appraisal = with_rules(|rules| {
        for step in rule(rules, 4) {
            step.digests.insert(0, vec![0xbb; 32]);
            step.optional = true;
        }
        let absent = Step {
            optional: true,
            ..Step::measured(vec![0xcc; 32])
        };
        rule(rules, 4).insert(2, absent.clone());
        rule(rules, 4).push(absent);
    });
    assert_eq!(codes(&appraisal), [""; 0]);
    let appraisal = with_rules(|rules| {
        for step in rule(rules, 4) {
            step.digests = vec![vec![0xbb; 32]];
            step.optional = true;
        }
    });
    assert_eq!(codes(&appraisal), ["event-unexpected"]);
}

#[test]
fn the_nearest_of_ruled_and_exact_states_is_reported() {
    let mut far = FakeTpm::new(1).pcrs;
    far.insert(pcr(7), vec![0xff; 32]).expect("fits");
    let far = BootState::exact("far".to_owned(), vec![far]);
    let appraisal = held_against(&host(OTHER_COMMAND_LINE).1, vec![far, golden()]);
    assert!(
        appraisal
            .findings
            .iter()
            .all(|finding| finding.expected.contains("'golden'")),
        "{:?}",
        appraisal.findings
    );
}

#[test]
fn rules_of_another_bank_do_not_match() {
    let mut rules = EventRules::new(HashAlg::Sha384);
    rules.pcrs.insert(pcr(4), PcrRules::exactly(Vec::new()));
    let state = BootState {
        name: "sha384".to_owned(),
        banks: Vec::new(),
        events: vec![rules],
        ima: None,
    };
    let appraisal = held_against(&host(GOLDEN).1, vec![state]);
    assert_eq!(codes(&appraisal), ["pcr-bank-missing"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn a_spoilt_log_beside_a_good_quote_never_meets_other_rules(
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (_, mut evidence) = host(OTHER_COMMAND_LINE);
        let log = evidence.event_log.as_mut().expect("a log");
        let place = place.index(log.len());
        log[place] ^= 1 << bit;
        let appraisal = held_against(&evidence, vec![golden()]);
        prop_assert!(!appraisal.status.is_affirming());
        prop_assert!(!appraisal.findings.is_empty());
    }
}
