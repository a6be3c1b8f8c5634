//! What is sent to a user who is away waits for their next connection, for each of their devices.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use broker::memory::{MemoryBroker, Store};
use broker::{Broker, Publish, Retention};
use chassis::options;
use futures_util::StreamExt;
use proto::{ChannelRules, DeviceId, Durability, EventName, NodeId, Position, Publication, Timestamp};
use serde_json::{Value, json};
use support::{Client, Node, PATIENCE, token, user};
use switchboard_gateway::{ENDPOINTS, GatewayConfig, OPTIONS};
use tokio::time::{Instant, timeout};

/// A node whose only endpoint has these options.
fn node(store: &Store, name: &str, written: &str) -> Node {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[[endpoints]]\npath = \"/ws\"\n{written}").unwrap();
    let args = ["gateway", "--config", file.path().to_str().unwrap()];
    let loaded = options::load("gateway", "", &[OPTIONS, ENDPOINTS], args);
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(store, NodeId::new(name).unwrap()));
    Node::on(broker, GatewayConfig::from_options(&loaded.unwrap()).unwrap(), ChannelRules::default())
}

/// Two nodes of one cluster.
fn two(written: &str) -> [Node; 2] {
    let store = Store::new();
    [node(&store, "node-1", written), node(&store, "node-2", written)]
}

/// Ann's device of this name, connected; `rest` stands in the query as well.
async fn open(node: &Node, device: &str, rest: &str) -> Client {
    let query = format!("?token={}&device={device}{rest}", token("ann", &[]));
    let mut client = Client::open(node.request(&query)).await.unwrap();
    client.expect("welcome").await;
    client.expect("auth_success").await;
    client
}

async fn say(node: &Node, data: u64) -> Position {
    node.publish(&user("ann"), "note", json!(data)).await.position.unwrap()
}

async fn hears(client: &mut Client, data: &[u64]) {
    for data in data {
        assert_eq!(client.expect("message").await["data"], *data);
    }
}

/// Goes on reading, and so answering, until the device is known to have got so far.
async fn settles(node: &Node, client: &mut Client, device: &str, position: Position) {
    let (device, begun) = (DeviceId::new(device).unwrap(), Instant::now());
    while node.broker.reached(&user("ann"), &device).await.unwrap() != Some(position) {
        assert!(begun.elapsed() < PATIENCE, "{device} did not get to {position}");
        let heard = timeout(Duration::from_millis(20), client.0.next()).await;
        assert!(!matches!(heard, Ok(Some(Ok(ref frame))) if frame.is_text()), "{heard:?}");
    }
}

#[tokio::test]
async fn what_a_user_missed_is_given_on_any_node_once_to_each_device() {
    let [here, there] = two("offline = \"kept\"");
    let mut phone = open(&here, "phone", "").await;
    let first = say(&here, 1).await;
    hears(&mut phone, &[1]).await;
    settles(&here, &mut phone, "phone", first).await;
    drop(phone);

    say(&here, 2).await;
    let third = say(&here, 3).await;
    let mut phone = open(&there, "phone", "").await;
    hears(&mut phone, &[2, 3]).await;
    settles(&here, &mut phone, "phone", third).await;
    drop(phone);

    let mut phone = open(&here, "phone", "").await;
    say(&here, 4).await;
    hears(&mut phone, &[4]).await;
    // The other one was never there.
    hears(&mut open(&there, "desk", "").await, &[1, 2, 3, 4]).await;
}

#[tokio::test]
async fn what_a_device_did_not_answer_for_is_given_again() {
    let [here, there] = two("offline = \"kept\"");
    let mut phone = open(&here, "phone", "").await;
    say(&here, 1).await;
    // It reads the message, and not the ping behind it.
    hears(&mut phone, &[1]).await;
    drop(phone);
    // Once the node is done it has told all that it knows.
    here.gateway.drain(Duration::ZERO).await;
    assert_eq!(here.metric("gateway_connections"), 0.0);
    let mut phone = open(&there, "phone", "").await;
    hears(&mut phone, &[1]).await;
}

