use proptest::prelude::*;

use super::*;
use crate::event_log::EventLog;

/// A log of PCR 4 with one event for each byte, whose digest is that byte, repeated.
fn log(bytes: &[u8]) -> Vec<u8> {
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    let mut log = vec![0, 0, 0, 0, 3, 0, 0, 0];
    log.extend([0; 20]);
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    for byte in bytes {
        log.extend([4, 0, 0, 0, 0x0d, 0, 0, 0, 1, 0, 0, 0, 0x0b, 0]);
        log.extend([*byte; 32]);
        log.extend([0; 4]);
    }
    log
}

fn explained(rules: &PcrRules, bytes: &[u8]) -> Vec<Finding> {
    let log = log(bytes);
    let log = EventLog::parse(&log).unwrap();
    let pcr = PcrIndex::new(4).unwrap();
    let events: Vec<&Event<'_>> = log.measured(pcr).collect();
    Ruled::new(HashAlg::Sha256, pcr, "x").explain(rules, &events)
}

fn step(digests: &[u8], optional: bool) -> Step {
    Step {
        digests: digests.iter().map(|byte| vec![*byte; 32]).collect(),
        optional,
        note: None,
    }
}

#[test]
fn an_optional_step_is_not_taken_too_early() {
    let rules = PcrRules::exactly(vec![step(&[1], true), step(&[1], false), step(&[2], true)]);
    for (events, fits) in [
        (&[1][..], true),
        (&[1, 1], true),
        (&[1, 2], true),
        (&[1, 1, 2], true),
        (&[], false),
        (&[2], false),
        (&[1, 1, 1], false),
        (&[1, 2, 2], false),
    ] {
        assert_eq!(explained(&rules, events).is_empty(), fits, "{events:?}");
    }
}

#[test]
fn an_empty_sequence_is_met_by_no_event_only() {
    let nothing = PcrRules::exactly(Vec::new());
    assert_eq!(explained(&nothing, &[]), []);
    assert_eq!(explained(&nothing, &[1])[0].code, "event-unexpected");
}

#[test]
fn long_texts_are_shown_where_they_differ() {
    let text = |end: &str| format!("{}{end}", "a ".repeat(300));
    let shown = excerpt(&text("rd.break"), Some(&text("quiet")));
    assert!(
        shown.starts_with('…') && shown.ends_with("rd.break"),
        "{shown}"
    );
    let shown = excerpt(&format!("rd.break {}", text("")), Some(&text("")));
    assert!(
        shown.starts_with("rd.break") && shown.ends_with('…'),
        "{shown}"
    );
    assert_eq!(excerpt("quiet", None), "quiet");
    assert!(excerpt(&"\u{1b}".repeat(500), None).chars().count() <= TEXT_LIMIT + 2);
}

/// What a rule means, said in the slowest way.
fn fits(steps: &[Step], events: &[u8]) -> bool {
    match (steps, events) {
        ([], []) => true,
        ([], _) => false,
        ([step, rest @ ..], events) => {
            let taken = events
                .split_first()
                .is_some_and(|(event, others)| step.allows(&[*event; 32]) && fits(rest, others));
            taken || step.optional && fits(rest, events)
        }
    }
}

proptest! {
    #[test]
    fn following_all_ways_at_once_finds_what_trying_each_finds(
        steps in prop::collection::vec((prop::collection::vec(0_u8..4, 1..3), any::<bool>()), 0..7),
        events in prop::collection::vec(0_u8..4, 0..7),
    ) {
        let steps: Vec<Step> = steps.iter().map(|(digests, optional)| step(digests, *optional)).collect();
        let findings = explained(&PcrRules::exactly(steps.clone()), &events);
        prop_assert_eq!(findings.is_empty(), fits(&steps, &events));
    }
}
