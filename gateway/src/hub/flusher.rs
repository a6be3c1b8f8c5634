//! Writes to the sockets of those that were given something.
//!
//! A few sockets are written to at once, by the thread that handed out the frames: to wake another costs more than that.
//! For more of them a few tasks do it, each for its share of the connections, after the tasks that were ready before
//! them have run. So frames that arrive together leave in one write, and the more there is to do, the more are joined.
//!
//! News of who comes and goes may wait a moment: where many come at once, each would else cost everybody in the room a
//! write of its own.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::{task, time};

use crate::peer::Peer;

/// After how many sockets a task lets others run.
const TURN: usize = 256;

/// How many sockets are written to without waking a task.
const FEW: usize = 8;

/// How long what may wait does.
const MOMENT: Duration = Duration::from_millis(50);

/// See the module's documentation.
pub(crate) struct Flusher {
    lanes: Box<[Lane]>,
    /// Those that were given what may wait.
    later: Lane,
}

#[derive(Default)]
struct Lane {
    waiting: Mutex<Vec<Arc<Peer>>>,
    wake: Notify,
}

impl Flusher {
    /// With so many lanes, for which [`run`](Self::run) has to be run each.
    pub(crate) fn new(lanes: usize) -> Self {
        Self { lanes: (0..lanes.max(1)).map(|_| Lane::default()).collect(), later: Lane::default() }
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

    /// Adds a peer that was given something that may wait. It leaves with what comes meanwhile, or else by itself.
    pub(crate) fn add_later(&self, peer: &Arc<Peer>) {
        if peer.mark_later() {
            self.later.waiting.lock().push(Arc::clone(peer));
            self.later.wake.notify_one();
        }
    }

    /// Has everything written that was given so far, but for what may wait.
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
            in_turns(peers.drain(..), Peer::flush).await;
        }
    }

    /// Writes what may wait, until the task is dropped.
    pub(crate) async fn run_later(&self) {
        loop {
            self.later.wake.notified().await;
            time::sleep(MOMENT).await;
            let peers = std::mem::take(&mut *self.later.waiting.lock());
            in_turns(peers.into_iter(), Peer::flush_later).await;
        }
    }
}

/// Writes to many, letting other tasks run now and then.
async fn in_turns(peers: impl Iterator<Item = Arc<Peer>>, write: impl Fn(&Peer)) {
    for (index, peer) in peers.enumerate() {
        if index % TURN == TURN - 1 {
            task::yield_now().await;
        }
        write(&peer);
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::io::AsyncReadExt;
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::endpoint::EndpointId;
    use crate::wire::outbound::Outbound;

    #[tokio::test]
    async fn what_may_wait_leaves_together_or_with_what_may_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let outbound = Outbound::new(Arc::new(listener.accept().await.unwrap().0), 1024);
        let peer = Arc::new(Peer::new(0, EndpointId(0), outbound, 0));
        let flusher = Flusher::new(1);
        let later = |text: &'static str| {
            peer.offer(Bytes::from_static(text.as_bytes()));
            flusher.add_later(&peer);
        };
        later("a");
        later("b");
        flusher.flush();
        assert_eq!(peer.outbound.waiting(), 2);
        peer.offer(Bytes::from_static(b"c"));
        flusher.add(&peer);
        flusher.flush();
        assert_eq!(peer.outbound.waiting(), 0);
        later("d");
        let mut read = [0; 4];
        tokio::select! {
            () = flusher.run_later() => {}
            result = client.read_exact(&mut read) => assert_eq!((result.unwrap(), &read), (4, b"abcd")),
        }
        // It may be added anew.
        assert!(peer.mark_later());
    }
}
