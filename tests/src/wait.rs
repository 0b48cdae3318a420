//! The one way to wait in a test: for a condition, with a deadline.

use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Long enough for a slow machine; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// First pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);

/// Looks until `probe` gives a value, and returns it.
///
/// The pauses grow from 1 to 25 ms: what we wait for happens in other processes and has no
/// descriptor to poll on.
///
/// # Errors
///
/// When `deadline` has passed without a value; the text says `what` was waited for.
pub fn until<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Option<T>,
) -> Outcome<T> {
    let end = Instant::now() + deadline;
    let mut pause = FIRST_PAUSE;
    loop {
        if let Some(value) = probe() {
            return Ok(value);
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(Failure::new(format!(
                "waited {deadline:?} in vain for {what}"
            )));
        }
        thread::park_timeout(pause.min(left));
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Looks until `probe` is true.
///
/// # Errors
///
/// As [`until`].
pub fn until_true(what: &str, deadline: Duration, mut probe: impl FnMut() -> bool) -> Outcome {
    until(what, deadline, || probe().then_some(()))
}

#[cfg(test)]
mod tests {
    use super::until;
    use std::time::Duration;

    #[test]
    fn returns_the_value_as_soon_as_it_is_there() {
        let mut looks = 0;
        let found = until("three looks", Duration::from_secs(5), || {
            looks += 1;
            (looks == 3).then_some(looks)
        });
        assert_eq!(found, Ok(3));
    }

    #[test]
    fn fails_with_the_name_of_what_did_not_come() {
        let failure = until("rain", Duration::from_millis(3), || None::<()>).unwrap_err();
        assert_eq!(failure.to_string(), "waited 3ms in vain for rain");
    }
}
