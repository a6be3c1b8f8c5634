//! Where the topics of all channels are kept, and how those that nobody needs are found.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::Channel;
use tokio::time::Instant;

use super::answers::Answers;
use super::directory::Census;
use super::kept::Kept;
use super::mailbox::NodeKey;
use super::memberships::Memberships;
use super::outbox::Outboxes;
use super::places::Places;
use super::topic::Topic;
use crate::PRESENCE_LIMIT;

/// Enough that publishers on different cores seldom meet.
const SHARDS: usize = 32;

/// A shard is swept after it was used as often as it has topics, so that a use pays for one topic on average, and this
/// many times more, so that a small shard is not swept at every use.
const SWEEP_SLACK: usize = 64;

/// A shard in use is swept at the latest after this time.
const SWEEP_INTERVAL: Duration = Duration::from_secs(60);

/// What the nodes of one process share. Cheap to clone; all clones are the same store.
///
/// Its memory is bounded by what is in force: topics are dropped once they have no listener, nobody present, no history,
/// no remembered publish id and no position that was lately given out.
#[derive(Clone)]
pub struct Store(Arc<Shared>);

struct Shared {
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    nodes: AtomicU64,
    presence_limit: u64,
    memberships: Memberships,
    kept: Kept,
    outboxes: Outboxes,
    answers: Answers,
    places: Places,
    census: Census,
}

struct Shard {
    /// Boxed, since a table has room for nearly twice as many as there are.
    topics: HashMap<Channel, Box<Topic>>,
    uses: usize,
    swept: Instant,
}

impl Store {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_presence_limit(PRESENCE_LIMIT)
    }

    /// An empty store where a channel may have so many users for each that comes or goes to be told by name.
    pub fn with_presence_limit(presence_limit: u64) -> Self {
        let shard = || Shard { topics: HashMap::new(), uses: 0, swept: Instant::now() };
        Self(Arc::new(Shared {
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::new(shard())),
            nodes: AtomicU64::new(0),
            presence_limit,
            memberships: Memberships::default(),
            kept: Kept::default(),
            outboxes: Outboxes::default(),
            answers: Answers::default(),
            places: Places::default(),
            census: Census::default(),
        }))
    }

    /// How many channels take up memory.
    pub fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().topics.len()).sum()
    }

    /// Whether no channel takes up memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Drops what has expired, at the cost of a walk over everything. Using the store does so bit by bit; this is for a
    /// store that is not used for long.
    pub fn sweep(&self) {
        let now = Instant::now();
        for shard in &self.0.shards {
            shard.lock().sweep(now);
        }
    }

    /// How many users a channel may have for each to be told by name.
    pub(super) fn presence_limit(&self) -> u64 {
        self.0.presence_limit
    }

    /// The memberships of all users.
    pub(super) fn memberships(&self) -> &Memberships {
        &self.0.memberships
    }

    /// What nodes keep for each other.
    pub(super) fn kept(&self) -> &Kept {
        &self.0.kept
    }

    /// The outboxes of all channels. Their lock may be taken under a topic's, and not the other way round.
    pub(super) fn outboxes(&self) -> &Outboxes {
        &self.0.outboxes
    }

    /// The answers to all questions.
    pub(super) fn answers(&self) -> &Answers {
        &self.0.answers
    }

    /// The places that users' sessions have.
    pub(super) fn places(&self) -> &Places {
        &self.0.places
    }

    /// What nodes said of themselves.
    pub(super) fn census(&self) -> &Census {
        &self.0.census
    }

    /// A number for a new node.
    pub(super) fn next_node(&self) -> NodeKey {
        NodeKey(self.0.nodes.fetch_add(1, Ordering::Relaxed))
    }

    /// Uses the topic of a channel under its lock, with what has expired taken out of it.
    pub(super) fn with<T>(&self, channel: &Channel, act: impl FnOnce(&mut Topic, Instant) -> T) -> T {
        let mut shard = self.shard(channel).lock();
        let now = Instant::now();
        shard.sweep_if_due(now);
        if let Some(topic) = shard.topics.get_mut(channel) {
            topic.expire(now);
            return act(topic, now);
        }
        // Kept only if there is something to keep: asking who is in an empty channel leaves no trace.
        let mut topic = Topic::default();
        let answer = act(&mut topic, now);
        if !topic.is_idle() {
            shard.topics.insert(channel.clone(), Box::new(topic));
        }
        answer
    }

    /// Changes every topic, shard by shard.
    pub(super) fn each(&self, mut act: impl FnMut(&Channel, &mut Topic)) {
        for shard in &self.0.shards {
            let mut shard = shard.lock();
            shard.topics.retain(|channel, topic| {
                act(channel, topic);
                !topic.is_idle()
            });
        }
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder of a division by the length")]
    fn shard(&self, channel: &Channel) -> &Mutex<Shard> {
        let hash = self.0.hasher.hash_one(channel);
        &self.0.shards[(hash % SHARDS as u64) as usize]
    }
}

impl Default for Store {
    fn default() -> Self {
        Self::new()
    }
}

impl Shard {
    fn sweep_if_due(&mut self, now: Instant) {
        self.uses += 1;
        if self.uses > self.topics.len() + SWEEP_SLACK || now.duration_since(self.swept) >= SWEEP_INTERVAL {
            self.sweep(now);
        }
    }

    fn sweep(&mut self, now: Instant) {
        self.uses = 0;
        self.swept = now;
        self.topics.retain(|_, topic| {
            topic.expire(now);
            !topic.is_idle()
        });
        // A burst of channels must not leave its table behind.
        if self.topics.capacity() > 4 * (self.topics.len() + SWEEP_SLACK) {
            self.topics.shrink_to_fit();
        }
    }
}
