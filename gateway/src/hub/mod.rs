//! This node's register of which connections listen to which channel, and the way of a frame from the broker to them.
//!
//! Each channel that somebody here listens to has an entry: its [`Follower`], its subscribers, and how many attachments
//! want it. A channel is subscribed while it has an entry; the entry outlives its last attachment by a moment, so that a
//! reconnecting client costs no round trip. Everything about a channel happens under the lock of its shard, which
//! makes the order of a channel's deliveries the order of its stream. Sockets are written after the locks are released.

mod attachment;
mod control;
pub(crate) mod flusher;
pub mod follower;
mod news;
pub(crate) mod reader;

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::chaos::{Detector, is_off, loses_one};
use broker::{Broker, Frame, History, PresenceNews, Sink};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use proto::{Channel, ChannelRules, GapReason, Kind, Outgoing, Position, Publication, Step};
use slab::Slab;
use tokio::sync::{mpsc, oneshot};

use crate::endpoint::{Endpoint, PerEndpoint};
use crate::metrics::Metrics;
use crate::peer::milestone::Milestone;
use crate::peer::{Memberships, Peer};
pub(crate) use attachment::{Attachment, Behind};
pub(crate) use control::Asked;
use flusher::Flusher;
use follower::{Follower, Output, Read};

/// Enough that threads seldom meet, few enough that an idle node stays small.
const SHARDS: usize = 64;

/// How long a channel stays subscribed after its last listener left.
const LINGER: Duration = Duration::from_secs(5);

/// A read of a channel's stream that a follower wants.
#[derive(Debug)]
pub(crate) struct ReadRequest {
    pub(crate) channel: Channel,
    pub(crate) read: Read,
}

/// See the module's documentation.
pub(crate) struct Hub {
    broker: Arc<dyn Broker>,
    channels: Arc<ChannelRules>,
    endpoints: Arc<[Endpoint]>,
    metrics: Metrics,
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
    /// Each follower has at most one read that counts, so this is bounded by the number of channels.
    reads: mpsc::UnboundedSender<ReadRequest>,
    flusher: Arc<Flusher>,
    /// What other processes ask about sessions.
    asked: mpsc::Sender<Asked>,
}

/// Boxed, since a table has room for nearly twice as many as there are.
type Shard = HashMap<Channel, Box<Entry>>;

struct Entry {
    channel: Channel,
    /// Whether only the newest publication matters.
    latest: bool,
    follower: Follower,
    attachments: usize,
    idle_since: Option<Instant>,
    /// How many gaps were told.
    gaps: u64,
    /// By slot, so that leaving a room of a hundred thousand is not a search through all of them.
    subscribers: Slab<Subscriber>,
    waiting: Vec<oneshot::Sender<Position>>,
}

pub(crate) struct Subscriber {
    peer: Arc<Peer>,
    /// Whether it makes its user present: who is there is told who else comes and goes.
    is_present: bool,
    /// What comes up to here it knows already. It read that from the stream, and may be ahead of this node.
    after: Position,
    /// Whether it gets what comes. Not while it lags: it catches up from the stream by itself.
    fed: bool,
}

impl Hub {
    /// A hub that passes on what it is `asked`, and the reads that its followers want.
    pub(crate) fn new(
        broker: Arc<dyn Broker>,
        channels: Arc<ChannelRules>,
        endpoints: Arc<[Endpoint]>,
        metrics: Metrics,
        flusher: Arc<Flusher>,
        asked: mpsc::Sender<Asked>,
    ) -> (Arc<Self>, mpsc::UnboundedReceiver<ReadRequest>) {
        let (reads, wanted) = mpsc::unbounded_channel();
        let hub = Arc::new(Self {
            broker,
            channels,
            endpoints,
            metrics,
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            reads,
            flusher,
            asked,
        });
        hub.broker.attach(Arc::clone(&hub) as Arc<dyn Sink>);
        (hub, wanted)
    }

    /// Makes this node listen to a channel until the attachment is dropped, and waits until it knows the channel's
    /// position.
    pub(crate) async fn attach(self: &Arc<Self>, channel: Channel) -> (Attachment, Position) {
        let latest = self.channels.of(&channel).latest;
        let (new, known, channel) = {
            let mut shard = self.shard(channel.as_str());
            let entry = shard.entry(channel);
            let new = matches!(entry, std::collections::hash_map::Entry::Vacant(_));
            let entry = entry.or_insert_with_key(|channel| Box::new(Entry::new(channel.clone(), latest)));
            entry.attachments += 1;
            entry.idle_since = None;
            let known = match entry.follower.position() {
                Some(position) => Ok(position),
                None => {
                    let (known, wait) = oneshot::channel();
                    entry.waiting.push(known);
                    Err(wait)
                }
            };
            // The name as the entry has it, which all who attach share.
            (new, known, entry.channel.clone())
        };
        let attachment =
            Attachment { hub: Arc::clone(self), channel, latest, makes_present: false, slot: None };
        if new {
            self.metrics.channels.inc();
            self.broker.subscribe(std::slice::from_ref(&attachment.channel));
        }
        let position = match known {
            Ok(position) => position,
            Err(wait) => match wait.await {
                Ok(position) => position,
                // The entry lives as long as the attachment, and the sender with it.
                Err(_) => std::future::pending().await,
            },
        };
        (attachment, position)
    }

