//! A key set that is fetched again and again: on a schedule, and when a token names a key that is not in it.
//!
//! One task ([`KeySource::run`]) does all fetching, so there is never more than one at a time, and nobody's lost
//! connection ends it half-way. Whoever needs a new key asks and waits for the end of the round. When the source
//! fails, the keys that were last fetched stay.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::fetch::{FetchError, LONGEST_FETCH, Place};
use super::key::Keys;
use super::schedule::Schedule;

/// How long someone who asked waits: a whole fetch and a moment.
const LONGEST_WAIT: Duration = LONGEST_FETCH.saturating_add(Duration::from_secs(1));

/// A key set and where it comes from.
pub(super) struct KeySource {
    place: Place,
    current: ArcSwap<Fetched>,
    schedule: Mutex<Schedule>,
    /// Wakes the task when the schedule has changed.
    asked: Notify,
    /// Counts the rounds that are over.
    rounds: watch::Sender<u64>,
}

/// What is known of the set.
#[derive(Debug, Default)]
pub(super) struct Fetched {
    /// The keys that were last fetched; empty before the first time.
    pub(super) keys: Keys,
    /// When.
    pub(super) at: Option<Instant>,
    /// Whether the last attempt failed.
    pub(super) failed: bool,
}

impl KeySource {
    /// A source that has not been fetched.
    pub(super) fn new(place: Place, schedule: Schedule) -> Self {
        Self {
            place,
            current: ArcSwap::default(),
            schedule: Mutex::new(schedule),
            asked: Notify::new(),
            rounds: watch::Sender::new(0),
        }
    }

    /// The same source, with keys that were just read from it.
    pub(super) fn with_keys(self, keys: Keys) -> Self {
        self.current.store(Arc::new(Fetched { keys, at: Some(Instant::now()), failed: false }));
        self
    }

    /// The keys as of now.
    pub(super) fn current(&self) -> Arc<Fetched> {
        self.current.load_full()
    }

    /// How often it was fetched, or tried to be.
    pub(super) fn generation(&self) -> u64 {
        *self.rounds.borrow()
    }

    /// Fetches until `stop`.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        // A run that was dropped in the middle of a fetch must not keep this one from beginning.
        loop {
            let due = self.schedule.lock().due().unwrap_or_else(Instant::now);
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.asked.notified() => continue,
                () = sleep_until(due) => {}
            }
            self.schedule.lock().start(Instant::now());
            let outcome = tokio::select! {
                () = stop.cancelled() => return,
                outcome = self.place.fetch() => outcome,
            };
            self.finish(outcome);
        }
    }

    /// Asks for a fetch and waits until it is over. `false` at once if the last one is too recent, and after a while if
    /// nobody runs this source.
    pub(super) async fn refreshed(&self) -> bool {
        let mut rounds = self.rounds.subscribe();
        if !self.schedule.lock().ask(Instant::now()) {
            return false;
        }
        self.asked.notify_one();
        matches!(timeout(LONGEST_WAIT, rounds.changed()).await, Ok(Ok(())))
    }

    fn finish(&self, outcome: Result<Keys, FetchError>) {
        let succeeded = outcome.is_ok();
        let before = self.current.load();
        let after = match outcome {
            Ok(keys) => {
                tracing::debug!(place = %self.place, keys = keys.len(), "fetched the keys that check tokens");
                Fetched { keys, at: Some(Instant::now()), failed: false }
            }
            Err(error) => {
                tracing::warn!(place = %self.place, %error, kept = before.keys.len(), "cannot fetch the keys that check tokens");
                Fetched { keys: before.keys.clone(), at: before.at, failed: true }
            }
        };
        self.current.store(Arc::new(after));
        self.schedule.lock().finish(Instant::now(), succeeded, rand::random());
        self.rounds.send_modify(|rounds| *rounds = rounds.wrapping_add(1));
    }
}

impl fmt::Debug for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeySource")
            .field("place", &self.place.to_string())
            .field("current", &self.current.load())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
