//! Spares an application that does not answer, and those who would wait for it.

use std::time::{Duration, Instant};

/// As many failures in a row are no accident.
const FAILURES: u32 = 5;

/// How long nobody asks after that, before one call tries again.
const REST: Duration = Duration::from_secs(10);

/// A circuit breaker: a value that is told what happens, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Calls go through.
    Closed {
        /// Failures since the last success.
        failures: u32,
    },
    /// Calls are skipped, until one tries at this time.
    Open {
        /// When that is.
        until: Instant,
    },
}

impl Breaker {
    /// One that lets calls through.
    pub(crate) const fn new() -> Self {
        Self::Closed { failures: 0 }
    }

    /// Whether a call may go out now. While it is open, this is so for one call in each rest: what becomes of it decides.
    pub(crate) fn admit(&mut self, now: Instant) -> bool {
        match self {
            Self::Closed { .. } => true,
            Self::Open { until } if now < *until => false,
            // A trial that is never heard of again is followed by another.
            Self::Open { until } => {
                *until = now + REST;
                true
            }
        }
    }

    /// Takes note of how a call ended.
    pub(crate) fn record(&mut self, good: bool, now: Instant) {
        *self = match (good, *self) {
            (true, _) => Self::new(),
            (false, Self::Closed { failures }) if failures + 1 < FAILURES => {
                Self::Closed { failures: failures + 1 }
            }
            (false, Self::Closed { .. } | Self::Open { .. }) => Self::Open { until: now + REST },
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_one_success() {
        let start = Instant::now();
        let mut breaker = Breaker::new();
        for _ in 0..4 {
            breaker.record(false, start);
        }
        breaker.record(true, start);
        for _ in 0..4 {
            breaker.record(false, start);
            assert!(breaker.admit(start));
        }
        breaker.record(false, start);
        assert!(!breaker.admit(start) && !breaker.admit(start + REST / 2));

        assert!(breaker.admit(start + REST));
        assert!(!breaker.admit(start + REST), "only one tries");
        breaker.record(false, start + REST);
        assert!(!breaker.admit(start + REST + REST / 2));
        assert!(breaker.admit(start + REST * 2));
        breaker.record(true, start + REST * 2);
        assert!(breaker.admit(start + REST * 2) && breaker.admit(start + REST * 2));
    }

    #[test]
    fn a_trial_that_is_never_heard_of_is_followed_by_another() {
        let start = Instant::now();
        let mut breaker = Breaker::Open { until: start };
        assert!(breaker.admit(start) && !breaker.admit(start + REST / 2) && breaker.admit(start + REST));
    }
}
