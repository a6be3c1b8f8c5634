//! How many connections a process holds at once, and who has a place.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus::IntGauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::Counters;

/// How many connections may be told at the same time that there is no place for them.
const REFUSALS: usize = 64;

/// The places of a process; shared by clones.
#[derive(Clone)]
pub struct Capacity {
    places: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    counters: Counters,
}

/// What a new connection gets.
pub(super) enum Admitted {
    /// A place.
    Place(ConnectionGuard),
    /// Room enough to be told that there is no place.
    Refusal(ConnectionGuard),
    /// Nothing.
    Nothing,
}

impl Capacity {
    /// So many places.
    pub fn new(places: usize, counters: Counters) -> Self {
        Self {
            places: Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(REFUSALS)),
            counters,
        }
    }

    /// How many places are free.
    pub fn free(&self) -> usize {
        self.places.available_permits()
    }

    pub(super) const fn counters(&self) -> &Counters {
        &self.counters
    }

    pub(super) fn admit(&self) -> Admitted {
        if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
            let gauge = self.counters.accepted();
            return Admitted::Place(ConnectionGuard::new(place, Some(gauge)));
        }
        if let Ok(place) = Arc::clone(&self.refusals).try_acquire_owned() {
            self.counters.refused();
            return Admitted::Refusal(ConnectionGuard::new(place, None));
        }
        self.counters.dropped();
        Admitted::Nothing
    }
}

/// The place of one connection, in the extensions of each of its requests. It is free again when the last clone is
/// gone: whoever takes over an upgraded connection keeps a clone for as long as the connection lives.
#[derive(Clone)]
pub struct ConnectionGuard(Arc<Place>);

struct Place {
    _permit: OwnedSemaphorePermit,
    /// Absent for a refusal, which is not counted among the connections.
    gauge: Option<IntGauge>,
    /// Whether a complete head of a request has arrived.
    asked: AtomicBool,
}

impl ConnectionGuard {
    fn new(permit: OwnedSemaphorePermit, gauge: Option<IntGauge>) -> Self {
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        Self(Arc::new(Place { _permit: permit, gauge, asked: AtomicBool::new(false) }))
    }

    pub(super) fn set_asked(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    pub(super) fn has_asked(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for ConnectionGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ConnectionGuard")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}
