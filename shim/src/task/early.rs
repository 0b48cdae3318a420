//! Ends of processes that came before anybody knew the process: a program may be over before the
//! runtime that started it has said its pid.

use std::collections::{BTreeSet, VecDeque};

use super::Exit;

/// Most ends kept. A container that shares the host's processes can make orphans end here as fast
/// as it likes; whoever misses an end that was pushed out asks the kernel instead.
const MOST: usize = 1024;

/// Names one launch, in the order in which they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct LaunchNumber(u64);

/// Ends that a launch in flight may still claim, oldest first.
#[derive(Debug, Default)]
pub(super) struct EarlyExits {
    next: u64,
    in_flight: BTreeSet<u64>,
    ends: VecDeque<End>,
}

#[derive(Debug)]
struct End {
    pid: u32,
    exit: Exit,
    /// Launches from this number on began later, so the process is not theirs.
    before: u64,
}

// === impl EarlyExits ===

impl EarlyExits {
    /// A launch begins.
    pub(super) fn begin(&mut self) -> LaunchNumber {
        let number = self.next;
        self.next += 1;
        self.in_flight.insert(number);
        LaunchNumber(number)
    }

    /// A launch is over; what only it could have claimed is dropped.
    pub(super) fn end(&mut self, LaunchNumber(number): LaunchNumber) {
        self.in_flight.remove(&number);
        let oldest = self.in_flight.first().copied().unwrap_or(self.next);
        while self.ends.front().is_some_and(|end| end.before <= oldest) {
            self.ends.pop_front();
        }
    }

    /// A process that nobody knows has ended.
    pub(super) fn note(&mut self, pid: u32, exit: Exit) {
        if self.in_flight.is_empty() {
            return;
        }
        if self.ends.len() >= MOST {
            self.ends.pop_front();
        }
        let before = self.next;
        self.ends.push_back(End { pid, exit, before });
    }

    /// The last end of a process with this number.
    pub(super) fn claim(&mut self, pid: u32) -> Option<Exit> {
        let at = self.ends.iter().rposition(|end| end.pid == pid)?;
        self.ends.remove(at).map(|end| end.exit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    fn exit(status: u32) -> Exit {
        Exit {
            status,
            at: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn an_end_is_kept_for_the_launches_it_came_in() {
        let mut early = EarlyExits::default();
        early.note(7, exit(1));
        assert_eq!(early.claim(7), None, "no launch could have made it");
        let first = early.begin();
        early.note(7, exit(1));
        early.note(7, exit(2));
        let second = early.begin();
        assert_eq!(early.claim(7), Some(exit(2)), "the last one counts");
        early.note(8, exit(3));
        early.end(first);
        assert_eq!(early.ends.len(), 1, "the second launch may claim only 8");
        assert_eq!(early.claim(8), Some(exit(3)));
        early.end(second);
    }

    #[test]
    fn launches_that_overlap_for_ever_keep_no_old_ends() {
        let mut early = EarlyExits::default();
        let mut last = early.begin();
        for pid in 0..10_000 {
            early.note(pid, exit(0));
            let next = early.begin();
            early.end(last);
            last = next;
        }
        assert!(early.ends.is_empty());
    }

    #[test]
    fn one_long_launch_keeps_a_bounded_number() {
        let mut early = EarlyExits::default();
        let launch = early.begin();
        for pid in 0..10_000 {
            early.note(pid, exit(0));
        }
        assert_eq!(early.ends.len(), MOST);
        assert_eq!(early.claim(9_999), Some(exit(0)));
        early.end(launch);
        assert!(early.ends.is_empty());
    }
}
