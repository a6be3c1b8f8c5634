//! What endpoints make of tokens, and where the backend puts users.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::io::Write;
use std::sync::Arc;

use broker::Broker;
use broker::memory::{MemoryBroker, Store};
use chassis::options;
use futures_util::StreamExt;
use proto::{ChannelOptions, ChannelRules, Kind, NodeId, Pattern, Room, UserId};
use serde_json::{Value, json};
use support::{Client, Node, room, tenant, token, token_with};
use switchboard_gateway::{ENDPOINTS, GatewayConfig, OPTIONS};
use tokio_tungstenite::tungstenite::Message;

/// A node whose only endpoint has these policies.
fn node(store: &Store, name: &str, policies: &str) -> Node {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "[[endpoints]]\npath = \"/ws\"\n{policies}").unwrap();
    let args = ["gateway", "--config", file.path().to_str().unwrap()];
    let loaded = options::load("gateway", "", &[OPTIONS, ENDPOINTS], args);
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(store, NodeId::new(name).unwrap()));
    Node::on(broker, GatewayConfig::from_options(&loaded.unwrap()).unwrap(), ChannelRules::default())
}

/// A node where who is online is seen.
fn watched(store: &Store, name: &str) -> Node {
    let seen = ChannelOptions { presence: true, ..ChannelOptions::default_for(Kind::Everyone) };
    let rules = ChannelRules::new(vec![(Pattern::new("all").unwrap(), seen)]);
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(store, NodeId::new(name).unwrap()));
    Node::on(broker, GatewayConfig::default(), rules)
}

fn alone(policies: &str) -> Node {
    node(&Store::new(), "node-1", policies)
}

async fn open(node: &Node, token: &str) -> Client {
    Client::open(node.request(&format!("?token={token}"))).await.unwrap()
}

fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| Room::new(name).unwrap()).collect()
}

async fn set(node: &Node, user: &str, join: &[&str], leave: &[&str]) {
    let user = UserId::new(user).unwrap();
    node.broker.set_memberships(&tenant(), &user, &rooms(join), &rooms(leave)).await.unwrap();
}

/// The channels that a session listens to from its start.
fn channels(auth_success: &Value) -> Vec<&str> {
    auth_success["positions"].as_object().unwrap().keys().map(String::as_str).collect()
}

#[tokio::test]
async fn a_session_is_in_the_rooms_that_its_claims_name() {
    let node = alone("rooms = [\"org:${claims.org}\"]");
    let mut ann = open(&node, &token_with(json!({"sub": "ann", "org": 7}))).await;
    ann.expect("welcome").await;
    assert_eq!(channels(&ann.expect("auth_success").await), ["all", "room:org:7", "user:ann"]);
    node.publish(&room("org:7"), "hello", json!(1)).await;
    assert_eq!(ann.expect("message").await["channel"], "room:org:7");
    // It is a member as if it had joined.
    ann.send(json!({"type": "publish", "room": "org:7", "event": "e", "data": 2})).await;
    let mut told = [ann.next().await, ann.next().await].map(|frame| frame["type"].to_string());
    told.sort();
    assert_eq!(told, ["\"message\"", "\"published\""]);
    // Another token moves it.
    let other = token_with(json!({"sub": "ann", "org": 8}));
    ann.send(json!({"type": "refresh", "token": other})).await;
    let frames = [ann.next().await, ann.next().await, ann.next().await];
    let told: Vec<_> = frames.iter().map(|frame| (&frame["type"], &frame["room"])).collect();
    assert_eq!(told[0].0, "auth_success", "{frames:?}");
    assert_eq!(told[1..], [(&json!("left"), &json!("org:7")), (&json!("joined"), &json!("org:8"))]);
}

#[tokio::test]
async fn a_token_is_refused_that_does_not_say_what_the_endpoint_asks_for() {
    let node = alone(
        "rooms = [\"org:${claims.org}\"]\nrefusal = \"1008\"\n\
         claims = [{ claim = \"org\", format = \"uuid\" }, { claim = \"isActive\", not = false }]",
    );
    let org = "123e4567-e89b-12d3-a456-426614174000";
    for (claims, reason) in [
        (json!({"sub": "ann"}), "org is missing"),
        (json!({"sub": "ann", "org": "x"}), "org must be a UUID"),
        (json!({"sub": "ann", "org": org, "isActive": false}), "isActive has a value that is refused"),
    ] {
        let end = open(&node, &token_with(claims)).await.closed().await;
        assert_eq!(u16::from(end.code), 1008);
        assert!(end.reason.contains(reason), "{end:?}");
    }
    let mut ann = open(&node, &token_with(json!({"sub": "ann", "org": org}))).await;
    ann.expect("welcome").await;
    ann.expect("auth_success").await;
    // What would be refused at the start does not come in later either.
    let answer = ann.ask(json!({"type": "refresh", "token": token_with(json!({"sub": "ann"}))})).await;
    assert_eq!(answer["code"], "invalid_token");
}

