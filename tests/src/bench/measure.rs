//! Samples of one thing, and taking them in turn.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::failure::Outcome;

/// Samples of one thing, ours and, where it has the like, the peer's, in the order in which they
/// were taken: the same place in both was taken in the same round.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Measure {
    pub(super) name: &'static str,
    unit: &'static str,
    ours: Vec<f64>,
    peer: Option<Vec<f64>>,
}

// === impl Measure ===

impl Measure {
    /// Ours beside the peer's.
    pub(super) fn beside(
        name: &'static str,
        unit: &'static str,
        ours: Vec<f64>,
        peer: Vec<f64>,
    ) -> Self {
        Self {
            name,
            unit,
            ours,
            peer: Some(peer),
        }
    }

    /// Ours alone.
    pub(super) fn alone(name: &'static str, unit: &'static str, ours: Vec<f64>) -> Self {
        Self {
            name,
            unit,
            ours,
            peer: None,
        }
    }

    /// What the one has more than the other, round by round.
    pub(super) fn added(
        name: &'static str,
        unit: &'static str,
        with: &[f64],
        without: &[f64],
    ) -> Self {
        let rounds = with.iter().zip(without);
        Self::alone(
            name,
            unit,
            rounds.map(|(with, without)| with - without).collect(),
        )
    }

    /// `{measure, unit, ours, peer}`, with all samples.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "measure": self.name,
            "unit": self.unit,
            "ours": self.ours,
            "peer": self.peer,
        })
    }
}

/// Takes `runs` samples of each of `N` things, after one of each that does not count because it
/// fills caches. Every other round goes backwards (for two: ABBA), so that neither a drift of the
/// machine nor what the one leaves to the next favours any.
///
/// `sample` gets the thing, from 0, and the round, from 0; round 0 is the one that does not count.
pub(super) fn in_turn<T, const N: usize>(
    runs: usize,
    mut sample: impl FnMut(usize, usize) -> Outcome<T>,
) -> Outcome<[Vec<T>; N]> {
    let mut all = std::array::from_fn(|_| Vec::with_capacity(runs));
    for round in 0..=runs {
        for step in 0..N {
            let thing = if round % 2 == 0 { step } else { N - 1 - step };
            let taken = sample(thing, round)?;
            if round > 0 {
                all[thing].push(taken);
            }
        }
    }
    Ok(all)
}

/// The sample that `share` of all are not above, by nearest rank; 0 if there are none.
pub(super) fn quantile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (share * count(sorted.len())).ceil().max(1.0);
    let below = (1..=sorted.len()).find(|&at| count(at) >= rank);
    below.map_or(0.0, |at| sorted[at - 1])
}

/// A number of things as one to reckon with.
pub(super) fn count(number: usize) -> f64 {
    u32::try_from(number).map_or(f64::MAX, f64::from)
}

/// Milliseconds since `begun`.
pub(super) fn since(begun: Instant) -> f64 {
    milliseconds(begun.elapsed())
}

/// `time` in milliseconds.
pub(super) fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::{Measure, in_turn, quantile};
    use serde_json::json;

    #[test]
    fn every_other_round_goes_backwards_and_the_first_does_not_count() {
        let mut order = Vec::new();
        let taken: [Vec<usize>; 2] = in_turn(3, |thing, round| {
            order.push(thing);
            Ok(round)
        })
        .unwrap();
        assert_eq!(order, [0, 1, 1, 0, 0, 1, 1, 0]);
        assert_eq!(taken, [vec![1, 2, 3], vec![1, 2, 3]]);
    }

    #[test]
    fn a_failed_sample_ends_it() {
        let taken: crate::failure::Outcome<[Vec<()>; 1]> =
            in_turn(3, |_, _| Err(crate::Failure::new("no")));
        assert!(taken.is_err());
    }

    #[test]
    fn quantiles_are_samples() {
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(quantile(&hundred, 0.99), 99.0);
        assert_eq!(quantile(&hundred, 0.5), 50.0);
        assert_eq!(quantile(&[7.0], 0.99), 7.0);
        assert_eq!(quantile(&[1.0, 2.0, 3.0], 0.5), 2.0);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }

    #[test]
    fn what_is_added_is_reckoned_round_by_round() {
        let added = Measure::added("x", "ms", &[5.0, 7.0], &[4.0, 9.0]);
        assert_eq!(
            added.to_json(),
            json!({"measure": "x", "unit": "ms", "ours": [1.0, -2.0], "peer": null})
        );
    }
}
