//! What is promised about speed and size, and whether the figures keep it.

use super::figure::{Figure, Spread};

/// One promise.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Name of the figure it is about.
    pub(crate) measure: &'static str,
    limit: Limit,
}

/// What must not be exceeded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Limit {
    /// By ours over that of containerd's own shim.
    Ratio(f64),
    /// By ours, in this unit.
    Ours(f64, &'static str),
}

/// How a promise is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum State {
    /// The median is within the limit.
    Met,
    /// It is not.
    NotMet,
    /// There is no such figure, or it is beside another peer.
    NotMeasured,
}

/// One promise beside what was measured.
#[derive(Debug)]
pub(crate) struct Judged {
    /// The promise.
    pub(crate) budget: &'static Budget,
    /// Limit, with its unit.
    pub(crate) limit: String,
    /// What was measured, with its spread.
    pub(crate) found: String,
    /// What was measured, over the limit.
    pub(crate) share: Option<f64>,
    /// What it comes to.
    pub(crate) state: State,
}

/// All promises: those of the design, section "Speed and size are features", of which the one for
/// the action `start` is that of its two times over each other, and two of the specification.
pub(crate) const BUDGETS: [Budget; 7] = [
    ratio("'start' action", 0.20),
    ratio("'ctr run --rm true'", 0.85),
    ours(
        "anonymous memory per pod, after three execs",
        0.4 * 1024.0,
        "KiB",
    ),
    ours(
        "gate's own work, 200 decisions at once, p99 of each",
        2.0,
        "ms",
    ),
    ours("hook process, whole", 3.0, "ms"),
    ours("threads per pod", 1.0, ""),
    ours("size of the shim", 2.0 * 1024.0, "KiB"),
];

const fn ratio(measure: &'static str, limit: f64) -> Budget {
    let limit = Limit::Ratio(limit);
    Budget { measure, limit }
}

const fn ours(measure: &'static str, limit: f64, unit: &'static str) -> Budget {
    let limit = Limit::Ours(limit, unit);
    Budget { measure, limit }
}

/// Judges all promises by the medians; `own_peer` says that the peer is containerd's own shim.
pub(crate) fn judge(figures: &[Figure], own_peer: bool) -> Vec<Judged> {
    BUDGETS
        .iter()
        .map(|budget| budget.judge(figures, own_peer))
        .collect()
}

/// A table in Markdown.
pub(crate) fn table(judged: &[Judged]) -> String {
    let mut text =
        "| promise | at most | measured: median (p10–p90) | state |\n|---|---|---|---|\n"
            .to_owned();
    text.extend(judged.iter().map(|one| {
        let (promise, state) = (one.promise(), one.state.word());
        format!("| {promise} | {} | {} | {state} |\n", one.limit, one.found)
    }));
    text
}

// === impl Budget ===

impl Budget {
    fn judge(&'static self, figures: &[Figure], own_peer: bool) -> Judged {
        let figure = figures.iter().find(|figure| figure.measure == self.measure);
        let (limit, unit, found) = match self.limit {
            Limit::Ratio(limit) => {
                let ratio = figure.and_then(|figure| figure.ratio);
                (limit, "", ratio.filter(|_| own_peer))
            }
            Limit::Ours(limit, unit) => {
                // In another unit it would be another figure.
                let figure = figure.filter(|figure| figure.unit == unit);
                (limit, unit, figure.map(|figure| figure.ours))
            }
        };
        let state = match found {
            None => State::NotMeasured,
            Some(found) if found.median <= limit => State::Met,
            Some(_) => State::NotMet,
        };
        Judged {
            budget: self,
            limit: with_unit(&limit.to_string(), unit),
            found: found.map_or_else(|| "–".to_owned(), |found| with_unit(&cell(found), unit)),
            share: found.map(|found| found.median / limit),
            state,
        }
    }

    /// The limit as a ratio, if it is one.
    pub(crate) fn ratio(&self) -> Option<f64> {
        match self.limit {
            Limit::Ratio(limit) => Some(limit),
            Limit::Ours(..) => None,
        }
    }
}

// === impl Judged ===

