//! How old a webhook may be.

use std::time::Duration;

use super::Rejection;

/// How far the time of a webhook may be from ours, in either direction, in whole seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tolerance(u64);

impl Tolerance {
    /// Whole seconds, rounded down. `None` for less than a second, which no webhook would meet.
    pub const fn new(tolerance: Duration) -> Option<Self> {
        match tolerance.as_secs() {
            0 => None,
            seconds => Some(Self(seconds)),
        }
    }

    /// For how long a webhook can be fresh: from as early to as late as is taken.
    pub const fn span(self) -> Duration {
        Duration::from_secs(self.0.saturating_mul(2))
    }

    /// Checks a time against `now`, both in seconds since 1970.
    pub(super) const fn check(self, made: u64, now: u64) -> Result<(), Rejection> {
        if now.saturating_sub(made) > self.0 {
            Err(Rejection::Stale)
        } else if made.saturating_sub(now) > self.0 {
            Err(Rejection::Early)
        } else {
            Ok(())
        }
    }
}

impl Default for Tolerance {
    /// Five minutes: what Telnyx, Stripe and Standard Webhooks use in their own libraries.
    fn default() -> Self {
        Self(300)
    }
}

/// Reads seconds since 1970. Digits alone: a sign, a fraction or a space is no time.
pub(super) fn seconds(text: &str) -> Option<u64> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_good_up_to_the_tolerance_on_both_sides() {
        let at = |made| Tolerance::default().check(made, 1_000);
        assert_eq!([at(700), at(1_000), at(1_300)], [Ok(()), Ok(()), Ok(())]);
        assert_eq!((at(699), at(1_301)), (Err(Rejection::Stale), Err(Rejection::Early)));
        assert_eq!((at(0), at(u64::MAX)), (Err(Rejection::Stale), Err(Rejection::Early)));
    }

    #[test]
    fn only_digits_are_a_time() {
        assert_eq!(seconds("1614265330"), Some(1_614_265_330));
        for text in ["", "-1", "+1", "1.5", "1e3", " 1", "NaN", "١", "99999999999999999999"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn no_tolerance_is_none() {
        assert_eq!(Tolerance::new(Duration::from_millis(999)), None);
        assert_eq!(Tolerance::new(Duration::from_secs(300)), Some(Tolerance::default()));
    }
}
