//! What is particular to the memory broker: expiry, which a stepped clock can show, and the freeing of memory.

// The helpers outside of test functions may panic like these.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::{
    Channel, Durability, EventName, MessageId, NodeId, PresenceEntry, Publication, Room, Tenant, Timestamp,
    UserId,
};
use switchboard_broker::memory::{MemoryBroker, Store};
use switchboard_broker::{
    Broker, Continuity, Frame, HistoryQuery, IdempotencyKey, PresenceNews, Publish, PublishError, Retention,
    Sink,
};
use tokio::time::advance;

const AGE: Duration = Duration::from_secs(60);

fn node(store: &Store, name: &str) -> Arc<MemoryBroker> {
    Arc::new(MemoryBroker::new(store, NodeId::new(name).unwrap()))
}

fn room(name: &str) -> Channel {
    Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
}

fn message(data: &str) -> Publish {
    let publication = Publication {
        event: EventName::new("said").unwrap(),
        data: serde_json::value::to_raw_value(data).unwrap(),
        binary: proto::BinaryPlaces::default(),
        id: None,
        from: None,
        timestamp: Timestamp(0),
    };
    Publish {
        publication,
        retention: Some(Retention { size: 10, age: AGE, durability: Durability::Memory }),
        idempotency: None,
        outbox: None,
    }
}

fn with_id(data: &str, id: &str) -> Publish {
    let key = IdempotencyKey::new("api", &MessageId::new(id).unwrap());
    Publish { idempotency: Some(key), ..message(data) }
}

const ALL: HistoryQuery = HistoryQuery { after: None, limit: 100 };

#[tokio::test(start_paused = true)]
async fn history_ends_its_age_after_the_last_publication_and_the_place_in_it_lasts_longer() {
    let broker = node(&Store::new(), "a");
    let first = broker.publish(&room("r"), message("1")).await.unwrap().position.unwrap();
    advance(AGE - Duration::from_secs(1)).await;
    let second = broker.publish(&room("r"), message("2")).await.unwrap().position.unwrap();
    advance(AGE - Duration::from_secs(1)).await;
    assert_eq!(broker.history(&room("r"), ALL).await.unwrap().entries.len(), 2);
    advance(Duration::from_secs(1)).await;

    let after = |position| HistoryQuery { after: Some(position), limit: 10 };
    let up_to_date = broker.history(&room("r"), after(second)).await.unwrap();
    assert_eq!((up_to_date.top, up_to_date.continuity), (second, Continuity::Continuous));
    let behind = broker.history(&room("r"), after(first)).await.unwrap();
    assert_eq!((behind.entries.len(), behind.continuity), (0, Continuity::Trimmed));
    let third = broker.publish(&room("r"), message("3")).await.unwrap().position.unwrap();
    assert_eq!((third.epoch, third.offset), (first.epoch, 3));
}