impl Judged {
    /// What is promised.
    pub(crate) fn promise(&self) -> String {
        let measure = self.budget.measure;
        match self.budget.limit {
            Limit::Ratio(_) => format!("{measure}, over containerd's own shim"),
            Limit::Ours(..) => measure.to_owned(),
        }
    }
}

// === impl State ===

impl State {
    /// For tables.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Met => "met",
            Self::NotMet => "**not met**",
            Self::NotMeasured => "not measured",
        }
    }
}

/// `median (low–high)`.
pub(crate) fn cell(spread: Spread) -> String {
    let [median, low, high] = [spread.median, spread.low, spread.high].map(number);
    format!("{median} ({low}–{high})")
}

/// About three digits, as more would say nothing.
pub(crate) fn number(number: f64) -> String {
    let digits = match number.abs() {
        0.0 | 100.0.. => 0,
        10.0.. => 1,
        1.0.. => 2,
        _ => 3,
    };
    format!("{number:.digits$}")
}

fn with_unit(text: &str, unit: &str) -> String {
    format!("{text} {unit}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::{BUDGETS, Budget, State, judge, number, table};
    use crate::bench::figure::{Figure, Spread};

    fn figure(budget: &Budget, value: f64) -> Figure {
        let spread = |median| Spread {
            median,
            low: median / 2.0,
            high: median * 2.0,
        };
        Figure {
            measure: budget.measure.to_owned(),
            unit: match budget.limit {
                super::Limit::Ours(_, unit) => unit.to_owned(),
                super::Limit::Ratio(_) => "ms".to_owned(),
            },
            ours: spread(value),
            peer: Some(spread(1.0)),
            ratio: Some(spread(value)),
            runs: 3,
        }
    }

    #[test]
    fn each_promise_is_judged_by_its_own_figure() {
        let kept: Vec<Figure> = BUDGETS.iter().map(|budget| figure(budget, 0.1)).collect();
        assert!(judge(&kept, true).iter().all(|one| one.state == State::Met));
        let broken: Vec<Figure> = BUDGETS.iter().map(|budget| figure(budget, 1e9)).collect();
        assert!(
            judge(&broken, true)
                .iter()
                .all(|one| one.state == State::NotMet)
        );
        let none = judge(&[], true);
        assert!(none.iter().all(|one| one.state == State::NotMeasured));
    }

    #[test]
    fn each_promise_is_about_something_that_is_measured() {
        let lab = [
            include_str!("../../../tests/src/bench/gate.rs"),
            include_str!("../../../tests/src/bench/launch.rs"),
            include_str!("../../../tests/src/bench/pod.rs"),
            include_str!("../../../tests/src/bench/start.rs"),
        ];
        for Budget { measure, .. } in BUDGETS {
            let name = format!("\"{measure}\"");
            assert!(lab.iter().any(|source| source.contains(&name)), "{name}");
        }
    }

    #[test]
    fn the_limit_itself_is_within_it() {
        for (value, state) in [(3.0, State::Met), (3.001, State::NotMet)] {
            let figures = [figure(
                &super::ours("hook process, whole", 0.0, "ms"),
                value,
            )];
            let judged = judge(&figures, true);
            let hook = judged.iter().find(|one| one.share.is_some()).unwrap();
            assert_eq!(hook.state, state);
            assert!(
                table(&judged).contains("| hook process, whole | 3 ms | "),
                "{}",
                table(&judged)
            );
        }
    }

    #[test]
    fn ratios_to_another_peer_are_no_promise() {
        let figures: Vec<Figure> = BUDGETS.iter().map(|budget| figure(budget, 0.1)).collect();
        for one in judge(&figures, false) {
            let expected = if one.budget.ratio().is_some() {
                State::NotMeasured
            } else {
                State::Met
            };
            assert_eq!(one.state, expected, "{}", one.promise());
        }
    }

    #[test]
    fn numbers_have_as_many_digits_as_help() {
        let shown = [0.2034, 2.0, 12.0, 409.6, -0.85, 0.0].map(number);
        assert_eq!(shown, ["0.203", "2.00", "12.0", "410", "-0.850", "0"]);
    }
}
