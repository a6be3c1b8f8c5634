//! Whether this node still takes connections.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Set once, when the node begins to shut down.
#[derive(Debug, Default)]
pub(crate) struct Drain(AtomicBool);

impl Drain {
    pub(crate) fn begin(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// While the node drains: after how long to come back, to another one. Spread, so that not all come together.
    pub(crate) fn refusal(&self) -> Option<Duration> {
        self.0.load(Ordering::Acquire).then(|| Duration::from_secs(rand::random_range(1..=3)))
    }
}
