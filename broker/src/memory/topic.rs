//! What is known of one channel: its stream, the publish ids it remembers, who listens and who is there.
//!
//! A value without locks or a clock: `now` is passed in. Whoever uses a topic calls [`Topic::expire`] first.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::{Epoch, Nonce, Position, PresenceEntry, Step, UserId};
use tokio::time::Instant;

use super::devices::Devices;
use super::mailbox::{Event, Mailbox, NodeKey};
use crate::{
    Earlier, Entry, History, HistoryQuery, IdempotencyKey, Presence, PresenceNews, PublishError, Published,
    Reached, Retention,
};

/// How long beyond its entries a stream remembers its top without being asked for it. A client that is away for less and
/// missed nothing learns just that, instead of a reset.
const EPOCH_IDLE: Duration = Duration::from_secs(60 * 60);

/// A publish as a topic sees it.
pub(super) struct Message {
    pub(super) payload: Bytes,
    pub(super) retention: Option<Retention>,
    /// The publisher's key with the fingerprint of what is published under it.
    pub(super) idempotency: Option<(IdempotencyKey, String)>,
}

/// How a publish ended that did not fail.
pub(super) enum Accepted {
    /// It is new, and stands here in the stream unless it is ephemeral.
    Now(Option<Step>),
    /// It was published before.
    Before(Published),
}

/// When the listeners are told news of presence.
pub(super) enum Told {
    /// At once.
    Now(PresenceNews),
    /// With the number, which was due before.
    Later,
    /// With the number, which is due from now on.
    NewlyLater,
}

#[derive(Default)]
pub(super) struct Topic {
    stream: Option<Stream>,
    records: Records,
    listeners: Vec<Arc<Mailbox>>,
    present: HashMap<UserId, Vec<(NodeKey, PresenceEntry)>>,
    /// Those of the user, in a user's own channel.
    pub(super) devices: Devices,
    /// The number of users is to be told: their names were too many.
    count_due: bool,
    /// How much may wait in the outbox, where the backend is told when the channel is occupied, and when vacated.
    pub(super) reported: Option<u32>,
}

impl Topic {
    /// Drops what has outlived its time.
    pub(super) fn expire(&mut self, now: Instant) {
        self.records.expire(now);
        self.devices.expire(now);
        if let Some(stream) = &mut self.stream {
            stream.expire(now);
            let is_wanted = !self.listeners.is_empty() || !self.devices.is_empty();
            if stream.is_forgotten(now) && !is_wanted {
                self.stream = None;
            }
        }
    }

    /// Whether there is nothing to remember.
    pub(super) fn is_idle(&self) -> bool {
        self.stream.is_none()
            && self.records.is_empty()
            && self.listeners.is_empty()
            && self.present.is_empty()
            && self.devices.is_empty()
            && !self.count_due
    }

    /// `full` says that its outbox takes nothing more, where it has one.
    pub(super) fn publish(
        &mut self,
        message: Message,
        full: bool,
        now: Instant,
    ) -> Result<Accepted, PublishError> {
        if let Some((key, fingerprint)) = &message.idempotency
            && let Some(before) = self.records.get(key)
        {
            if before.fingerprint != *fingerprint {
                return Err(PublishError::Conflict);
            }
            return Ok(Accepted::Before(Published { position: before.position, duplicate: true }));
        }
        if full && message.retention.is_some() {
            return Err(PublishError::OutboxFull);
        }
        let step = message.retention.map(|keep| self.stream(now).append(message.payload, keep, now));
        if let Some((key, fingerprint)) = message.idempotency {
            self.records.insert(key, Record { fingerprint, position: step.map(|step| step.position) }, now);
        }
        Ok(Accepted::Now(step))
    }

    pub(super) fn history(&mut self, query: HistoryQuery, now: Instant) -> History {
        self.stream(now).read(query)
    }

    pub(super) fn top(&mut self, now: Instant) -> Position {
        self.stream(now).top
    }

