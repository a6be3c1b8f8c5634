//! How many requests a client may send.

use proto::Timestamp;

/// A token bucket: holds what two seconds allow, and is refilled all the time.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bucket {
    /// Thousandths of a request.
    level: u64,
    filled: Timestamp,
}

impl Bucket {
    /// A full bucket; `rate` is in requests a second.
    pub(crate) const fn new(rate: u32, now: Timestamp) -> Self {
        Self { level: size(rate), filled: now }
    }

    /// Takes one request out, if there is one.
    pub(crate) fn take(&mut self, rate: u32, now: Timestamp) -> bool {
        // A thousandth of a request for each millisecond and request a second. A clock that is set back gives nothing.
        let gained = now.0.saturating_sub(self.filled.0).saturating_mul(u64::from(rate));
        self.level = self.level.saturating_add(gained).min(size(rate));
        self.filled = now;
        match self.level.checked_sub(1000) {
            Some(rest) => {
                self.level = rest;
                true
            }
            None => false,
        }
    }
}

const fn size(rate: u32) -> u64 {
    rate as u64 * 2000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_seconds_worth_at_once_then_the_rate() {
        let mut bucket = Bucket::new(5, Timestamp(0));
        let mut taken = |at| (0..100).filter(|_| bucket.take(5, Timestamp(at))).count();
        assert_eq!(taken(0), 10);
        assert_eq!(taken(199), 0);
        assert_eq!(taken(400), 2);
        assert_eq!(taken(100), 0, "a clock that goes back");
        assert_eq!(taken(60_000), 10);
    }
}
