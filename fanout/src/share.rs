//! How many of the places in flight one caller may hold: a flood of one leaves some for the others.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::caller::Caller;
use crate::refusal::Refusal;

/// The places that each caller holds.
pub(crate) struct Shares {
    /// How many one may hold.
    most: usize,
    /// Those of callers that hold any.
    held: Mutex<HashMap<String, usize>>,
}

/// A caller with a place, which is free again when this is dropped.
pub(crate) struct Share<'a> {
    shares: &'a Shares,
    caller: Arc<Caller>,
}

impl Shares {
    /// Three quarters of so many places for each caller.
    pub(crate) fn of(places: usize) -> Self {
        Self { most: places - places / 4, held: Mutex::default() }
    }

    /// Gives a caller a place that is free, unless it holds too many.
    pub(crate) fn take(&self, caller: Arc<Caller>) -> Result<Share<'_>, Refusal> {
        let mut held = self.held.lock();
        match held.get_mut(&caller.publisher) {
            Some(count) if *count >= self.most => return Err(Refusal::Busy),
            Some(count) => *count += 1,
            None => drop(held.insert(caller.publisher.clone(), 1)),
        }
        drop(held);
        Ok(Share { shares: self, caller })
    }
}

impl Deref for Share<'_> {
    type Target = Caller;

    fn deref(&self) -> &Caller {
        &self.caller
    }
}

impl Drop for Share<'_> {
    fn drop(&mut self) {
        let mut held = self.shares.held.lock();
        if let Some(count) = held.get_mut(&self.caller.publisher) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.caller.publisher);
            }
        }
    }
}
