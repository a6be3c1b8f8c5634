//! A node under test: a broker, what its sink was told, and short words for what promises do.

use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::{
    Channel, Durability, EventName, MessageId, Position, PresenceEntry, Publication, Step, Timestamp, UserId,
};
use serde_json::value::RawValue;
use switchboard_broker::{
    Broker, Entry, Frame, History, HistoryQuery, IdempotencyKey, Outbox, PresenceNews, Publish, Retention,
    Sink, Unavailable,
};

/// How long anything may take, with a loaded machine in mind.
const LIMIT: Duration = Duration::from_secs(40);

/// What a stream keeps unless a promise is about that.
pub(crate) const RETENTION: Retention =
    Retention { size: 1000, age: Duration::from_secs(60), durability: Durability::Memory };

/// A node under test.
#[derive(Clone)]
pub(crate) struct Node {
    broker: Arc<dyn Broker>,
    outbox: Arc<dyn Outbox>,
    sink: Arc<Recorder>,
}

/// What a sink was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Frame(String, Frame),
    Control(String, Bytes),
    Presence(String, PresenceNews),
    Subscribed(Channel),
    Interrupted(Channel),
    Flush,
}

impl Deref for Node {
    type Target = dyn Broker;
    fn deref(&self) -> &Self::Target {
        self.broker.as_ref()
    }
}

impl Node {
    pub(crate) fn new<B: Broker + Outbox>(broker: B) -> Self {
        let broker = Arc::new(broker);
        let sink = Arc::new(Recorder::default());
        broker.attach(Arc::clone(&sink) as Arc<dyn Sink>);
        Self { outbox: Arc::clone(&broker) as Arc<dyn Outbox>, broker, sink }
    }

    /// The outboxes of all channels, as the node sees them.
    pub(crate) fn outbox(&self) -> &dyn Outbox {
        self.outbox.as_ref()
    }

    /// Holds a user of whom the backend is not told.
    pub(crate) async fn hold(&self, channel: &Channel, user: &PresenceEntry) -> Result<u64, Unavailable> {
        self.broker.hold(channel, user, None).await
    }

    /// Holds a user of whom the backend is told.
    pub(crate) async fn hold_and_report(&self, channel: &Channel, user: &PresenceEntry) {
        self.broker.hold(channel, user, Some(1000)).await.unwrap();
    }

    /// Publishes a text.
    pub(crate) async fn say(&self, channel: &Channel, text: &str) -> Position {
        self.publish(channel, message(text)).await.unwrap().position.unwrap()
    }

    /// Reads the stream.
    pub(crate) async fn read(&self, channel: &Channel, after: Option<Position>, limit: u32) -> History {
        self.history(channel, HistoryQuery { after, limit }).await.unwrap()
    }

    /// Reads all texts of the stream.
    pub(crate) async fn texts(&self, channel: &Channel) -> Vec<String> {
        texts(&self.read(channel, None, 10_000).await.entries)
    }

    pub(crate) async fn top(&self, channel: &Channel) -> Position {
        self.tops(std::slice::from_ref(channel)).await.unwrap()[0]
    }

    /// Subscribes and waits until that is in force.
    pub(crate) async fn listen(&self, channels: &[Channel]) {
        self.subscribe(channels);
        self.confirmed(channels, 1).await;
    }

    /// Waits until the subscription of each channel came into force so many times.
    pub(crate) async fn confirmed(&self, channels: &[Channel], times: usize) {
        self.until("the subscriptions are in force", |events| {
            let mut missing = channels.iter().map(|channel| (channel, times)).collect::<HashMap<_, _>>();
            for event in events {
                if let Event::Subscribed(channel) = event
                    && let Some(times) = missing.get_mut(channel)
                {
                    *times = times.saturating_sub(1);
                }
            }
            missing.values().all(|times| *times == 0)
        })
        .await;
    }