    /// The answer to a read that a follower wanted.
    pub(crate) fn answer(&self, channel: &Channel, ticket: u32, history: History) {
        if let Some(entry) = self.shard(channel.as_str()).get_mut(channel) {
            let at = entry.follower.position();
            entry.follower.history(ticket, history);
            self.run(entry, at);
        }
    }

    /// The live channels of one of so many slices with their positions, to compare with the stream's.
    pub(crate) fn live_positions(&self, slice: usize, slices: usize) -> Vec<(Channel, Position)> {
        let mut all = Vec::new();
        for shard in self.shards.iter().skip(slice).step_by(slices) {
            for entry in shard.lock().values() {
                all.extend(entry.follower.live_position().map(|at| (entry.channel.clone(), at)));
            }
        }
        all
    }

    /// How many users have a session here.
    pub(crate) fn users(&self) -> usize {
        let is_there = |entry: &Entry| entry.channel.kind() == Kind::User && !entry.subscribers.is_empty();
        let there = |shard: &Shard| shard.values().filter(|entry| is_there(entry)).count();
        self.shards.iter().map(|shard| there(&shard.lock())).sum()
    }

    /// The top of a channel's stream, read when its follower stood at `asked`.
    pub(crate) fn audit(&self, channel: &Channel, asked: Position, top: Position) {
        if let Some(entry) = self.shard(channel.as_str()).get_mut(channel) {
            let at = entry.follower.position();
            entry.follower.audit(asked, top);
            self.run(entry, at);
        }
    }

    /// Gives up the channels that nobody has listened to for a while.
    pub(crate) fn sweep(&self, now: Instant) {
        let mut gone = Vec::new();
        for shard in &self.shards {
            let idle =
                |entry: &Entry| entry.idle_since.is_some_and(|since| now.duration_since(since) >= LINGER);
            gone.extend(shard.lock().extract_if(|_, entry| idle(entry)).map(|(channel, _)| channel));
        }
        if !gone.is_empty() {
            self.metrics.channels.sub(i64::try_from(gone.len()).unwrap_or(i64::MAX));
            self.broker.unsubscribe(&gone);
            self.resubscribe_returned(&gone);
        }
    }

    /// Someone may have attached again between the sweep of a channel and the end of its subscription.
    fn resubscribe_returned(&self, gone: &[Channel]) {
        let back: Vec<Channel> = gone
            .iter()
            .filter(|channel| self.shard(channel.as_str()).contains_key(*channel))
            .cloned()
            .collect();
        if !back.is_empty() {
            self.broker.subscribe(&back);
        }
    }

    /// Has everything written that peers were given since the last call.
    pub(crate) fn flush_peers(&self) {
        self.flusher.flush();
    }

