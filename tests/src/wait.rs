//! The one way to wait in a test: for a condition, with a deadline.
//!
//! `PORTCULLIS_TEST_SLOWNESS=20` says that this machine is so many times as slow as one on which the
//! deadlines of the tests are right: every deadline becomes as many times as long. Software that
//! runs a guest is 10 to 20 times as slow.

use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use crate::failure::{Failure, Outcome};

/// Long enough for a slow machine; a test that reaches it has failed.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// First pause between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(1);
/// Longest pause between two looks.
const LONGEST_PAUSE: Duration = Duration::from_millis(25);
/// Says how slow this machine is.
pub const SLOWNESS: &str = "PORTCULLIS_TEST_SLOWNESS";
/// More would turn a test that hangs into one that lasts a day.
const MOST: u32 = 100;

/// `deadline` on a machine as slow as [`SLOWNESS`] says.
///
/// # Panics
///
/// When the variable holds something else than a number from 1 to 100: this is how the test fails.
#[must_use]
pub fn scaled(deadline: Duration) -> Duration {
    static FACTOR: LazyLock<u32> = LazyLock::new(|| {
        let Some(text) = std::env::var_os(SLOWNESS) else {
            return 1;
        };
        let text = text.to_string_lossy();
        let read = factor(&text);
        assert!(
            read.is_some(),
            "{SLOWNESS} is '{text}', not a number from 1 to {MOST}"
        );
        read.unwrap_or(1)
    });
    deadline.saturating_mul(*FACTOR)
}

fn factor(text: &str) -> Option<u32> {
    let factor = text.parse().ok()?;
    (1..=MOST).contains(&factor).then_some(factor)
}

/// Looks until `probe` gives a value, and returns it. `deadline` is [`scaled`].
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
    let deadline = scaled(deadline);
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
    use super::{factor, until};
    use std::time::Duration;

    #[test]
    fn a_factor_is_a_small_whole_number() {
        assert_eq!((factor("1"), factor("100")), (Some(1), Some(100)));
        for text in ["", "0", "101", "-1", "1.5", "ten"] {
            assert_eq!(factor(text), None, "{text}");
        }
    }

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
        let text = failure.to_string();
        assert!(text.ends_with(" in vain for rain"), "{text}");
    }
}