#[tokio::test]
async fn a_session_starts_in_the_rooms_of_its_user_and_goes_where_the_backend_says() {
    let store = Store::new();
    let nodes = [node(&store, "node-1", ""), node(&store, "node-2", "")];
    set(&nodes[0], "ann", &["team", "old"], &[]).await;
    let mut sessions = Vec::new();
    for node in &nodes {
        // The token lists no room at all.
        let mut ann = open(node, &token("ann", &[])).await;
        ann.expect("welcome").await;
        let began = ann.expect("auth_success").await;
        assert_eq!(channels(&began), ["all", "room:old", "room:team", "user:ann"]);
        sessions.push(ann);
    }
    set(&nodes[1], "ann", &["new"], &["old"]).await;
    for ann in &mut sessions {
        assert_eq!(ann.expect("left").await["room"], "old");
        let joined = ann.expect("joined").await;
        assert_eq!(joined["room"], "new");
        assert!(joined["position"].is_string(), "it can be resumed: {joined}");
    }
    nodes[0].publish(&room("old"), "no", json!(0)).await;
    nodes[0].publish(&room("team"), "yes", json!(1)).await;
    for ann in &mut sessions {
        assert_eq!(ann.expect("message").await["event"], "yes");
    }
    nodes[1].publish(&room("new"), "yes", json!(2)).await;
    for ann in &mut sessions {
        assert_eq!(ann.expect("message").await["data"], 2);
    }
}

#[tokio::test]
async fn a_session_resumes_the_rooms_that_it_is_given() {
    let node = alone("");
    set(&node, "ann", &["team"], &[]).await;
    let mut ann = open(&node, &token("ann", &[])).await;
    ann.expect("welcome").await;
    let began = ann.expect("auth_success").await;
    let at = began["positions"]["room:team"].as_str().unwrap().to_owned();
    drop(ann);
    node.publish(&room("team"), "missed", json!(1)).await;
    let query = format!("?token={}&since=room:team@{at}", token("ann", &[]));
    let mut ann = Client::open(node.request(&query)).await.unwrap();
    ann.expect("welcome").await;
    ann.expect("auth_success").await;
    assert_eq!(ann.expect("message").await["event"], "missed");
}

#[tokio::test]
async fn many_changes_at_once_all_come_true() {
    let node = alone("");
    let mut ann = open(&node, &token("ann", &[])).await;
    ann.expect("welcome").await;
    ann.expect("auth_success").await;
    for at in 0..50 {
        let name = format!("r{at}");
        set(&node, "ann", &[&name], &[]).await;
    }
    let mut joined = std::collections::BTreeSet::new();
    while joined.len() < 50 {
        joined.insert(ann.expect("joined").await["room"].as_str().unwrap().to_owned());
    }
}

#[tokio::test]
async fn who_gives_no_sign_of_life_is_gone_and_who_answers_stays() {
    let node = alone("heartbeat = \"5s\"\npong_timeout = \"8s\"\ntext_ping = true");
    let (mut silent, mut alive) =
        (open(&node, &token("ann", &[])).await, open(&node, &token("bob", &[])).await);
    assert_eq!(alive.expect("welcome").await["heartbeat"], 5000);
    alive.expect("auth_success").await;
    // The library answers the pings of the transport when it is read from: this one is not, and falls silent.
    for _ in 0..3 {
        assert!(alive.expect("ping").await["timestamp"].is_u64());
    }
    assert_eq!(u16::from(silent.closed().await.code), 4002);
    alive.send(json!({"type": "ping"})).await;
    while alive.next().await["type"] != "pong" {}
}

