//! Which users this node has in which channel, told to the broker when the first session comes and the last one goes.
//!
//! A hold and a release of the same user in the same channel must reach the broker in the order in which they happened.
//! So each pair belongs to one of a few workers, which tells one thing at a time.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use broker::{Broker, Unavailable};
use parking_lot::Mutex;
use proto::{Channel, PresenceEntry, UserId};
use tokio::sync::{mpsc, oneshot};
use tokio::time;

const WORKERS: usize = 16;

/// How long to wait before telling a broker again that did not answer.
const RETRY: Duration = Duration::from_millis(500);

/// See the module's documentation.
pub(crate) struct PresenceBook {
    hasher: RandomState,
    sessions: Mutex<HashMap<(Channel, UserId), usize>>,
    /// Bounded by the number of joins under way and of sessions that end.
    workers: Vec<mpsc::UnboundedSender<Change>>,
}

enum Change {
    Hold(Channel, PresenceEntry, Option<u32>, oneshot::Sender<Result<u64, Unavailable>>),
    Release(Channel, UserId),
}

impl PresenceBook {
    /// A book whose workers tell the broker, until the book is dropped.
    pub(crate) fn new(broker: &Arc<dyn Broker>) -> Arc<Self> {
        let workers = (0..WORKERS)
            .map(|_| {
                let (changes, wanted) = mpsc::unbounded_channel();
                tokio::spawn(work(Arc::clone(broker), wanted));
                changes
            })
            .collect();
        Arc::new(Self { hasher: RandomState::new(), sessions: Mutex::default(), workers })
    }

    /// Counts a session of a user in a channel until the stay is dropped, and tells how many users are there. `outbox` is as
    /// [`Broker::hold`] wants it.
    pub(crate) async fn enter(
        self: &Arc<Self>,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<(Stay, u64), Unavailable> {
        let stay = Stay { book: Arc::clone(self), channel: channel.clone(), user: user.user.clone() };
        *self.sessions.lock().entry((channel.clone(), user.user.clone())).or_insert(0) += 1;
        let (reply, told) = oneshot::channel();
        self.tell(Change::Hold(channel.clone(), user.clone(), outbox, reply));
        match told.await {
            Ok(count) => Ok((stay, count?)),
            Err(_) => Err(Unavailable("shutting down".to_owned())),
        }
    }

    fn leave(&self, channel: &Channel, user: &UserId) {
        let key = (channel.clone(), user.clone());
        let mut sessions = self.sessions.lock();
        if let Some(count) = sessions.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                sessions.remove(&key);
                self.tell(Change::Release(key.0, key.1));
            }
        }
    }

    fn tell(&self, change: Change) {
        let pair = match &change {
            Change::Hold(channel, entry, ..) => (channel, &entry.user),
            Change::Release(channel, user) => (channel, user),
        };
        let index = usize::try_from(self.hasher.hash_one(pair)).unwrap_or_default() % WORKERS;
        if let Some(worker) = self.workers.get(index) {
            // The workers end with the book.
            drop(worker.send(change));
        }
    }
}

async fn work(broker: Arc<dyn Broker>, mut changes: mpsc::UnboundedReceiver<Change>) {
    while let Some(change) = changes.recv().await {
        match change {
            Change::Hold(channel, entry, outbox, reply) => {
                // The session that asked may be gone: its stay is released after this.
                drop(reply.send(broker.hold(&channel, &entry, outbox).await));
            }
            Change::Release(channel, user) => {
                while broker.release(&channel, &user).await.is_err() {
                    time::sleep(RETRY).await;
                }
            }
        }
    }
}

/// A session's presence in a channel.
pub(crate) struct Stay {
    book: Arc<PresenceBook>,
    channel: Channel,
    user: UserId,
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.book.leave(&self.channel, &self.user);
    }
}
