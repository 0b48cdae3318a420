//! One figure of ours beside the peer's.

use serde_json::{Value, json};

/// Samples of one thing, ours and the peer's, taken in turn.
#[derive(Debug)]
pub(super) struct Measure {
    name: &'static str,
    unit: &'static str,
    ours: Vec<f64>,
    peer: Vec<f64>,
}

// === impl Measure ===

impl Measure {
    /// Sorts the samples; both sides must have some.
    pub(super) fn new(
        name: &'static str,
        unit: &'static str,
        mut ours: Vec<f64>,
        mut peer: Vec<f64>,
    ) -> Self {
        ours.sort_by(f64::total_cmp);
        peer.sort_by(f64::total_cmp);
        Self {
            name,
            unit,
            ours,
            peer,
        }
    }

    fn ratio(&self) -> f64 {
        quantile(&self.ours, 0.5) / quantile(&self.peer, 0.5)
    }

    /// `{measure, unit, ours, peer, ratio, runs, spread}`: medians, their ratio, and for each side
    /// the tenth and the ninetieth percentile.
    pub(super) fn to_json(&self) -> Value {
        let spread = |samples: &[f64]| json!([quantile(samples, 0.1), quantile(samples, 0.9)]);
        json!({
            "measure": self.name,
            "unit": self.unit,
            "ours": quantile(&self.ours, 0.5),
            "peer": quantile(&self.peer, 0.5),
            "ratio": self.ratio(),
            "runs": self.ours.len(),
            "spread": {"ours": spread(&self.ours), "peer": spread(&self.peer)},
        })
    }
}

/// A table in Markdown.
pub(super) fn table(measures: &[Measure]) -> String {
    let mut text = "| measure | unit | ours: median (p10–p90) | containerd-shim-runc-v2: median (p10–p90) | ratio | runs |\n\
                    |---|---|---|---|---|---|\n"
        .to_owned();
    let cell = |samples: &[f64]| {
        let [low, median, high] = [0.1, 0.5, 0.9].map(|share| quantile(samples, share));
        format!("{median:.2} ({low:.2}–{high:.2})")
    };
    text.extend(measures.iter().map(|measure| {
        let (ours, peer) = (cell(&measure.ours), cell(&measure.peer));
        let (name, unit, runs) = (measure.name, measure.unit, measure.ours.len());
        format!(
            "| {name} | {unit} | {ours} | {peer} | {:.2} | {runs} |\n",
            measure.ratio()
        )
    }));
    text
}

/// The sample below which `share` of all lie; sorted samples.
fn quantile(samples: &[f64], share: f64) -> f64 {
    let last = samples.len().saturating_sub(1);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "an index between 0 and a few hundred"
    )]
    let index = (share * last as f64).round() as usize;
    samples.get(index).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_medians_and_their_ratio() {
        let measure = Measure::new("x", "ms", vec![3.0, 1.0, 2.0], vec![8.0, 4.0, 2.0]);
        let json = measure.to_json();
        assert_eq!(json["ours"], 2.0);
        assert_eq!(json["ratio"], 0.5);
        assert_eq!(json["spread"]["peer"], json!([2.0, 8.0]));
        assert!(
            table(&[measure])
                .contains("| x | ms | 2.00 (1.00–3.00) | 4.00 (2.00–8.00) | 0.50 | 3 |")
        );
    }
}
