//! Writes to the sockets of those that were given something.
//!
//! A few sockets are written to at once, by the thread that handed out the frames: to wake another costs more than that.
//! For more of them a few tasks do it, each for its share of the connections, after the tasks that were ready before
//! them have run. So frames that arrive together leave in one write, and the more there is to do, the more are joined.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::task;

use crate::peer::Peer;

/// After how many sockets a task lets others run.
const TURN: usize = 256;

/// How many sockets are written to without waking a task.
const FEW: usize = 8;

/// See the module's documentation.
pub(crate) struct Flusher {
    lanes: Box<[Lane]>,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Vec<Arc<Peer>>>,
    wake: Notify,
}

impl Flusher {
    /// With so many lanes, for which [`run`](Self::run) has to be run each.
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes.max(1)).map(|_| Lane::default()).collect() }
    }

    pub(crate) const fn lanes(&self) -> usize {
        self.lanes.len()
    }

    /// Adds a peer that was given something.
    pub(crate) fn add(&self, peer: &Arc<Peer>) {
        if peer.mark_dirty()
            && let Some(lane) = self.lanes.get(peer.number % self.lanes.len())
        {
            lane.waiting.lock().push(Arc::clone(peer));
        }
    }

    /// Has everything written that was given so far.
    pub(crate) fn flush(&self) {
        let waiting: usize = self.lanes.iter().map(|lane| lane.waiting.lock().len()).sum();
        for lane in &self.lanes {
            if waiting <= FEW {
                let peers = std::mem::take(&mut *lane.waiting.lock());
                peers.iter().for_each(|peer| peer.flush());
            } else if !lane.waiting.lock().is_empty() {
                lane.wake.notify_one();
            }
        }
    }

    /// Writes for one lane, until the task is dropped.
    pub(crate) async fn run(&self, lane: usize) {
        let Some(lane) = self.lanes.get(lane) else { return };
        let mut peers = Vec::new();
        loop {
            lane.wake.notified().await;
            // A woken task runs next, but others that are ready may have more to give to the same sockets.
            task::yield_now().await;
            std::mem::swap(&mut peers, &mut *lane.waiting.lock());
            for (index, peer) in peers.drain(..).enumerate() {
                if index % TURN == TURN - 1 {
                    task::yield_now().await;
                }
                peer.flush();
            }
        }
    }
}