    fn shard(&self, channel: &str) -> MutexGuard<'_, Shard> {
        let hash = usize::try_from(self.hasher.hash_one(channel)).unwrap_or_default();
        // The number of shards is not zero, so there is one at any remainder.
        #[expect(clippy::indexing_slicing)]
        self.shards[hash % SHARDS].lock()
    }

    /// Carries out what a follower wants; `at` is where it stood before.
    fn run(&self, entry: &mut Entry, mut at: Option<Position>) {
        while let Some(output) = entry.follower.poll() {
            match output {
                Output::Deliver { step, payload } => {
                    self.deliver(entry, step, &payload);
                    at = step.map_or(at, |step| Some(step.position));
                }
                Output::Gap(reason, position) => {
                    entry.gaps += 1;
                    self.tell_gap(&entry.channel, &mut entry.subscribers, reason, position, at);
                    at = Some(position);
                }
                Output::Read(read) => {
                    // Nobody reads any more when the node is shutting down.
                    drop(self.reads.send(ReadRequest { channel: entry.channel.clone(), read }));
                }
            }
        }
        if !entry.waiting.is_empty()
            && let Some(position) = entry.follower.position()
        {
            for waiting in std::mem::take(&mut entry.waiting) {
                // Who waited may have given up.
                let _ = waiting.send(position);
            }
        }
    }

    /// Gives a publication to every subscriber, built once for each endpoint.
    fn deliver(&self, entry: &mut Entry, step: Option<Step>, payload: &Bytes) {
        let Entry { channel, latest, subscribers, .. } = entry;
        if subscribers.is_empty() {
            return;
        }
        let publication = match Publication::decode(payload) {
            Ok(publication) => publication,
            Err(error) => {
                tracing::error!(%channel, %error, "a stored publication cannot be read");
                return;
            }
        };
        self.metrics.observe_latency(publication.timestamp);
        let name = channel.public_name();
        let position = step.map(|step| step.position);
        let milestone = position.map(|position| Milestone::new(channel, position));
        let (mut frames, mut audiences) =
            (PerEndpoint::new(&self.endpoints), PerEndpoint::new(&self.endpoints));
        let latest = *latest && position.is_some();
        let message = Outgoing::Message { channel: &name, position, latest, publication: &publication };
        self.feed_all(subscribers, |subscriber| {
            let peer = &subscriber.peer;
            let audience = audiences.of(peer.endpoint, |endpoint| endpoint.framing.audience(&publication));
            let is_for = audience.is_some_and(|audience| peer.is_for(audience, &publication));
            let frame = frames.of(peer.endpoint, |endpoint| endpoint.frame(&message, None)).flatten();
            let frame = frame.filter(|_| is_for);
            match step.zip(milestone.as_ref()) {
                None => {
                    if let Some(frame) = frame {
                        peer.offer(frame);
                    }
                    true
                }
                Some((step, _)) if step.position == subscriber.after => true,
                Some((step, _)) if step.position.offset < subscriber.after.offset => true,
                // Another publication stands where it believed to be.
                Some((step, _)) if step.position.offset == subscriber.after.offset => {
                    subscriber.peer.lag(channel, subscriber.after);
                    false
                }
                Some((step, to)) => match frame {
                    Some(frame) => peer.feed(step.before(), to, frame),
                    None => {
                        peer.pass(channel, step.position);
                        true
                    }
                },
            }
        });
    }

    /// Tells every subscriber that delivery goes on from elsewhere. One that is full finds out when it catches up, and so
    /// does one that was ahead of this node: perhaps what it read is the very stream that this node now turns to.
    fn tell_gap(
        &self,
        channel: &Channel,
        subscribers: &mut Slab<Subscriber>,
        reason: GapReason,
        position: Position,
        at: Option<Position>,
    ) {
        self.metrics.count_gap(reason);
        let name = channel.public_name();
        let mut frames = PerEndpoint::new(&self.endpoints);
        let gap = Outgoing::Gap { channel: &name, reason, position };
        let to = Milestone::new(channel, position);
        self.feed_all(subscribers, |subscriber| {
            let after = std::mem::replace(&mut subscriber.after, position);
            if at.is_some_and(|at| after.epoch == at.epoch && after.offset > at.offset) {
                subscriber.peer.lag(channel, after);
                return false;
            }
            let peer = &subscriber.peer;
            match frames.of(peer.endpoint, |endpoint| endpoint.frame(&gap, None)).flatten() {
                Some(frame) => peer.feed(at.unwrap_or(position), &to, frame),
                None => {
                    peer.lose();
                    true
                }
            }
        });
    }

    /// Feeds those that are to be fed; `feed` answers whether they are to be fed further.
    fn feed_all(&self, subscribers: &mut Slab<Subscriber>, mut feed: impl FnMut(&mut Subscriber) -> bool) {
        let (mut sent, mut lagging) = (0, 0);
        for (_, subscriber) in subscribers.iter_mut().filter(|(_, subscriber)| subscriber.fed) {
            if feed(subscriber) {
                sent += 1;
                self.flusher.add(&subscriber.peer);
            } else {
                subscriber.fed = false;
                lagging += 1;
            }
        }
        self.metrics.messages_sent.inc_by(sent);
        self.metrics.lagged.inc_by(lagging);
    }
}

impl Sink for Hub {
    fn frame(&self, channel: &str, frame: Frame) {
        if loses_one() {
            return;
        }
        if let Some(entry) = self.shard(channel).get_mut(channel) {
            let at = entry.follower.position();
            entry.follower.frame(frame);
            self.run(entry, at);
        }
    }

    fn presence(&self, channel: &str, news: PresenceNews) {
        if let Some(entry) = self.shard(channel).get_mut(channel) {
            self.tell_news(&entry.channel, &entry.subscribers, &news);
        }
    }

    fn control(&self, channel: &str, payload: Bytes) {
        self.heed(channel, &payload);
    }

    fn subscribed(&self, channels: &[Channel]) {
        for channel in channels {
            if let Some(entry) = self.shard(channel.as_str()).get_mut(channel) {
                let at = entry.follower.position();
                if is_off(Detector::Interruption) && at.is_some() {
                    continue;
                }
                if at.is_some() && channel.kind() == Kind::User {
                    // What nodes told each other meanwhile was not stored.
                    for (_, subscriber) in &entry.subscribers {
                        subscriber.peer.change_memberships(Memberships::Missed);
                    }
                }
                entry.follower.subscribed();
                self.run(entry, at);
            }
        }
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.metrics.interrupted.inc_by(channels.len() as u64);
        if is_off(Detector::Interruption) {
            return;
        }
        for channel in channels {
            if let Some(entry) = self.shard(channel.as_str()).get_mut(channel) {
                entry.follower.interrupted();
            }
        }
    }

    fn flush(&self) {
        self.flush_peers();
    }
}

impl Entry {
    fn new(channel: Channel, latest: bool) -> Self {
        Self {
            channel,
            latest,
            follower: if latest { Follower::of_latest() } else { Follower::new() },
            attachments: 0,
            idle_since: None,
            gaps: 0,
            // Most channels have one listener on a node.
            subscribers: Slab::with_capacity(1),
            waiting: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
