//! The subscription link against real servers that fail. Each test numbers what it publishes, and none of it may be
//! missing unless the link said that something may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use proto::{Channel, Epoch, Nonce, Position, Room, Step, Tenant};
use switchboard_broker::redis::link::Link;
use switchboard_broker::redis::{RedisConfig, wire};
use switchboard_broker::{Frame, Sink};
use testkit::{Options, Server, Standalone, until};

/// With a loaded machine in mind.
const PATIENCE: Duration = Duration::from_secs(30);

/// What became of a channel, in the order in which it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Subscribed,
    Interrupted,
    Frame(u64),
}

use Event::{Interrupted, Subscribed};

/// Writes everything down.
#[derive(Default)]
struct Log(Mutex<BTreeMap<String, Vec<Event>>>);

impl Log {
    fn add(&self, channels: &[Channel], event: Event) {
        let mut log = self.0.lock();
        channels.iter().for_each(|channel| log.entry(channel.as_str().to_owned()).or_default().push(event));
    }

    fn of(&self, channel: &Channel) -> Vec<Event> {
        self.0.lock().get(channel.as_str()).cloned().unwrap_or_default()
    }

    fn is_on(&self, channel: &Channel) -> bool {
        self.of(channel).iter().rev().find(|event| !matches!(event, Event::Frame(_))) == Some(&Subscribed)
    }

    /// How often each of these was interrupted, where it is the same for all.
    fn interruptions(&self, channels: &[Channel]) -> Vec<usize> {
        let count = |channel| self.of(channel).iter().filter(|event| **event == Interrupted).count();
        channels.iter().map(count).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Between a `Subscribed` and the next `Interrupted`, numbers follow each other; frames come at no other time.
    fn check(&self) {
        for (channel, events) in &*self.0.lock() {
            let (mut on, mut last) = (false, None);
            for event in events {
                match event {
                    Subscribed => (on, last) = (true, None),
                    Interrupted => {
                        assert!(on, "{channel} was interrupted though it was not in force");
                        on = false;
                    }
                    Event::Frame(number) => {
                        assert!(on, "{channel} got {number} though it was not in force");
                        assert!(
                            last.is_none_or(|last| last + 1 == *number),
                            "{channel}: {last:?} then {number}"
                        );
                        last = Some(*number);
                    }
                }
            }
        }
    }
}

impl Sink for Log {
    fn frame(&self, channel: &str, frame: Frame) {
        let channel = Channel::parse(channel).unwrap();
        self.add(&[channel], Event::Frame(frame.step.unwrap().position.offset));
    }

    fn subscribed(&self, channels: &[Channel]) {
        self.add(channels, Subscribed);
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.add(channels, Interrupted);
    }

    fn flush(&self) {}
}

fn room(name: &str) -> Channel {
    Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
}

fn rooms(count: usize) -> Vec<Channel> {
    (0..count).map(|at| room(&format!("r{at}"))).collect()
}

fn name(channel: &Channel) -> String {
    format!("sb:{{{}}}", channel.as_str())
}

fn link_at(url: &str) -> (Link, Arc<Log>) {
    let link = Link::new(RedisConfig::parse(url).unwrap(), Arc::new(name), 1);
    let log = Arc::new(Log::default());
    link.attach(log.clone());
    (link, log)
}

fn message(number: u64) -> String {
    let position = Position { epoch: Epoch(1), offset: number, nonce: Nonce(number) };
    let step = Some(Step { position, previous: Nonce(number - 1) });
    let frame = Frame { step, payload: Bytes::from_static(b"hello") };
    String::from_utf8(wire::encode(&frame).to_vec()).unwrap()
}

async fn publish(server: &Server, channel: &Channel, number: u64) {
    server.command(&["PUBLISH", &name(channel), &message(number)]).await.unwrap();
}

async fn all_on(log: &Log, channels: &[Channel]) {
    until("all are in force", PATIENCE, || async { Ok(channels.iter().all(|channel| log.is_on(channel))) })
        .await
        .unwrap();
}

async fn got(log: &Log, channel: &Channel, number: u64) {
    let arrived = || async { Ok(log.of(channel).last() == Some(&Event::Frame(number))) };
    until(&format!("{number} arrives"), PATIENCE, arrived).await.unwrap();
}

#[tokio::test]
async fn what_is_published_after_subscribed_arrives_in_order() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let room = room("a");
    link.subscribe(std::slice::from_ref(&room));
    all_on(&log, std::slice::from_ref(&room)).await;
    for number in 1..=100 {
        publish(&redis, &room, number).await;
    }
    got(&log, &room, 100).await;
    assert_eq!(log.of(&room).len(), 101);
    assert!(link.health().connected);
    assert_eq!((link.health().channels, link.health().reconnects), (1, 0));

    link.unsubscribe(std::slice::from_ref(&room));
    let nobody = || async { Ok(redis.command(&["PUBSUB", "CHANNELS"]).await?.list().is_empty()) };
    until("the server has no subscription", PATIENCE, nobody).await.unwrap();
    log.check();
    link.close().await;
    let no_client = || async { Ok(redis.info("pubsub_clients").await.unwrap_or("0".to_owned()) == "0") };
    until("the connection is closed", PATIENCE, no_client).await.unwrap();
}

#[tokio::test]
async fn a_killed_connection_is_told_and_made_again() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let rooms = rooms(3);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[0], 1).await;
    got(&log, &rooms[0], 1).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    until("it is told", PATIENCE, || async { Ok(log.interruptions(&rooms) == [1]) }).await.unwrap();
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[0], 7).await;
    got(&log, &rooms[0], 7).await;
    assert_eq!(
        log.of(&rooms[0]),
        [Subscribed, Event::Frame(1), Interrupted, Subscribed, Event::Frame(7)],
        "what was lost lies between the two"
    );
    assert_eq!(link.health().reconnects, 1);
    log.check();
}
