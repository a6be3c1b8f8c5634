//! How many requests a client may send, and a user with all clients.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use parking_lot::Mutex;
use proto::{Channel, Timestamp};

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

/// What the users of this node may send, for those with sessions that sent something.
#[derive(Debug, Default)]
pub(crate) struct Rates(Mutex<HashMap<Channel, Weak<SharedRate>>>);

/// What one user may send with all sessions on this node.
#[derive(Debug)]
pub(crate) struct SharedRate {
    rates: Arc<Rates>,
    /// The user's own channel.
    user: Channel,
    bucket: Mutex<Bucket>,
}

impl Rates {
    /// What the user with this channel may send; full if nobody else has it.
    pub(crate) fn of(self: &Arc<Self>, user: &Channel, rate: u32, now: Timestamp) -> Arc<SharedRate> {
        let mut all = self.0.lock();
        if let Some(shared) = all.get(user).and_then(Weak::upgrade) {
            return shared;
        }
        let bucket = Mutex::new(Bucket::new(rate, now));
        let shared = Arc::new(SharedRate { rates: Arc::clone(self), user: user.clone(), bucket });
        all.insert(user.clone(), Arc::downgrade(&shared));
        shared
    }
}

impl SharedRate {
    /// Takes one request out, if there is one.
    pub(crate) fn take(&self, rate: u32, now: Timestamp) -> bool {
        self.bucket.lock().take(rate, now)
    }
}

impl Drop for SharedRate {
    fn drop(&mut self) {
        let mut all = self.rates.0.lock();
        // Somebody may have come anew in between.
        if all.get(&self.user).is_some_and(|shared| shared.strong_count() == 0) {
            all.remove(&self.user);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::{Tenant, UserId};

    use super::*;

    #[test]
    fn sessions_of_a_user_share_what_the_user_may_send() {
        let user = |name| Channel::user(&Tenant::new("t").unwrap(), &UserId::new(name).unwrap());
        let rates = Arc::new(Rates::default());
        let (one, other) = (rates.of(&user("ann"), 2, Timestamp(0)), rates.of(&user("ann"), 2, Timestamp(0)));
        let taken =
            (0..10).filter(|at| if at % 2 == 0 { &one } else { &other }.take(2, Timestamp(0))).count();
        assert_eq!(taken, 4);
        assert!(rates.of(&user("bob"), 2, Timestamp(0)).take(2, Timestamp(0)));
        assert!(!rates.of(&user("ann"), 2, Timestamp(0)).take(2, Timestamp(0)));
        drop((one, other));
        assert!(rates.0.lock().is_empty());
    }

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
