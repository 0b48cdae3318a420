//! What the samples of one thing come to.

use serde_json::{Value, json};

/// Digits after the point that are kept.
const PRECISION: f64 = 1000.0;

/// One side: its median, and the tenth and the ninetieth percentile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Spread {
    /// Half of the samples are not above it.
    pub(crate) median: f64,
    /// A tenth of the samples are not above it.
    pub(crate) low: f64,
    /// Nine tenths of the samples are not above it.
    pub(crate) high: f64,
}

/// One thing, ours beside the peer's.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Figure {
    /// What was measured.
    pub(crate) measure: String,
    /// Its unit; empty for a number of things.
    pub(crate) unit: String,
    /// Ours.
    pub(crate) ours: Spread,
    /// The peer's, unless it has no such thing.
    pub(crate) peer: Option<Spread>,
    /// Ours over the peer's. The median is the ratio of the medians; the percentiles are those of
    /// the ratios of samples that were taken in the same round.
    pub(crate) ratio: Option<Spread>,
    /// Number of samples of each side.
    pub(crate) runs: usize,
}

// === impl Spread ===

impl Spread {
    /// Of at least one sample.
    fn of(samples: &[f64]) -> Option<Self> {
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Self {
            median: quantile(&sorted, 0.5)?,
            low: quantile(&sorted, 0.1)?,
            high: quantile(&sorted, 0.9)?,
        })
    }

    fn json(self) -> Value {
        json!([rounded(self.low), rounded(self.high)])
    }
}

/// The sample that `share` of all are not above, between the two nearest ones in proportion.
fn quantile(sorted: &[f64], share: f64) -> Option<f64> {
    let last = u32::try_from(sorted.len().checked_sub(1)?).ok()?;
    let place = share * f64::from(last);
    let below = (0..=last).rev().find(|&at| f64::from(at) <= place)?;
    let at = |index: u32| sorted.get(usize::try_from(index).ok()?).copied();
    let (low, high) = (at(below)?, at((below + 1).min(last))?);
    Some(low + (high - low) * (place - f64::from(below)))
}

fn rounded(number: f64) -> f64 {
    (number * PRECISION).round() / PRECISION
}

// === impl Figure ===

impl Figure {
    /// Reads `{measure, unit, ours, peer}` with all samples, as the lab prints it.
    pub(crate) fn read(samples: &Value) -> Option<Self> {
        let numbers = |name: &str| -> Option<Vec<f64>> {
            let all = samples.get(name)?.as_array()?;
            all.iter().map(Value::as_f64).collect()
        };
        let text = |name: &str| samples.get(name)?.as_str().map(str::to_owned);
        let ours = numbers("ours")?;
        let peer = numbers("peer");
        Some(Self {
            measure: text("measure")?,
            unit: text("unit")?,
            runs: ours.len(),
            ratio: peer.as_deref().and_then(|peer| ratio(&ours, peer)),
            peer: peer.as_deref().and_then(Spread::of),
            ours: Spread::of(&ours)?,
        })
    }

    /// `{measure, unit, ours, peer, ratio, runs, spread}`.
    pub(crate) fn json(&self) -> Value {
        let median = |spread: Option<Spread>| spread.map(|spread| rounded(spread.median));
        json!({
            "measure": self.measure,
            "unit": self.unit,
            "ours": rounded(self.ours.median),
            "peer": median(self.peer),
            "ratio": median(self.ratio),
            "runs": self.runs,
            "spread": {
                "ours": self.ours.json(),
                "peer": self.peer.map(Spread::json),
                "ratio": self.ratio.map(Spread::json),
            },
        })
    }
}

/// Nothing if the peer's is zero.
fn ratio(ours: &[f64], peer: &[f64]) -> Option<Spread> {
    let rounds: Vec<f64> = (ours.iter().zip(peer))
        .map(|(ours, peer)| ours / peer)
        .collect();
    let median = Spread::of(ours)?.median / Spread::of(peer)?.median;
    let spread = Spread::of(&rounds)?;
    let whole = [median, spread.low, spread.high];
    whole
        .iter()
        .all(|part| part.is_finite())
        .then_some(Spread { median, ..spread })
}

#[cfg(test)]
mod tests {
    use super::{Figure, Spread, quantile};
    use serde_json::json;

    fn figure(ours: &[f64], peer: Option<&[f64]>) -> Figure {
        let samples = json!({"measure": "x", "unit": "ms", "ours": ours, "peer": peer});
        Figure::read(&samples).unwrap()
    }

    #[test]
    fn quantiles_lie_between_samples() {
        let sorted: Vec<f64> = (0..=10).map(f64::from).collect();
        assert_eq!(quantile(&sorted, 0.1), Some(1.0));
        assert_eq!(quantile(&sorted, 0.5), Some(5.0));
        assert_eq!(quantile(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(quantile(&[4.0], 0.9), Some(4.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_ratio_is_that_of_the_medians_and_its_spread_that_of_the_rounds() {
        let figure = figure(&[1.0, 2.0, 3.0], Some(&[4.0, 4.0, 8.0]));
        let ratio = figure.ratio.unwrap();
        assert!((ratio.median - 0.5).abs() < 1e-12);
        // Rounds: 0.25, 0.5, 0.375.
        assert!((ratio.low - 0.275).abs() < 1e-12, "{ratio:?}");
        assert!((ratio.high - 0.475).abs() < 1e-12, "{ratio:?}");
    }

    #[test]
    fn json_has_the_promised_members_and_numbers_only() {
        let found = figure(&[1.0, 2.00049, 3.0], Some(&[4.0, 4.0, 4.0])).json();
        let expected = json!({
            "measure": "x", "unit": "ms", "ours": 2.0, "peer": 4.0, "ratio": 0.5, "runs": 3,
            "spread": {"ours": [1.2, 2.8], "peer": [4.0, 4.0], "ratio": [0.3, 0.7]},
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn without_a_peer_there_is_no_ratio() {
        let found = figure(&[1.0], None).json();
        assert_eq!(found["peer"], json!(null));
        assert_eq!(found["ratio"], json!(null));
        assert_eq!(found["spread"]["peer"], json!(null));
        let zero = figure(&[0.0], Some(&[0.0])).json();
        assert_eq!((&zero["peer"], &zero["ratio"]), (&json!(0.0), &json!(null)));
    }

    #[test]
    fn what_is_no_sample_is_no_figure() {
        for samples in [
            json!({"measure": "x", "unit": "ms", "ours": [], "peer": null}),
            json!({"measure": "x", "unit": "ms", "ours": ["1"], "peer": null}),
            json!({"unit": "ms", "ours": [1.0], "peer": null}),
        ] {
            assert_eq!(Figure::read(&samples), None, "{samples}");
        }
        assert_eq!(Spread::of(&[]), None);
    }
}