#[tokio::test]
async fn the_newest_session_of_a_user_is_the_one_that_stays_whichever_node_it_is_on() {
    let store = Store::new();
    let nodes = [node(&store, "node-1", "max_sessions = 1"), node(&store, "node-2", "max_sessions = 1")];
    let mut older = nodes[0].client("ann").await;
    let mut bob = nodes[0].client("bob").await;
    let mut newer = nodes[1].client("ann").await;
    assert_eq!(u16::from(older.closed().await.code), 4501);
    nodes[0].publish(&support::user("ann"), "hello", json!(1)).await;
    assert_eq!(newer.expect("message").await["data"], 1);
    bob.send(json!({"type": "ping"})).await;
    bob.expect("pong").await;
    // A place that was given up is free.
    newer.0.close(None).await.unwrap();
    drop(newer);
    let mut next = nodes[0].client("ann").await;
    next.send(json!({"type": "ping"})).await;
    next.expect("pong").await;
}

#[tokio::test]
async fn of_two_sessions_that_come_at_once_exactly_one_stays() {
    let store = Store::new();
    let nodes = [node(&store, "node-1", "max_sessions = 1"), node(&store, "node-2", "max_sessions = 1")];
    for _ in 0..10 {
        let token = token("ann", &[]);
        let (mut one, mut other) = tokio::join!(open(&nodes[0], &token), open(&nodes[1], &token));
        let end = tokio::select! {
            end = one.closed() => end,
            end = other.closed() => end,
        };
        assert_eq!(u16::from(end.code), 4501);
        nodes[0].publish(&support::user("ann"), "hello", json!(1)).await;
        let stays = async |client: &mut Client| loop {
            match frame(client).await {
                Some(told) if told["type"] == "message" => return true,
                Some(_) => {}
                None => return false,
            }
        };
        let (one, other) = (stays(&mut one).await, stays(&mut other).await);
        assert!(one != other, "exactly one: {one} {other}");
    }
}

/// The next frame; `None` at the end.
async fn frame(client: &mut Client) -> Option<Value> {
    loop {
        match client.0.next().await {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return None,
            Some(Ok(_)) => {}
        }
    }
}

#[tokio::test]
async fn the_first_session_of_a_user_and_the_last_one_gone_are_told_to_who_is_online() {
    let store = Store::new();
    let nodes = [watched(&store, "node-1"), watched(&store, "node-2")];
    let mut ann = nodes[0].client("ann").await;
    let (bob, again) = (nodes[1].client("bob").await, nodes[0].client("bob").await);
    let told = ann.expect("user_online").await;
    assert_eq!((&told["user"], &told["name"], &told["userCount"]), (&json!("bob"), &json!("BOB"), &json!(2)));
    let mut users = ann.ask(json!({"type": "online", "id": 1})).await;
    assert_eq!((&users["type"], &users["userCount"]), (&json!("online"), &json!(2)));
    let users = users["users"].as_array_mut().unwrap();
    users.sort_by_key(|user| user["user"].to_string());
    assert_eq!(*users, [json!({"user": "ann", "name": "ANN"}), json!({"user": "bob", "name": "BOB"})]);
    drop(bob);
    drop(again);
    let told = ann.expect("user_offline").await;
    assert_eq!((&told["user"], &told["userCount"]), (&json!("bob"), &json!(1)));
}

#[tokio::test]
async fn who_is_online_is_not_told_where_it_is_not_seen() {
    let node = Node::start();
    let (mut ann, _bob) = (node.client("ann").await, node.client("bob").await);
    let answer = ann.ask(json!({"type": "online"})).await;
    assert_eq!(answer["code"], "forbidden");
}

#[tokio::test]
async fn in_a_crowded_room_and_tenant_only_numbers_are_told() {
    let store = Store::with_presence_limit(2);
    let node = watched(&store, "node-1");
    let mut ann = node.client("ann").await;
    ann.join("stadium").await;
    let mut others = Vec::new();
    for name in ["bob", "cat", "dan", "eve"] {
        let mut other = node.client(name).await;
        other.join("stadium").await;
        others.push(other);
    }
    let mut last = std::collections::BTreeMap::new();
    let mut names = std::collections::BTreeSet::new();
    while last.get("all") != Some(&5) || last.get("room:stadium") != Some(&5) {
        let frame = ann.any().await;
        match frame["type"].as_str().unwrap() {
            "user_count" => {
                let channel = frame["channel"].as_str().unwrap().to_owned();
                last.insert(channel, frame["userCount"].as_u64().unwrap());
            }
            kind => _ = names.insert(format!("{kind} {}", frame["user"].as_str().unwrap())),
        }
    }
    assert_eq!(names, ["member_joined bob", "user_online bob"].map(str::to_owned).into());
}
