//! What tests of the broker on a Redis have in common: a node, a room, and messages for it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    reason = "helpers of tests; no test uses all of them"
)]

use std::time::Duration;

use parking_lot::Mutex;
use proto::{Channel, Durability, EventName, MessageId, NodeId, Publication, Room, Tenant, Timestamp};
use serde_json::value::to_raw_value;
use switchboard_broker::redis::{RedisBroker, RedisConfig};
use switchboard_broker::{Broker, IdempotencyKey, Publish, Published, Retention};
use testkit::{Standalone, until};

/// How long anything may take, with a loaded machine in mind.
pub const LIMIT: Duration = Duration::from_secs(60);

pub async fn connect(url: &str) -> RedisBroker {
    connect_as(url, "node").await
}

pub async fn connect_as(url: &str, node: &str) -> RedisBroker {
    RedisBroker::connect(RedisConfig::parse(url).unwrap(), NodeId::new(node).unwrap()).await.unwrap()
}

pub fn room(name: &str) -> Channel {
    Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
}

pub fn message(text: &str) -> Publish {
    confirmed(text, Durability::Memory)
}

/// A message of which more than Redis' memory may have to be sure.
pub fn confirmed(text: &str, durability: Durability) -> Publish {
    let publication = Publication {
        event: EventName::new("said").unwrap(),
        data: to_raw_value(text).unwrap(),
        binary: proto::BinaryPlaces::default(),
        id: None,
        from: None,
        timestamp: Timestamp(1),
    };
    let retention = Some(Retention { size: 1000, age: Duration::from_secs(600), durability });
    Publish { publication, retention, idempotency: None, outbox: None }
}

pub fn with_id(publish: Publish, id: &str) -> Publish {
    let key = IdempotencyKey::new("api", &MessageId::new(id).unwrap());
    Publish { idempotency: Some(key), ..publish }
}

/// Publishes to the room again and again until that succeeds.
pub async fn eventually(broker: &RedisBroker, publish: Publish) -> Published {
    let published = Mutex::new(None);
    until("a publish succeeds", LIMIT, || async {
        *published.lock() = Some(broker.publish(&room("r"), publish.clone()).await?);
        Ok(true)
    })
    .await
    .unwrap();
    published.into_inner().unwrap()
}

/// How often the server ran a command since its statistics were reset.
pub async fn calls(redis: &Standalone, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text();
    let prefix = format!("cmdstat_{command}:calls=");
    let calls = stats.lines().find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok());
    calls.unwrap_or_default()
}
