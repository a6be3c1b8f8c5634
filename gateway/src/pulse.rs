//! The node's one clock for its connections: heartbeats, deadlines, the drain.
//!
//! A timer for each connection would cost memory and wake-ups; here one task walks a slice of all connections each
//! second. Deadlines are therefore kept to within [`LOOK`] seconds, which is fine for those that a connection has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use proto::Close;
use tokio::time;

use crate::peer::{Peer, Signal};

/// How often a client is pinged, in seconds.
pub(crate) const HEARTBEAT: u32 = 25;

/// Who was silent for so long, when the next ping is due, is dead: one ping and its answer are missing. A peer that
/// vanished is thus gone within two heartbeats.
const SILENT: u32 = 45;

/// How often a connection's deadline is looked at, in seconds; divides [`HEARTBEAT`].
const LOOK: u32 = 5;

/// See the module's documentation.
pub(crate) struct Pulse {
    start: Instant,
    /// All connections, in as many slices as a heartbeat has seconds.
    slices: Vec<Mutex<Vec<Weak<Peer>>>>,
    numbers: AtomicUsize,
}

impl Pulse {
    pub(crate) fn new() -> Self {
        Self {
            start: Instant::now(),
            slices: (0..HEARTBEAT).map(|_| Mutex::default()).collect(),
            numbers: AtomicUsize::new(0),
        }
    }

    /// The second in which we are, on the node's own count.
    pub(crate) fn second(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// The number of the next connection.
    pub(crate) fn number(&self) -> usize {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Takes care of a connection until it is dropped.
    pub(crate) fn watch(&self, peer: &Arc<Peer>) {
        if let Some(slice) = self.slices.get(peer.number % self.slices.len()) {
            slice.lock().push(Arc::downgrade(peer));
        }
    }

    /// Beats until the task is dropped; `each_second` is done as well.
    pub(crate) async fn beat(&self, mut each_second: impl FnMut()) {
        let mut ticks = time::interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(time::MissedTickBehavior::Skip);
        let mut last = self.second();
        loop {
            ticks.tick().await;
            let second = self.second();
            // A stalled node makes up for the seconds that it missed, each slice once.
            for missed in last.saturating_add(1).max(second.saturating_sub(HEARTBEAT - 1))..=second {
                self.visit(missed, second);
            }
            last = second;
            each_second();
        }
    }

    fn visit(&self, turn: u32, now: u32) {
        for (index, slice) in (0..).zip(&self.slices) {
            if index % LOOK == turn % LOOK {
                let pings = index == turn % HEARTBEAT;
                slice.lock().retain(|peer| match peer.upgrade() {
                    Some(peer) => {
                        look_after(&peer, now, pings);
                        true
                    }
                    None => false,
                });
            }
        }
    }

    /// Tells all connections to go, spread evenly over `window`, each with advice to come back within `advice`, and
    /// returns when none is left, or some time after the window.
    pub(crate) async fn drain(&self, window: Duration, advice: Duration) {
        let mut peers: Vec<Weak<Peer>> = Vec::new();
        for slice in &self.slices {
            peers.extend(slice.lock().iter().cloned());
        }
        // Slices hold neighbours in time, and so does the list: in a random order neither a slice nor an age goes first.
        for at in (1..peers.len()).rev() {
            peers.swap(at, rand::random_range(0..=at));
        }
        let began = Instant::now();
        let count = peers.len().max(1);
        for (index, peer) in (0_u32..).zip(&peers) {
            let due = window.mul_f64(f64::from(index) / count as f64);
            if let Some(wait) = due.checked_sub(began.elapsed()).filter(|wait| wait.as_millis() > 0) {
                time::sleep(wait).await;
            }
            if let Some(peer) = peer.upgrade() {
                peer.signal(Signal::Drain { reconnect_after: advice.mul_f64(rand::random_range(0.0..1.0)) });
            }
        }
        let last = Instant::now() + Duration::from_secs(3);
        while self.slices.iter().any(|slice| slice.lock().iter().any(|peer| peer.strong_count() > 0))
            && Instant::now() < last
        {
            time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn look_after(peer: &Arc<Peer>, now: u32, pings: bool) {
    if pings && peer.is_pinged() {
        if now.saturating_sub(peer.last_heard()) >= SILENT {
            peer.signal(Signal::Close(Close::Timeout));
        } else {
            peer.ping();
        }
    }
    if peer.deadline() <= now {
        peer.call();
    }
}
