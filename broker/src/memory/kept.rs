//! What nodes keep for each other.

use std::collections::HashMap;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::KeptKey;

/// Below so many nobody looks for those whose time is over.
const FEW: usize = 64;

/// What is kept, with the end of its life. Its memory is at most about twice what is alive.
#[derive(Default)]
pub(super) struct Kept(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    things: HashMap<KeptKey, (Bytes, Instant)>,
    /// How many there may be before those whose time is over are removed.
    most: usize,
}

impl Kept {
    pub(super) fn keep(&self, key: &KeptKey, value: Bytes, life: Duration) {
        let (mut shelf, now) = (self.0.lock(), Instant::now());
        if shelf.things.len() >= shelf.most.max(FEW) {
            shelf.things.retain(|_, (_, end)| *end > now);
            shelf.most = 2 * shelf.things.len();
        }
        shelf.things.insert(key.clone(), (value, now + life));
    }

    pub(super) fn get(&self, key: &KeptKey) -> Option<Bytes> {
        let shelf = self.0.lock();
        let (value, end) = shelf.things.get(key)?;
        (*end > Instant::now()).then(|| value.clone())
    }

    /// Whether it is there.
    pub(super) fn prolong(&self, key: &KeptKey, life: Duration) -> bool {
        let (mut shelf, now) = (self.0.lock(), Instant::now());
        match shelf.things.get_mut(key) {
            Some((_, end)) if *end > now => {
                *end = now + life;
                true
            }
            _ => false,
        }
    }

    pub(super) fn discard(&self, key: &KeptKey) {
        self.0.lock().things.remove(key);
    }
}
