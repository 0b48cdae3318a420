//! Many launches at once.

use std::sync::Barrier;
use std::thread;
use std::time::Instant;

use super::measure::{Measure, in_turn, quantile, since};
use super::task::{self, Launchable};
use super::{Bench, ledger};
use crate::failure::{Failure, Outcome};

/// What is measured of one crowd.
#[derive(Debug)]
pub(super) struct Crowd {
    /// How many at once.
    size: usize,
    /// Names of: time until all run, median and p99 of the launches, p99 from request to record.
    pub(super) names: &'static [&'static str],
}

/// One alone, for comparison: median and p99 of one are the same as the whole.
pub(super) const ONE: Crowd = Crowd {
    size: 1,
    names: &["1 launch at once, until it runs"],
};
/// Ten.
pub(super) const TEN: Crowd = Crowd {
    size: 10,
    names: &[
        "10 launches at once, until all run",
        "10 launches at once, median of each",
        "10 launches at once, p99 of each",
        "10 launches at once, request to ledger record, p99",
    ],
};
/// Fifty.
pub(super) const FIFTY: Crowd = Crowd {
    size: 50,
    names: &[
        "50 launches at once, until all run",
        "50 launches at once, median of each",
        "50 launches at once, p99 of each",
        "50 launches at once, request to ledger record, p99",
    ],
};
/// Two hundred.
pub(super) const MANY: Crowd = Crowd {
    size: 200,
    names: &[
        "200 launches at once, until all run",
        "200 launches at once, median of each",
        "200 launches at once, p99 of each",
        "200 launches at once, request to ledger record, p99",
    ],
};

/// One round of one side.
#[derive(Debug)]
struct Round {
    all: f64,
    each: Vec<f64>,
    recorded: Vec<f64>,
}

// === impl Crowd ===

impl Crowd {
    /// Measures it, in fewer rounds the bigger it is.
    pub(super) fn measure(&self, bench: &Bench<'_>) -> Outcome<Vec<Measure>> {
        let sides = bench.sides();
        let what = format!("crowd-{}", self.size);
        let crowds = [
            task::prepare(bench.node, sides[0], &what, self.size)?,
            task::prepare(bench.node, sides[1], &what, self.size)?,
        ];
        let rounds = self.rounds(bench.runs);
        let [ours, peer] = in_turn(rounds, |side, round| {
            if self.size > 1 {
                let word = sides[side].word;
                eprintln!("  round {round} of {rounds}, {word}");
            }
            self.round(&crowds[side], side == 0)
        })?;
        for crowd in &crowds {
            task::discard(crowd)?;
        }
        let of = |rounds: &[Round], figure: &dyn Fn(&Round) -> f64| {
            rounds.iter().map(figure).collect::<Vec<f64>>()
        };
        let figures: [&dyn Fn(&Round) -> f64; 3] = [
            &|round| round.all,
            &|round| quantile(&round.each, 0.5),
            &|round| quantile(&round.each, 0.99),
        ];
        let names = self.names.iter().copied();
        let mut measures: Vec<Measure> = (names.clone().zip(figures))
            .map(|(name, figure)| Measure::beside(name, "ms", of(&ours, figure), of(&peer, figure)))
            .collect();
        measures.extend(names.skip(figures.len()).map(|name| {
            Measure::alone(
                name,
                "ms",
                of(&ours, &|round| quantile(&round.recorded, 0.99)),
            )
        }));
        Ok(measures)
    }

    /// As many launches altogether as others have runs, but two hundred at most, and at least
    /// three rounds.
    fn rounds(&self, runs: usize) -> usize {
        let most = (600 / self.size).max(3);
        runs.min(most)
    }

    /// Launches all at once, then ends them.
    fn round(&self, crowd: &[Launchable], ours: bool) -> Outcome<Round> {
        let place = ledger::Place::now()?;
        let gate = Barrier::new(crowd.len() + 1);
        let (all, each) = thread::scope(|scope| {
            let launch = |one: &Launchable| {
                gate.wait();
                let begun = Instant::now();
                one.launch().map(|_| since(begun))
            };
            let threads: Vec<_> = (crowd.iter())
                .map(|one| scope.spawn(move || launch(one)))
                .collect();
            gate.wait();
            let begun = Instant::now();
            let each: Vec<Outcome<f64>> = threads.into_iter().map(joined).collect();
            (since(begun), each)
        });
        let ended: Vec<Outcome> = thread::scope(|scope| {
            let threads: Vec<_> = crowd.iter().map(|one| scope.spawn(|| one.end())).collect();
            threads.into_iter().map(joined).collect()
        });
        let failed: Vec<&Failure> = each.iter().filter_map(|one| one.as_ref().err()).collect();
        if let Some(first) = failed.first() {
            let (number, size) = (failed.len(), self.size);
            return Err(Failure::new(format!(
                "{number} of {size} launches at once failed, the first because {first}"
            )));
        }
        ended.into_iter().collect::<Outcome<Vec<()>>>()?;
        let recorded = if ours {
            place.creates(&format!("crowd-{}-", self.size))?
        } else {
            Vec::new()
        };
        let each = each.into_iter().flatten().collect();
        Ok(Round {
            all,
            each,
            recorded,
        })
    }
}

/// What a thread came to.
pub(super) fn joined<T>(thread: thread::ScopedJoinHandle<'_, Outcome<T>>) -> Outcome<T> {
    thread
        .join()
        .unwrap_or_else(|_| Err(Failure::new("a thread of the bench panicked")))
}

#[cfg(test)]
mod tests {
    use super::{FIFTY, MANY, ONE, TEN};

    #[test]
    fn bigger_crowds_have_fewer_rounds_but_never_one() {
        let rounds = [&ONE, &TEN, &FIFTY, &MANY].map(|crowd| crowd.rounds(30));
        assert_eq!(rounds, [30, 30, 12, 3]);
        assert_eq!(MANY.rounds(1), 1);
    }
}