#[tokio::test]
async fn memory_alone_confirms_no_more_than_memory() {
    let broker = node(&Store::new(), "a");
    for durability in [Durability::Replica, Durability::Fsync] {
        let mut asked = message("1");
        asked.retention.as_mut().unwrap().durability = durability;
        let outcome = broker.publish(&room("r"), asked).await;
        assert!(matches!(outcome, Err(PublishError::Unsupported(_))), "{outcome:?}");
    }
    assert_eq!(broker.history(&room("r"), ALL).await.unwrap().entries.len(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_id_is_remembered_for_its_window() {
    let broker = node(&Store::new(), "a");
    let first = broker.publish(&room("r"), with_id("1", "x")).await.unwrap();
    advance(IdempotencyKey::WINDOW - Duration::from_secs(1)).await;
    let again = broker.publish(&room("r"), with_id("1", "x")).await.unwrap();
    assert_eq!((again.position, again.duplicate), (first.position, true));
    advance(Duration::from_secs(1)).await;
    let anew = broker.publish(&room("r"), with_id("1", "x")).await.unwrap();
    assert!(!anew.duplicate);
    assert_ne!(anew.position, first.position);
}

#[tokio::test(start_paused = true)]
async fn what_nobody_needs_is_freed_and_begins_anew() {
    let store = Store::new();
    let broker = node(&store, "a");
    let before = broker.tops(&[room("r")]).await.unwrap()[0];
    for number in 0..100 {
        broker.publish(&room(&format!("r{number}")), with_id("1", "x")).await.unwrap();
    }
    assert_eq!(store.len(), 101);
    advance(Duration::from_secs(2 * 60 * 60)).await;
    store.sweep();
    assert!(store.is_empty());
    let query = HistoryQuery { after: Some(before), limit: 10 };
    assert_eq!(broker.history(&room("r"), query).await.unwrap().continuity, Continuity::Reset);
}

#[tokio::test(start_paused = true)]
async fn using_the_store_frees_what_has_expired_bit_by_bit() {
    let store = Store::new();
    let broker = node(&store, "a");
    for number in 0..20_000 {
        broker.publish(&room(&format!("r{number}")), with_id("1", "x")).await.unwrap();
    }
    assert_eq!(store.len(), 20_000);
    advance(Duration::from_secs(2 * 60 * 60)).await;
    for number in 0..4_000 {
        broker.publish(&room(&format!("s{number}")), message("1")).await.unwrap();
    }
    assert!(store.len() < 5_000, "{} channels are kept", store.len());
}

#[tokio::test(start_paused = true)]
async fn questions_about_empty_channels_leave_no_trace() {
    let store = Store::new();
    let broker = node(&store, "a");
    broker.present(&room("r"), 10).await.unwrap();
    broker.release(&room("r"), &UserId::new("u").unwrap()).await.unwrap();
    broker.unsubscribe(&[room("r")]);
    assert!(store.is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_stream_of_a_channel_with_a_listener_is_never_forgotten() {
    let store = Store::new();
    let broker = node(&store, "a");
    broker.attach(Arc::new(Recorder::default()));
    broker.subscribe(&[room("r")]);
    let top = broker.tops(&[room("r")]).await.unwrap();
    advance(Duration::from_secs(24 * 60 * 60)).await;
    store.sweep();
    assert_eq!(broker.tops(&[room("r")]).await.unwrap(), top);
    broker.close().await;
}

#[tokio::test]
async fn a_closed_node_is_nowhere_and_says_so() {
    let store = Store::new();
    let (a, b) = (node(&store, "a"), node(&store, "b"));
    let sink = Arc::new(Recorder::default());
    a.attach(Arc::clone(&sink) as Arc<dyn Sink>);
    a.subscribe(&[room("r")]);
    let user = PresenceEntry { user: UserId::new("u").unwrap(), name: None, profile: None };
    a.hold(&room("r"), &user, None).await.unwrap();
    assert!(a.health().is_ok());
    assert_eq!(a.health().channels, 1);
    a.close().await;
    a.close().await;
    assert_eq!((a.health().is_ok(), a.health().channels), (false, 0));
    assert_eq!(b.present(&room("r"), 10).await.unwrap().count, 0);
    b.publish(&room("r"), message("1")).await.unwrap();
    assert!(a.publish(&room("r"), message("1")).await.is_err());
    assert!(a.hold(&room("r"), &user, None).await.is_err());
    a.subscribe(&[room("r")]);
    assert_eq!(Arc::strong_count(&sink), 1, "the reader has ended");
    assert!(sink.frames.lock().is_empty());
}

#[tokio::test]
async fn a_node_that_is_dropped_leaves() {
    let store = Store::new();
    let (a, b) = (node(&store, "a"), node(&store, "b"));
    let user = PresenceEntry { user: UserId::new("u").unwrap(), name: None, profile: None };
    assert_eq!(a.hold(&room("r"), &user, None).await.unwrap(), 1);
    drop(a);
    assert_eq!(b.present(&room("r"), 10).await.unwrap().count, 0);
}

#[tokio::test]
async fn publishers_wait_for_a_node_that_is_far_behind_and_lose_nothing() {
    let store = Store::new();
    let a = node(&store, "a");
    let sink = Arc::new(Recorder::default());
    a.attach(Arc::clone(&sink) as Arc<dyn Sink>);
    a.subscribe(&[room("r")]);
    // Three times what a node's queue takes; on this one thread the node reads only while the publisher waits.
    let large = "x".repeat(1 << 20);
    for _ in 0..24 {
        a.publish(&room("r"), message(&large)).await.unwrap();
    }
    assert!(sink.frames.lock().len() > 8, "the publisher waited");
    let all = async {
        while sink.frames.lock().len() < 24 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), all).await.expect("every frame arrives");
    let offsets =
        sink.frames.lock().iter().map(|frame| frame.step.unwrap().position.offset).collect::<Vec<_>>();
    assert_eq!(offsets, (1..=24).collect::<Vec<_>>());
    a.close().await;
}

#[derive(Default)]
struct Recorder {
    frames: Mutex<Vec<Frame>>,
}

impl Sink for Recorder {
    fn frame(&self, _channel: &str, frame: Frame) {
        self.frames.lock().push(frame);
    }
    fn presence(&self, _channel: &str, _news: PresenceNews) {}
    fn control(&self, _channel: &str, _payload: Bytes) {}
    fn subscribed(&self, _channels: &[Channel]) {}
    fn interrupted(&self, _channels: &[Channel]) {}
    fn flush(&self) {}
}