    /// Notes how far a device has got.
    pub(super) fn reach(&mut self, reached: &Reached, now: Instant) {
        let top = self.stream.as_ref().map(|stream| stream.top);
        self.devices.reach(reached, top, now);
    }

    fn stream(&mut self, now: Instant) -> &mut Stream {
        let stream = self.stream.get_or_insert_with(|| Stream::new(now));
        stream.used = now;
        stream
    }

    /// How many nodes listen.
    pub(super) fn listening(&self) -> u64 {
        self.listeners.len() as u64
    }

    /// Sends an event to every listener; returns those that are behind.
    pub(super) fn deliver(&self, event: impl Fn() -> Event) -> Vec<Arc<Mailbox>> {
        self.listeners.iter().filter(|mailbox| mailbox.push(event())).cloned().collect()
    }

    /// Adds a listener and tells it so, unless it listens already.
    pub(super) fn subscribe(&mut self, mailbox: &Arc<Mailbox>, event: impl FnOnce() -> Event) {
        if self.listeners.iter().any(|listener| listener.node() == mailbox.node()) {
            return;
        }
        // There are as many as nodes, and each comes once.
        self.listeners.reserve_exact(1);
        self.listeners.push(Arc::clone(mailbox));
        mailbox.joined();
        mailbox.push(event());
    }

    pub(super) fn unsubscribe(&mut self, node: NodeKey) {
        self.listeners.retain(|listener| {
            let stays = listener.node() != node;
            if !stays {
                listener.left();
            }
            stays
        });
    }

    /// Notes that a node has a user; gives how many are there, and the news if there are any.
    pub(super) fn hold(&mut self, node: NodeKey, user: &PresenceEntry) -> (u64, Option<PresenceNews>) {
        let holders = self.present.entry(user.user.clone()).or_default();
        let came = holders.is_empty();
        holders.retain(|(holder, _)| *holder != node);
        // Most users are on one node.
        holders.reserve_exact(1);
        holders.push((node, user.clone()));
        let count = self.present.len() as u64;
        (count, came.then(|| PresenceNews::Joined { user: user.clone(), count }))
    }

    pub(super) fn release(&mut self, node: NodeKey, user: &UserId) -> Option<PresenceNews> {
        let holders = self.present.get_mut(user)?;
        let at = holders.iter().position(|(holder, _)| *holder == node)?;
        let (_, user) = holders.remove(at);
        if !holders.is_empty() {
            return None;
        }
        self.present.remove(&user.user);
        Some(PresenceNews::Left { user, count: self.present.len() as u64 })
    }

    /// The users that a node has here.
    pub(super) fn held_by(&self, node: NodeKey) -> Vec<UserId> {
        let held = |holders: &[(NodeKey, PresenceEntry)]| holders.iter().any(|(holder, _)| *holder == node);
        let held = self.present.iter().filter(|(_, holders)| held(holders));
        held.map(|(user, _)| user.clone()).collect()
    }

    /// What the listeners are told of some news at once. In a crowded channel that is nothing, and the number is due.
    pub(super) fn tell(&mut self, news: PresenceNews, limit: u64) -> Told {
        let most = match &news {
            PresenceNews::Joined { count, .. } | PresenceNews::Count(count) => *count,
            PresenceNews::Left { count, .. } => count + 1,
        };
        if most <= limit {
            Told::Now(news)
        } else if std::mem::replace(&mut self.count_due, true) {
            Told::Later
        } else {
            Told::NewlyLater
        }
    }

    /// The number of users, where that is due.
    pub(super) fn take_count(&mut self) -> Option<PresenceNews> {
        std::mem::take(&mut self.count_due).then_some(PresenceNews::Count(self.present.len() as u64))
    }

    /// How many users are there.
    pub(super) fn count(&self) -> u64 {
        self.present.len() as u64
    }

