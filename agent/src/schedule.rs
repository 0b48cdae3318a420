//! When the node is attested next.

use std::time::{Duration, Instant, SystemTime};

/// First pause after a failed attestation; each further failure doubles it.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest pause after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);
/// Between two attestations that a change of boot asks for.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// How far wall clock and monotonic clock may part before it counts as a jump. Adjusting a clock
/// slowly stays far below.
const JUMP: Duration = Duration::from_secs(2);

/// The time of the next attestation.
#[derive(Debug)]
pub(crate) struct Schedule {
    interval: Duration,
    failures: u32,
    last: Option<(Instant, SystemTime)>,
    due: Option<Instant>,
}

// === impl Schedule ===

impl Schedule {
    /// Attests at once, then every `interval`.
    pub(crate) fn new(interval: Duration, now: Instant) -> Self {
        Self {
            interval,
            failures: 0,
            last: None,
            due: Some(now),
        }
    }

    /// Time until the next attestation; `None` if none is planned.
    pub(crate) fn wait(&self, now: Instant) -> Option<Duration> {
        self.due.map(|due| due.saturating_duration_since(now))
    }

    /// Notes that an attestation succeeded.
    pub(crate) fn succeeded(&mut self, now: Instant, wall: SystemTime) {
        self.failures = 0;
        self.last = Some((now, wall));
        self.due = now.checked_add(self.interval);
    }

    /// Notes that an attestation could not be made, and returns the pause before the next try.
    pub(crate) fn failed(&mut self, now: Instant, wall: SystemTime) -> Duration {
        let factor = 1_u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let pause = FIRST_BACKOFF
            .saturating_mul(factor)
            .min(LONGEST_BACKOFF)
            .min(self.interval);
        self.failures = self.failures.saturating_add(1);
        self.last = Some((now, wall));
        self.due = now.checked_add(pause);
        pause
    }

    /// Plans nothing until the node is enrolled.
    pub(crate) fn suspend(&mut self) {
        self.due = None;
    }

    /// Attests as soon as the last attempt is a moment ago.
    pub(crate) fn hurry(&mut self, now: Instant) {
        let earliest = self
            .last
            .and_then(|(last, _)| last.checked_add(SHORTEST_PAUSE));
        let wanted = earliest.map_or(now, |earliest| earliest.max(now));
        self.due = Some(self.due.map_or(wanted, |due| due.min(wanted)));
    }

    /// Whether the wall clock jumped since the last attestation: it was set, or the machine slept.
    /// A verdict that was issued by the old time is worth little then.
    pub(crate) fn has_jumped(&self, now: Instant, wall: SystemTime) -> bool {
        self.last.is_some_and(|(last, last_wall)| {
            let passed = now.saturating_duration_since(last);
            last_wall.checked_add(passed).is_none_or(|expected| {
                let apart = wall
                    .duration_since(expected)
                    .unwrap_or_else(|behind| behind.duration());
                apart > JUMP
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_secs(300);

    fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn fresh() -> (Schedule, Instant, SystemTime) {
        let now = Instant::now();
        (
            Schedule::new(INTERVAL, now),
            now,
            SystemTime::UNIX_EPOCH + s(1000),
        )
    }

    #[test]
    fn attests_at_once_and_then_every_interval() {
        let (mut schedule, now, wall) = fresh();
        assert_eq!(schedule.wait(now), Some(Duration::ZERO));
        schedule.succeeded(now, wall);
        assert_eq!(schedule.wait(now + s(100)), Some(s(200)));
        assert_eq!(schedule.wait(now + s(400)), Some(Duration::ZERO));
    }

    #[test]
    fn waits_longer_after_each_failure_up_to_a_minute() {
        let (mut schedule, now, wall) = fresh();
        let pauses: Vec<_> = (0..8)
            .map(|_| schedule.failed(now, wall).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        for _ in 0..100 {
            assert_eq!(schedule.failed(now, wall), s(60));
        }
        schedule.succeeded(now, wall);
        assert_eq!(schedule.failed(now, wall), s(1));
    }

    #[test]
    fn never_waits_longer_than_the_interval() {
        let (_, now, wall) = fresh();
        let mut schedule = Schedule::new(s(3), now);
        let pauses: Vec<_> = (0..4)
            .map(|_| schedule.failed(now, wall).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 3, 3]);
    }

    #[test]
    fn hurries_at_most_once_a_second() {
        let (mut schedule, now, wall) = fresh();
        schedule.succeeded(now, wall);
        schedule.hurry(now);
        assert_eq!(schedule.wait(now), Some(s(1)));
        schedule.hurry(now + s(5));
        assert_eq!(schedule.wait(now + s(5)), Some(Duration::ZERO));
    }

    #[test]
    fn plans_nothing_while_suspended() {
        let (mut schedule, now, _) = fresh();
        schedule.suspend();
        assert_eq!(schedule.wait(now), None);
        schedule.hurry(now);
        assert_eq!(schedule.wait(now), Some(Duration::ZERO));
    }

    #[test]
    fn notices_a_clock_that_jumped_either_way() {
        let (mut schedule, now, wall) = fresh();
        assert!(!schedule.has_jumped(now, wall));
        schedule.succeeded(now, wall);
        assert!(!schedule.has_jumped(now + s(100), wall + s(102)));
        assert!(schedule.has_jumped(now + s(100), wall + s(103)));
        assert!(!schedule.has_jumped(now + s(100), wall + s(98)));
        assert!(schedule.has_jumped(now + s(100), wall + s(97)));
    }
}
