//! Spares publishers the wait for a Redis that is known to be away: a value without I/O.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::commands::{BUDGET, View};

/// A failure that took less spares nobody anything.
const SLOW: Duration = Duration::from_millis(300);

/// Between the end of a trial and the next one.
const RESPITE: Duration = Duration::from_millis(100);

/// How long a trial may be under way before another one begins: its caller may have gone.
const TRIAL: Duration = BUDGET.saturating_add(RESPITE);

/// The places where publishing failed, and when each is to be tried again. A place is a slot of a cluster, or 0 elsewhere, so there are
/// never more than slots.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    away: HashMap<u16, Instant>,
}

impl Breaker {
    /// Whether to publish: as ever while nothing failed, then one at a time.
    pub(super) fn admits(&mut self, place: u16, view: View, now: Instant) -> bool {
        match (view, self.away.get_mut(&place)) {
            (View::Up, _) => {
                self.away.remove(&place);
                true
            }
            (View::Unknown, None) => true,
            (View::Down, None) => {
                self.away.insert(place, now + TRIAL);
                true
            }
            (_, Some(next)) => {
                let due = *next <= now;
                if due {
                    *next = now + TRIAL;
                }
                due
            }
        }
    }

    /// Takes note of how a publish ended, and how long that took.
    pub(super) fn ended(&mut self, place: u16, succeeded: bool, took: Duration, now: Instant) {
        if succeeded || took < SLOW {
            self.away.remove(&place);
        } else {
            self.away.insert(place, now + RESPITE);
        }
    }

    /// Whether nothing failed anywhere.
    pub(super) fn is_closed(&self) -> bool {
        self.away.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn after_a_slow_failure_one_at_a_time_is_let_through() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.admits(7, View::Unknown, start));
        breaker.ended(7, false, ms(900), start);
        assert!(!breaker.admits(7, View::Unknown, start + ms(99)));
        assert!(breaker.admits(8, View::Unknown, start), "another place is not meant");
        assert!(breaker.admits(7, View::Unknown, start + ms(100)));
        assert!(!breaker.admits(7, View::Unknown, start + ms(101)), "while the trial is under way");
        breaker.ended(7, true, ms(900), start + ms(200));
        assert!(breaker.admits(7, View::Unknown, start + ms(200)) && breaker.is_closed());
    }

    #[test]
    fn a_trial_that_nobody_ends_is_followed_by_another() {
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.admits(0, View::Down, start));
        assert!(!breaker.admits(0, View::Down, start + TRIAL - ms(1)));
        assert!(breaker.admits(0, View::Down, start + TRIAL));
    }

    #[test]
    fn what_fails_at_once_keeps_nobody_out() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.ended(0, false, ms(1), now);
        assert!(breaker.is_closed());
    }

    #[test]
    fn who_hears_that_it_is_back_lets_everybody_through() {
        let (mut breaker, now) = (Breaker::default(), Instant::now());
        breaker.ended(0, false, ms(900), now);
        assert!(breaker.admits(0, View::Up, now) && breaker.is_closed());
    }
}
