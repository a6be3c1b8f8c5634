//! What is on its way to one node, and the task that hands it to the node's sink.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::Channel;
use tokio::sync::Notify;

use crate::{Frame, PresenceNews, Sink};

/// From this many bytes on, publishers wait for the node. Each of them can add one message beyond.
const HIGH_WATER: usize = 8 << 20;

/// What an event counts beside its payload.
const EVENT_BYTES: usize = 128;

/// The reader hands over at most this many events before it flushes and lets others run.
const BATCH: usize = 512;

/// Tells the handles on a store apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct NodeKey(pub(super) u64);

/// What a sink is to be told.
pub(super) enum Event {
    Frame(Channel, Frame),
    Control(Channel, Bytes),
    Presence(Channel, PresenceNews),
    Subscribed(Channel),
}

impl Event {
    fn bytes(&self) -> usize {
        match self {
            Self::Frame(_, frame) => EVENT_BYTES + frame.payload.len(),
            Self::Control(_, payload) => EVENT_BYTES + payload.len(),
            Self::Presence(..) | Self::Subscribed(_) => EVENT_BYTES,
        }
    }
}

/// The events on their way to one node.
pub(super) struct Mailbox {
    node: NodeKey,
    queue: Mutex<Queue>,
    filled: Notify,
    emptied: Notify,
    subscriptions: AtomicU64,
}

#[derive(Default)]
struct Queue {
    events: VecDeque<Event>,
    bytes: usize,
    closed: bool,
}

impl Mailbox {
    pub(super) fn new(node: NodeKey) -> Self {
        Self {
            node,
            queue: Mutex::default(),
            filled: Notify::new(),
            emptied: Notify::new(),
            subscriptions: AtomicU64::new(0),
        }
    }

    pub(super) const fn node(&self) -> NodeKey {
        self.node
    }

    /// How many channels the node is subscribed to.
    pub(super) fn subscriptions(&self) -> u64 {
        self.subscriptions.load(Ordering::Relaxed)
    }

    /// Counts a subscription that came into force.
    pub(super) fn joined(&self) {
        self.subscriptions.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a subscription that ended.
    pub(super) fn left(&self) {
        self.subscriptions.fetch_sub(1, Ordering::Relaxed);
    }

    /// Adds an event; says whether the node is behind, so that a publisher should wait for [`room`](Self::room).
    pub(super) fn push(&self, event: Event) -> bool {
        let mut queue = self.queue.lock();
        if queue.closed {
            return false;
        }
        queue.bytes += event.bytes();
        queue.events.push_back(event);
        let behind = queue.bytes > HIGH_WATER;
        drop(queue);
        self.filled.notify_one();
        behind
    }

    /// Returns when the node has caught up or is gone.
    pub(super) async fn room(&self) {
        loop {
            // Made before the look, so that no notification falls in between.
            let emptied = self.emptied.notified();
            if self.queue.lock().bytes <= HIGH_WATER {
                return;
            }
            emptied.await;
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        self.queue.lock().closed
    }

    /// Drops what is on its way and takes nothing more.
    pub(super) fn close(&self) {
        *self.queue.lock() = Queue { closed: true, ..Queue::default() };
        self.filled.notify_one();
        self.emptied.notify_waiters();
    }

    /// Moves the next events over; `None` once closed.
    fn take(&self, batch: &mut VecDeque<Event>) -> Option<()> {
        let mut queue = self.queue.lock();
        if queue.closed {
            return None;
        }
        let count = queue.events.len().min(BATCH);
        batch.extend(queue.events.drain(..count));
        let bytes = batch.iter().map(Event::bytes).sum();
        let was_behind = queue.bytes > HIGH_WATER;
        queue.bytes = queue.bytes.saturating_sub(bytes);
        let caught_up = was_behind && queue.bytes <= HIGH_WATER;
        drop(queue);
        if caught_up {
            self.emptied.notify_waiters();
        }
        Some(())
    }
}

/// Hands events to the sink until the mailbox is closed.
pub(super) async fn read(mailbox: Arc<Mailbox>, sink: Arc<dyn Sink>) {
    // A sink that panics must not leave publishers waiting for a node that reads no more.
    let _closes = CloseOnDrop(&mailbox);
    let mut batch = VecDeque::new();
    while mailbox.take(&mut batch).is_some() {
        if batch.is_empty() {
            mailbox.filled.notified().await;
            continue;
        }
        hand_over(&mut batch, &*sink);
        sink.flush();
        tokio::task::yield_now().await;
    }
}

struct CloseOnDrop<'a>(&'a Mailbox);

impl Drop for CloseOnDrop<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Subscriptions in a row are told in one call.
fn hand_over(batch: &mut VecDeque<Event>, sink: &dyn Sink) {
    let mut subscribed = Vec::new();
    for event in batch.drain(..) {
        match event {
            Event::Subscribed(channel) => subscribed.push(channel),
            Event::Frame(channel, frame) => {
                tell_subscribed(&mut subscribed, sink);
                sink.frame(channel.as_str(), frame);
            }
            Event::Presence(channel, news) => {
                tell_subscribed(&mut subscribed, sink);
                sink.presence(channel.as_str(), news);
            }
            Event::Control(channel, payload) => {
                tell_subscribed(&mut subscribed, sink);
                sink.control(channel.as_str(), payload);
            }
        }
    }
    tell_subscribed(&mut subscribed, sink);
}

fn tell_subscribed(channels: &mut Vec<Channel>, sink: &dyn Sink) {
    if !channels.is_empty() {
        sink.subscribed(channels);
        channels.clear();
    }
}
