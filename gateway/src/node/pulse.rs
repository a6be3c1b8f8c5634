//! The node's one clock for its connections: heartbeats, deadlines, the drain.
//!
//! A timer for each connection would cost memory and wake-ups; here one task walks a slice of all connections each
//! second. Deadlines and heartbeats are therefore kept to within [`LOOK`] seconds, which is fine for those that a
//! connection has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use chassis::auth::Revocations;
use parking_lot::Mutex;
use proto::{Close, Timestamp};
use tokio::time;

use crate::clock;
use crate::endpoint::{Endpoint, PerEndpoint, Pings, Protocol};
use crate::peer::{Peer, Signal};

/// How many slices there are.
const SLICES: u32 = 25;

/// How often a connection is looked at, in seconds; divides [`SLICES`].
pub(crate) const LOOK: u32 = 5;

/// See the module's documentation.
pub(crate) struct Pulse {
    start: Instant,
    /// What the clock said then.
    began: Timestamp,
    endpoints: Arc<[Endpoint]>,
    /// All connections. A slice is looked at when its number and the second are the same but for whole [`LOOK`]s.
    slices: Vec<Mutex<Vec<Weak<Peer>>>>,
    numbers: AtomicUsize,
    /// Those to be called when the second is over in which they asked for it.
    soon: Mutex<Vec<(u32, Weak<Peer>)>>,
}

impl Pulse {
    pub(crate) fn new(endpoints: Arc<[Endpoint]>) -> Self {
        Self {
            start: Instant::now(),
            began: clock::now(),
            endpoints,
            slices: (0..SLICES).map(|_| Mutex::default()).collect(),
            numbers: AtomicUsize::new(0),
            soon: Mutex::default(),
        }
    }

    /// The second in which we are, on the node's own count.
    pub(crate) fn second(&self) -> u32 {
        u32::try_from(self.start.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// When a second of that count was; always the same time.
    pub(crate) fn time_of(&self, second: u32) -> Timestamp {
        Timestamp(self.began.0.saturating_add(u64::from(second) * 1000))
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

    /// Calls a connection when this second is over.
    pub(crate) fn call_soon(&self, peer: &Arc<Peer>) {
        self.soon.lock().push((self.second(), Arc::downgrade(peer)));
    }

    /// Ends the connections whose tokens were revoked.
    pub(crate) fn heed(&self, revocations: &Revocations) {
        for slice in &self.slices {
            slice.lock().iter().filter_map(Weak::upgrade).for_each(|peer| peer.heed(revocations));
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
            for missed in last.saturating_add(1).max(second.saturating_sub(SLICES - 1))..=second {
                self.visit(missed, second);
            }
            last = second;
            let due: Vec<_> = self.soon.lock().extract_if(.., |(asked, _)| *asked < second).collect();
            due.iter().filter_map(|(_, peer)| peer.upgrade()).for_each(|peer| peer.call());
            each_second();
        }
    }

    fn visit(&self, turn: u32, now: u32) {
        let mut pings = PerEndpoint::new(&self.endpoints);
        for (index, slice) in (0..).zip(&self.slices) {
            if index % LOOK == turn % LOOK {
                slice.lock().retain(|peer| match peer.upgrade() {
                    Some(peer) => {
                        self.look_after(&peer, turn, now, &mut pings);
                        true
                    }
                    None => false,
                });
            }
        }
    }

    fn look_after(&self, peer: &Arc<Peer>, turn: u32, now: u32, pings: &mut PerEndpoint<'_, Pings>) {
        let Some(endpoint) = self.endpoints.get(usize::from(peer.endpoint.0)) else { return };
        let silent = now.saturating_sub(peer.last_heard());
        if endpoint.protocol == Protocol::SocketIo {
            // It has pings of its own.
        } else if silent >= seconds(endpoint.pong_timeout) {
            peer.signal(Signal::Close(Close::Timeout));
        } else if is_due(peer.number, turn, seconds(endpoint.heartbeat)) {
            let pings = pings.of(peer.endpoint, Endpoint::pings);
            peer.ping(pings.into_iter().flatten());
        }
        if peer.deadline() <= now {
            peer.call();
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

/// Whether a connection is pinged in this turn, of those that come once in [`LOOK`] seconds. Neighbours have theirs at
/// different times.
fn is_due(number: usize, turn: u32, heartbeat: u32) -> bool {
    let turns = (heartbeat / LOOK).max(1);
    let place = u32::try_from(number / LOOK as usize % turns as usize).unwrap_or_default();
    turn / LOOK % turns == place
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_has_its_ping_once_in_a_heartbeat() {
        for (heartbeat, every) in [(5, 5), (25, 25), (30, 30), (32, 30)] {
            let mut at_once = vec![0; every as usize];
            for number in 0..3000 {
                // It is looked at when its slice is.
                let looks = (600..660).filter(|turn| number as u32 % SLICES % LOOK == turn % LOOK);
                let due: Vec<u32> = looks.filter(|turn| is_due(number, *turn, heartbeat)).collect();
                assert!(due.windows(2).all(|pair| pair[1] - pair[0] == every), "{heartbeat}: {due:?}");
                assert_eq!(due.len(), 60 / every as usize + usize::from(60 % every > due[0] - 600));
                at_once[(due[0] % every) as usize] += 1;
            }
            assert!(at_once.iter().all(|count| *count == 3000 / every), "{heartbeat}: {at_once:?}");
        }
    }
}