#[tokio::test]
async fn messages_in_a_row_and_those_before_a_close_are_answered_for() {
    let [here, there] = two("offline = \"kept\"");
    let mut phone = open(&here, "phone", "").await;
    let mut last = say(&here, 1).await;
    for data in 2..=50 {
        last = say(&here, data).await;
    }
    hears(&mut phone, &(1..=50).collect::<Vec<_>>()).await;
    settles(&here, &mut phone, "phone", last).await;
    say(&here, 51).await;
    let last = say(&here, 52).await;
    hears(&mut phone, &[51, 52]).await;
    let gateway = Arc::clone(&here.gateway);
    let draining = tokio::spawn(async move { gateway.drain(Duration::ZERO).await });
    phone.closed().await;
    // The answer to the close is what ends the connection.
    while let Ok(Some(Ok(_))) = timeout(PATIENCE, phone.0.next()).await {}
    draining.await.unwrap();
    let device = DeviceId::new("phone").unwrap();
    assert_eq!(there.broker.reached(&user("ann"), &device).await.unwrap(), Some(last));
}

#[tokio::test]
async fn a_new_device_may_begin_with_what_is_sent_from_then_on() {
    let [here, there] = two("offline = \"new\"");
    say(&here, 1).await;
    // It is gone before it was sent anything.
    drop(open(&here, "phone", "").await);
    say(&here, 2).await;
    hears(&mut open(&there, "phone", "").await, &[2]).await;
}

#[tokio::test]
async fn a_place_that_a_client_names_counts_more_than_the_one_that_is_remembered() {
    let [here, there] = two("offline = \"kept\"");
    let [first, second, _] = [say(&here, 1).await, say(&here, 2).await, say(&here, 3).await];
    let mut phone = open(&here, "phone", &format!("&since=user:ann@{second}")).await;
    hears(&mut phone, &[3]).await;
    let mut phone = open(&there, "phone", &format!("&since=user:ann@{first}")).await;
    hears(&mut phone, &[2, 3]).await;
}

#[tokio::test]
async fn who_was_away_for_too_long_is_told_of_the_gap_until_it_is_known_to_have_heard() {
    let [here, there] = two("offline = \"kept\"");
    let mut phone = open(&here, "phone", "").await;
    let first = say(&here, 1).await;
    hears(&mut phone, &[1]).await;
    settles(&here, &mut phone, "phone", first).await;
    drop(phone);
    let mut last = first;
    for data in 2..=5 {
        let publication = Publication {
            event: EventName::new("note").unwrap(),
            data: serde_json::value::to_raw_value(&data).unwrap(),
            binary: proto::BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(0),
        };
        let two = Retention { size: 2, age: Duration::from_secs(60), durability: Durability::Memory };
        let publish = Publish { publication, retention: Some(two), idempotency: None, outbox: None };
        last = here.broker.publish(&user("ann"), publish).await.unwrap().position.unwrap();
    }
    for node in [&here, &there] {
        let mut phone = open(node, "phone", "").await;
        assert_eq!(phone.expect("gap").await["reason"], "trimmed");
        hears(&mut phone, &[4, 5]).await;
    }
    let mut phone = open(&here, "phone", "").await;
    phone.expect("gap").await;
    hears(&mut phone, &[4, 5]).await;
    settles(&here, &mut phone, "phone", last).await;
    let mut phone = open(&there, "phone", "").await;
    say(&here, 6).await;
    hears(&mut phone, &[6]).await;
}

#[tokio::test]
async fn a_device_is_named_in_band_or_by_the_token_or_there_is_no_queue() {
    let [named, unnamed] = two("offline = \"kept\"");
    say(&named, 1).await;
    let in_band = async |node: &Node, device: Option<&str>| {
        let mut client = Client::open(node.request("")).await.unwrap();
        client.expect("welcome").await;
        let auth: Value = json!({"type": "auth", "token": token("ann", &[]), "device": device});
        assert_eq!(client.ask(auth).await["type"], "auth_success");
        client
    };
    hears(&mut in_band(&named, Some("phone")).await, &[1]).await;
    let mut nobody = in_band(&unnamed, None).await;
    say(&named, 2).await;
    hears(&mut nobody, &[2]).await;

    let [by_token, _] = two("offline = \"kept\"\ndevice = \"of-${claims.sub}\"");
    let position = say(&by_token, 1).await;
    let mut client = in_band(&by_token, None).await;
    hears(&mut client, &[1]).await;
    settles(&by_token, &mut client, "of-ann", position).await;
}