    /// Waits until so many frames of a channel arrived, and gives them.
    pub(crate) async fn frames(&self, channel: &Channel, count: usize) -> Vec<Frame> {
        self.until(&format!("{count} frames of {channel} arrived"), |events| {
            frames_of(events, channel).count() >= count
        })
        .await;
        self.heard(channel)
    }

    /// The frames of a channel that arrived so far.
    pub(crate) fn heard(&self, channel: &Channel) -> Vec<Frame> {
        frames_of(&self.sink.events.lock(), channel).cloned().collect()
    }

    /// Everything that the sink was told so far.
    pub(crate) fn events(&self) -> Vec<Event> {
        self.sink.events.lock().clone()
    }

    /// Waits until what the sink was told satisfies a condition.
    pub(crate) async fn until(&self, what: &str, holds: impl Fn(&[Event]) -> bool) {
        until(what, || async { holds(&self.sink.events.lock()) }).await;
    }
}

/// Waits until a condition holds.
pub(crate) async fn until<Looking: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Looking) {
    testkit::until(what, LIMIT, || {
        let looking = holds();
        async { Ok(looking.await) }
    })
    .await
    .unwrap();
}

fn frames_of<'a>(events: &'a [Event], wanted: &Channel) -> impl Iterator<Item = &'a Frame> {
    events.iter().filter_map(move |event| match event {
        Event::Frame(channel, frame) if channel == wanted.as_str() => Some(frame),
        _ => None,
    })
}

/// A message that is stored.
pub(crate) fn message(text: &str) -> Publish {
    let publication = Publication {
        event: EventName::new("said").unwrap(),
        data: RawValue::from_string(serde_json::to_string(text).unwrap()).unwrap(),
        binary: proto::BinaryPlaces::default(),
        id: None,
        from: None,
        timestamp: Timestamp(1_700_000_000_000),
    };
    Publish { publication, retention: Some(RETENTION), idempotency: None, outbox: None }
}

/// A message that is passed on and not stored.
pub(crate) fn signal(text: &str) -> Publish {
    Publish { retention: None, ..message(text) }
}

/// The publish under a publisher's id.
pub(crate) fn with_id(publish: Publish, publisher: &str, id: &str) -> Publish {
    let key = IdempotencyKey::new(publisher, &MessageId::new(id).unwrap());
    Publish { idempotency: Some(key), ..publish }
}

pub(crate) fn texts(entries: &[Entry]) -> Vec<String> {
    entries.iter().map(|entry| text(&entry.payload)).collect()
}

/// The text of a stored publication.
pub(crate) fn text(payload: &Bytes) -> String {
    serde_json::from_str(Publication::decode(payload).unwrap().data.get()).unwrap()
}

/// That these steps lead from a place on, one after the other.
pub(crate) fn assert_contiguous(mut from: Position, steps: impl IntoIterator<Item = Step>) {
    for step in steps {
        assert!(from.precedes(&step), "{step:?} does not follow {from:?}");
        from = step.position;
    }
}

/// A user of whom nothing but the id is known.
pub(crate) fn member(name: &str) -> PresenceEntry {
    PresenceEntry { user: UserId::new(name).unwrap(), name: None, profile: None }
}

#[derive(Default)]
struct Recorder {
    events: Mutex<Vec<Event>>,
}

impl Sink for Recorder {
    fn frame(&self, channel: &str, frame: Frame) {
        self.events.lock().push(Event::Frame(channel.to_owned(), frame));
    }

    fn presence(&self, channel: &str, news: PresenceNews) {
        self.events.lock().push(Event::Presence(channel.to_owned(), news));
    }

    fn control(&self, channel: &str, payload: Bytes) {
        self.events.lock().push(Event::Control(channel.to_owned(), payload));
    }

    fn subscribed(&self, channels: &[Channel]) {
        self.events.lock().extend(channels.iter().cloned().map(Event::Subscribed));
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.events.lock().extend(channels.iter().cloned().map(Event::Interrupted));
    }

    fn flush(&self) {
        self.events.lock().push(Event::Flush);
    }
}
