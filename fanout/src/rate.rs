//! How much one caller may ask for in a second.

use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};

/// How often those are forgotten who have asked for nothing in a while, counted in calls.
const FORGET_EVERY: u32 = 1024;

/// What each caller of this process may ask for.
pub(crate) struct Rates {
    limiter: Option<RateLimiter<String, HashMapStateStore<String>, DefaultClock>>,
    calls: AtomicU32,
}

/// A caller asks for too much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooFast {
    /// After this time the same would be granted.
    pub(crate) wait: Duration,
}

impl Rates {
    /// Grants each caller so much a second, what was not used of two seconds at once, and never less than `at_once`
    /// after a pause. A rate of 0 limits nothing.
    pub(crate) fn new(rate: u32, at_once: u32) -> Self {
        let burst = NonZeroU32::new(rate.saturating_mul(2).max(at_once)).unwrap_or(NonZeroU32::MIN);
        let quota = NonZeroU32::new(rate).map(|rate| Quota::per_second(rate).allow_burst(burst));
        Self { limiter: quota.map(RateLimiter::hashmap), calls: AtomicU32::new(0) }
    }

    /// Takes from what a caller is granted: all of it, or nothing. No more than what is granted at once may be asked for.
    pub(crate) fn take(&self, caller: &str, count: usize) -> Result<(), TooFast> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        let Some(count) = u32::try_from(count).ok().and_then(NonZeroU32::new) else { return Ok(()) };
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(FORGET_EVERY) {
            limiter.retain_recent();
        }
        match limiter.check_key_n(&caller.to_owned(), count) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(not_yet)) => Err(TooFast { wait: not_yet.wait_time_from(DefaultClock::default().now()) }),
            // Never granted; nobody asks for so much.
            Err(_) => Err(TooFast { wait: Duration::from_secs(60) }),
        }
    }

    /// The same for whoever can be made to wait.
    pub(crate) async fn await_turn(&self, caller: &str, count: usize) {
        while let Err(TooFast { wait }) = self.take(caller, count) {
            tokio::time::sleep(wait.max(Duration::from_millis(1))).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_caller_has_two_seconds_worth_and_is_told_when_to_come_again() {
        let rates = Rates::new(1, 1);
        let granted = |caller| (0..10).filter(|_| rates.take(caller, 1).is_ok()).count();
        assert_eq!((granted("a"), granted("b")), (2, 2));
        let wait = rates.take("a", 1).unwrap_err().wait;
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        let wait = rates.take("a", 2).unwrap_err().wait;
        assert!(wait > Duration::from_millis(500) && wait <= Duration::from_secs(2), "{wait:?}");
    }

    #[test]
    fn a_slow_rate_grants_a_whole_batch_after_a_pause_and_none_grants_everything() {
        assert!(Rates::new(1, 1000).take("a", 1000).is_ok());
        let none = Rates::new(0, 1);
        assert!((0..100).all(|_| none.take("a", 1000).is_ok()));
    }

    #[tokio::test]
    async fn who_waits_gets_a_turn() {
        let rates = Rates::new(50, 1);
        assert!(rates.take("a", 100).is_ok());
        assert!(rates.take("a", 1).is_err());
        rates.await_turn("a", 1).await;
    }
}
