//! What is to be done so that a ledger is anchored, from what the TPM holds and what the ledger
//! says it should hold.
//!
//! Anchoring has several steps, and the machine may die between any two of them. What was done is
//! seen in the TPM alone: the head that it was extended by is one of the lines after the last anchor.

use portcullis_attestation::anchor::extended;
use portcullis_attestation::hex;

use crate::link::Link;

/// What counter and extend index hold; `None` for one that was never written.
pub type Held = (Option<u64>, Option<[u8; 32]>);

/// The next step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// TPM and ledger are in step: extend by the newest line, count, certify.
    Begin,
    /// Extended by this line and not counted: count, certify.
    Count(Link),
    /// Extended by this line and counted: certify.
    Certify(Link),
    /// They are not in step, and no step of ours explains it. Begin anew, and write down that it
    /// was so.
    Apart(String),
}

/// Decides. `last` is counter and extend index of the last anchor in the ledger; `since` gives the
/// lines after it, and is asked only if it matters.
pub fn next_step(
    last: Option<(u64, [u8; 32])>,
    held: Held,
    since: impl FnOnce() -> Vec<Link>,
) -> Step {
    let before = last.map_or([0; 32], |(_, extend)| extend);
    let (counter, Some(extend)) = held else {
        return match (last, held.0) {
            (None, _) => Step::Begin,
            (Some((expected, _)), _) => Step::Apart(format!(
                "expected counter {expected} and an extended index, found an index that was never \
                 written: it was deleted, or the TPM was cleared"
            )),
        };
    };
    if last.is_some_and(|(expected, _)| counter == Some(expected)) && extend == before {
        return Step::Begin;
    }
    let is_next = |counter: Option<u64>| match (last, counter) {
        (Some((expected, _)), Some(counter)) => Some(counter) == expected.checked_add(1),
        // The first count of a counter may be any number.
        (None, Some(_)) => true,
        (_, None) => false,
    };
    let was_counted = is_next(counter);
    if was_counted || counter == last.map(|(expected, _)| expected) {
        let line = since()
            .into_iter()
            .rev()
            .find(|link| extended(&before, &link.head) == extend);
        match (line, was_counted) {
            (Some(link), true) => return Step::Certify(link),
            (Some(link), false) => return Step::Count(link),
            (None, _) => {}
        }
    }
    let shown = |counter: Option<u64>, extend: &[u8; 32]| {
        let counter = counter.map_or_else(|| "none".to_owned(), |counter| counter.to_string());
        format!("counter {counter}, extend {}", hex::encode(extend))
    };
    let found = shown(counter, &extend);
    Step::Apart(match last {
        None => format!("expected a TPM that anchored nothing, found {found}"),
        Some((expected, before)) => {
            format!("expected {}, found {found}", shown(Some(expected), &before))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LAST: (u64, [u8; 32]) = (7, [9; 32]);

    fn link(sequence: u8) -> Link {
        Link {
            sequence: u64::from(sequence),
            head: [sequence; 32],
        }
    }

    fn step(last: Option<(u64, [u8; 32])>, counter: Option<u64>, extend: Option<[u8; 32]>) -> Step {
        next_step(last, (counter, extend), || vec![link(3), link(4), link(5)])
    }

    fn is_apart(step: &Step) -> bool {
        matches!(step, Step::Apart(_))
    }

    #[test]
    fn the_usual_case_does_not_read_the_ledger() {
        let unasked = || -> Vec<Link> { panic!("asked") };
        assert_eq!(next_step(None, (None, None), unasked), Step::Begin);
        let held = (Some(7), Some([9; 32]));
        assert_eq!(next_step(Some(LAST), held, unasked), Step::Begin);
        // A counter of an earlier life of the index, and nothing extended since.
        assert_eq!(next_step(None, (Some(7), None), unasked), Step::Begin);
    }

    #[test]
    fn every_place_where_anchoring_can_stop_is_gone_on_from() {
        let extended_by = |number| extended(&[9; 32], &link(number).head);
        for number in [3, 4, 5] {
            let extend = Some(extended_by(number));
            assert_eq!(step(Some(LAST), Some(7), extend), Step::Count(link(number)));
            let certify = Step::Certify(link(number));
            assert_eq!(step(Some(LAST), Some(8), extend), certify);
        }
        let first = Some(extended(&[0; 32], &link(4).head));
        assert_eq!(step(None, None, first), Step::Count(link(4)));
        assert_eq!(step(None, Some(31), first), Step::Certify(link(4)));
    }

    #[test]
    fn what_nobody_here_did_is_said() {
        let elsewhere = Some([1; 32]);
        for (last, counter, extend) in [
            (Some(LAST), Some(8), Some([9; 32])),
            (Some(LAST), Some(6), Some([9; 32])),
            (Some(LAST), Some(7), elsewhere),
            (Some(LAST), Some(9), Some(extended(&[9; 32], &[4; 32]))),
            (Some(LAST), None, Some(extended(&[9; 32], &[4; 32]))),
            (Some(LAST), None, None),
            (Some(LAST), Some(7), None),
            (None, Some(7), elsewhere),
            (None, None, elsewhere),
        ] {
            let step = step(last, counter, extend);
            assert!(is_apart(&step), "{last:?} {counter:?} {extend:?}: {step:?}");
        }
    }
}