    /// The last publications before a place, or before the top.
    pub(super) fn earlier(&mut self, before: Option<Position>, limit: u32, now: Instant) -> Earlier {
        let stream = self.stream(now);
        let after = |entry: &&Entry| before.is_some_and(|before| entry.step.position.offset > before.offset);
        let backwards = stream.entries.iter().rev().skip_while(after);
        let read = backwards.take((limit as usize).saturating_add(1)).cloned().collect();
        Earlier::judge(before, stream.top, read, limit)
    }

    pub(super) fn present(&self, limit: usize) -> Presence {
        let latest = |holders: &Vec<(NodeKey, PresenceEntry)>| holders.last().map(|(_, entry)| entry.clone());
        Presence {
            users: self.present.values().filter_map(latest).take(limit).collect(),
            count: self.present.len() as u64,
        }
    }
}

/// A channel's publications.
struct Stream {
    top: Position,
    entries: VecDeque<Entry>,
    /// When the entries expire; `None` for never.
    expires: Option<Instant>,
    used: Instant,
}

impl Stream {
    fn new(now: Instant) -> Self {
        let epoch = Epoch(rand::random_range(1..=u64::MAX));
        Self { top: Position::start(epoch), entries: VecDeque::new(), expires: Some(now), used: now }
    }

    fn append(&mut self, payload: Bytes, keep: Retention, now: Instant) -> Step {
        let nonce = Nonce(rand::random_range(1..=u64::MAX));
        let step = Step {
            position: Position { epoch: self.top.epoch, offset: self.top.offset + 1, nonce },
            previous: self.top.nonce,
        };
        self.top = step.position;
        self.entries.push_back(Entry { step, payload });
        let surplus = self.entries.len().saturating_sub(keep.size as usize);
        self.entries.drain(..surplus);
        self.expires = now.checked_add(keep.age);
        step
    }

    fn read(&self, query: HistoryQuery) -> History {
        let oldest = self.entries.front().map_or(0, |entry| entry.step.position.offset);
        let from = match query.after {
            Some(after) if after.epoch == self.top.epoch => after.offset.saturating_sub(oldest),
            _ => 0,
        };
        // The entry at `after` itself, and at least the one that follows, are needed for the verdict.
        let count = (query.limit as usize).max(1).saturating_add(1);
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        let read = self.entries.iter().skip(from).take(count).cloned().collect();
        History::judge(query, self.top, read)
    }

    fn expire(&mut self, now: Instant) {
        if self.expires.is_some_and(|at| at <= now) {
            self.entries = VecDeque::new();
        }
    }

    fn is_forgotten(&self, now: Instant) -> bool {
        self.entries.is_empty() && now.duration_since(self.used) >= EPOCH_IDLE
    }
}

/// The publish ids that are remembered, in the order of their expiry for each window: there are as many windows as the
/// configuration names.
#[derive(Default)]
struct Records {
    by_key: HashMap<IdempotencyKey, Record>,
    by_age: BTreeMap<Duration, VecDeque<(Instant, IdempotencyKey)>>,
}

struct Record {
    fingerprint: String,
    position: Option<Position>,
}

impl Records {
    fn get(&self, key: &IdempotencyKey) -> Option<&Record> {
        self.by_key.get(key)
    }

    fn insert(&mut self, key: IdempotencyKey, record: Record, now: Instant) {
        let window = key.window();
        self.by_age.entry(window).or_default().push_back((now + window, key));
        self.by_key.insert(key, record);
    }

    fn expire(&mut self, now: Instant) {
        for keys in self.by_age.values_mut() {
            while let Some((_, key)) = keys.pop_front_if(|(expires, _)| *expires <= now) {
                self.by_key.remove(&key);
            }
        }
        self.by_age.retain(|_, keys| !keys.is_empty());
        if self.by_age.is_empty() && self.by_key.capacity() > 0 {
            *self = Self::default();
        }
    }

    fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}
