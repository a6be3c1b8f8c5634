//! The subscription link against real servers that fail. Each test numbers what it publishes, and none of it may be
//! missing unless the link said that something may be.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod chaos;
mod cluster;
mod log;
mod sentinel;
mod standalone;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::{Channel, Epoch, Nonce, Position, Room, Step, Tenant};
use switchboard_broker::Sink;
use switchboard_broker::redis::link::Link;
use switchboard_broker::redis::{RedisConfig, wire};
use testkit::{Server, until};

use log::{Event, Event::Interrupted, Event::Subscribed, Log};

/// With a loaded machine in mind.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let log = Arc::new(Log::default());
    (link_to(url, log.clone()), log)
}

fn link_to(url: &str, sink: Arc<dyn Sink>) -> Link {
    let link = Link::new(RedisConfig::parse(url).unwrap(), Arc::new(name), 1);
    link.attach(sink);
    link
}

fn message(number: u64) -> String {
    let position = Position { epoch: Epoch(1), offset: number, nonce: Nonce(number) };
    let step = Some(Step { position, previous: Nonce(number - 1) });
    let frame = switchboard_broker::Frame { step, payload: Bytes::from_static(b"hello") };
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
