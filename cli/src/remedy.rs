//! What to change so that a workload would pass: proposed by a table, proved by hardening itself.
//!
//! The table ([`config`] for a `config.json`, [`manifest`] for a pod) is generous: it proposes
//! whatever may help. [`search`] tries the proposals with the very function that refused, and then
//! leaves out each one without which it passes too. So what is printed is known to pass, and no part
//! of it is idle.

pub(crate) mod advice;
pub(crate) mod config;
pub(crate) mod edit;
pub(crate) mod fragment;
pub(crate) mod manifest;
pub(crate) mod operator;
pub(crate) mod rebuilt;

pub(crate) use edit::Edit;

/// Refusals that come to light when others are gone: a privileged container is named before the
/// consequences.
const ROUNDS: usize = 6;

/// Edits that only make sense together.
pub(crate) type Step = Vec<Edit>;

/// The smallest number of steps, of those that are proposed, with which it passes.
///
/// `attempt` applies steps and tells what is still refused; `propose` gives, for what is refused,
/// steps that may help. `None` if what is proposed does not suffice.
pub(crate) fn search<F>(
    attempt: impl Fn(&[Step]) -> Result<(), F>,
    propose: impl Fn(&F) -> Vec<Step>,
) -> Option<Vec<Step>> {
    let mut steps: Vec<Step> = Vec::new();
    for _ in 0..ROUNDS {
        let Err(trouble) = attempt(&steps) else {
            return Some(without_idle(steps, attempt));
        };
        let before = steps.len();
        for step in propose(&trouble) {
            if !steps.contains(&step) {
                steps.push(step);
            }
        }
        if steps.len() == before {
            return None;
        }
    }
    None
}

fn without_idle<F>(steps: Vec<Step>, attempt: impl Fn(&[Step]) -> Result<(), F>) -> Vec<Step> {
    let mut kept = steps;
    let mut place = kept.len();
    while let Some(last) = place.checked_sub(1) {
        place = last;
        let mut fewer = kept.clone();
        fewer.remove(place);
        if attempt(&fewer).is_ok() {
            kept = fewer;
        }
    }
    kept
}

#[cfg(test)]
mod tests;
