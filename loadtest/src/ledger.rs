//! What the receivers of a run got, all together, and what is still to come.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use anyhow::{Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::checker::{Checker, Tally};
use crate::payload::{Clock, Finder, Mark};

/// Shared by the receivers of a run, each of which has its number in it.
pub struct Ledger {
    clock: Clock,
    latency: RefCell<Histogram<u64>>,
    finder: RefCell<Finder>,
    arrived: Cell<u64>,
    awaited: Cell<u64>,
    complete: Notify,
    checkers: RefCell<Vec<Checker>>,
    broken: RefCell<Option<String>>,
}

impl Ledger {
    /// Expects of each receiver what its checker does.
    ///
    /// # Errors
    /// Never: the bounds of the histogram are fixed.
    pub fn new(clock: Clock, checkers: Vec<Checker>) -> Result<Self> {
        Ok(Self {
            clock,
            // One microsecond to one minute, three digits.
            latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
            finder: RefCell::default(),
            arrived: Cell::default(),
            awaited: Cell::new(u64::MAX),
            complete: Notify::new(),
            checkers: RefCell::new(checkers),
            broken: RefCell::default(),
        })
    }

    /// Enters a text that a receiver got; `now` is read once for all texts of
    /// one read. `false` means that it was no publication.
    pub fn enter(&self, receiver: usize, text: &[u8], now: &mut Option<u64>) -> bool {
        let Some(Mark { seq, published }) = self.finder.borrow_mut().find(text) else {
            return false;
        };
        let now = *now.get_or_insert_with(|| self.clock.now());
        let mut checkers = self.checkers.borrow_mut();
        if checkers.get_mut(receiver).is_some_and(|checker| checker.saw(seq)) {
            let microseconds = now.saturating_sub(published) / 1000;
            self.latency.borrow_mut().saturating_record(microseconds);
            self.arrived.set(self.arrived.get() + 1);
            if self.arrived.get() == self.awaited.get() {
                self.complete.notify_one();
            }
        }
        true
    }

    /// A receiver cannot go on.
    pub fn fail(&self, reason: String) {
        *self.broken.borrow_mut() = Some(reason);
        self.complete.notify_one();
    }

    /// Waits until `total` messages have arrived since the beginning, all
    /// receivers together. `false` means that for as long as `patience` nothing
    /// came any more.
    ///
    /// # Errors
    /// A receiver failed.
    pub async fn wait_for(&self, total: u64, patience: Duration) -> Result<bool> {
        self.awaited.set(total);
        loop {
            if let Some(reason) = self.broken.borrow().as_ref() {
                bail!("a receiver failed: {reason}");
            }
            let before = self.arrived.get();
            if before >= total {
                return Ok(true);
            }
            let silent = timeout(patience, self.complete.notified()).await.is_err();
            if silent && self.arrived.get() == before {
                return Ok(false);
            }
        }
    }

    /// Forgets the latencies measured so far.
    pub fn forget_latency(&self) {
        self.latency.borrow_mut().reset();
    }

    /// The latency that `quantile` of all deliveries stayed within, milliseconds.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> f64 {
        let microseconds = self.latency.borrow().value_at_quantile(quantile);
        Duration::from_micros(microseconds).as_secs_f64() * 1e3
    }

    /// The verdict of all receivers, `published` messages having been given
    /// numbers in the run.
    ///
    /// # Errors
    /// A receiver failed.
    pub fn verdict(&self, published: u64) -> Result<Tally> {
        let broken = self.broken.borrow();
        ensure!(broken.is_none(), "a receiver failed: {}", broken.as_deref().unwrap_or_default());
        let mut sum = Tally::default();
        for checker in self.checkers.borrow().iter() {
            sum.add(checker.finish(published));
        }
        Ok(sum)
    }
}
