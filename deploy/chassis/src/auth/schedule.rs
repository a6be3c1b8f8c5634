//! When to fetch a key set: regularly, sooner after a failure, and when a token asks for it, but not whenever one
//! does. Pure: the time and the chance are arguments.

use std::time::Duration;

use tokio::time::Instant;

/// The shortest time from one fetch to one that a token asked for. Anyone can invent a key's id; this is what that
/// costs the identity provider.
pub(super) const ASKED_AT_MOST_EVERY: Duration = Duration::from_secs(10);

/// How long to wait after a first failure; each further one doubles it, up to the regular interval.
const FIRST_RETRY: Duration = Duration::from_secs(5);

/// The times of one source. There is never more than one fetch.
#[derive(Debug)]
pub(super) struct Schedule {
    every: Duration,
    asked_at_most_every: Duration,
    state: State,
    last_start: Option<Instant>,
    failures: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The next fetch begins then.
    Due(Instant),
    /// One is under way.
    Running,
}

impl Schedule {
    /// A source that is fetched for the first time at `first`.
    pub(super) const fn new(every: Duration, asked_at_most_every: Duration, first: Instant) -> Self {
        Self { every, asked_at_most_every, state: State::Due(first), last_start: None, failures: 0 }
    }

    /// When to begin; `None` while a fetch is under way.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.state {
            State::Due(at) => Some(at),
            State::Running => None,
        }
    }

    /// Someone needs a key that is not there. Says whether it is worth waiting: whether a fetch is under way or is now
    /// due.
    pub(super) fn ask(&mut self, now: Instant) -> bool {
        match (self.state, self.last_start) {
            (State::Running, _) => true,
            (State::Due(at), _) if at <= now => true,
            (State::Due(_), Some(last)) if now < last + self.asked_at_most_every => false,
            (State::Due(_), _) => {
                self.state = State::Due(now);
                true
            }
        }
    }

    /// A fetch begins.
    pub(super) const fn start(&mut self, now: Instant) {
        self.state = State::Running;
        self.last_start = Some(now);
    }

    /// It is over. `chance`, from 0 to 1, spreads the nodes of a cluster: a regular interval varies by a tenth to
    /// either side, a retry by half of its time.
    pub(super) fn finish(&mut self, now: Instant, succeeded: bool, chance: f64) {
        let wait = if succeeded {
            self.failures = 0;
            self.every.mul_f64(0.9 + 0.2 * chance)
        } else {
            let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(16));
            self.failures = self.failures.saturating_add(1);
            doubled.min(self.every).mul_f64(0.5 + 0.5 * chance)
        };
        self.state = State::Due(now + wait);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVERY: Duration = Duration::from_secs(600);
    const FLOOR: Duration = Duration::from_secs(10);

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn a_source_is_fetched_regularly_with_some_spread() {
        let now = Instant::now();
        let mut schedule = Schedule::new(EVERY, FLOOR, now);
        assert_eq!(schedule.due(), Some(now));
        for (chance, wait) in [(0.0, 540.0), (0.5, 600.0), (1.0, 660.0)] {
            schedule.start(now);
            assert_eq!(schedule.due(), None);
            schedule.finish(now, true, chance);
            assert_eq!(schedule.due(), Some(now + seconds(wait)));
        }
    }

    #[test]
    fn a_failure_is_retried_sooner_but_ever_more_slowly() {
        let now = Instant::now();
        let mut schedule = Schedule::new(EVERY, FLOOR, now);
        let mut fail = |chance| {
            schedule.start(now);
            schedule.finish(now, false, chance);
            schedule.due().unwrap() - now
        };
        for wait in [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 600.0, 600.0] {
            assert_eq!(fail(1.0), seconds(wait));
        }
        assert_eq!(fail(0.0), seconds(300.0));
        for _ in 0..100 {
            assert_eq!(fail(1.0), EVERY);
        }
        schedule.start(now);
        schedule.finish(now, true, 0.5);
        schedule.start(now);
        schedule.finish(now, false, 1.0);
        assert_eq!(schedule.due(), Some(now + FIRST_RETRY));
    }

    #[test]
    fn asking_brings_a_fetch_forward_but_not_too_often() {
        let now = Instant::now();
        let mut schedule = Schedule::new(EVERY, FLOOR, now + EVERY);
        assert!(schedule.ask(now));
        assert_eq!(schedule.due(), Some(now));
        assert!(schedule.ask(now), "it is due, but has not begun");
        schedule.start(now);
        assert!(schedule.ask(now), "it is under way");
        schedule.finish(now + seconds(1.0), true, 0.5);
        let regular = schedule.due();
        assert!(!schedule.ask(now + seconds(9.9)));
        assert_eq!(schedule.due(), regular);
        assert!(schedule.ask(now + FLOOR));
        assert_eq!(schedule.due(), Some(now + FLOOR));
    }
}
