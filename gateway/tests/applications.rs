//! Applications that keep their clients: the example configurations, spoken to as those clients do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use chassis::auth::AUTH;
use chassis::options::{self, CHANNELS, OF_FANOUT};
use proto::{Channel, ChannelRules};
use serde_json::{Value, json};
use support::{Client, Node, now, tenant, token, token_for, token_with, user};
use switchboard_gateway::{ENDPOINTS, GatewayConfig, OPTIONS};

fn example(name: &str) -> Node {
    let path = format!("{}/../deploy/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"));
    let tables: [&[_]; 5] = [OPTIONS, ENDPOINTS, AUTH, CHANNELS, OF_FANOUT];
    let loaded = options::load("gateway", "", &tables, ["gateway", "--config", &path]).unwrap();
    Node::with(GatewayConfig::from_options(&loaded).unwrap(), ChannelRules::default())
}

/// A frame without its time, which is checked to be there.
fn timeless(mut frame: Value) -> Value {
    let timestamp = frame.as_object_mut().unwrap().remove("timestamp");
    assert!(timestamp.is_some_and(|timestamp| timestamp.is_u64()), "{frame}");
    frame
}

async fn member(node: &Node, name: &str) -> Client {
    let mut client = Client::open(node.request("")).await.unwrap();
    let welcome = timeless(client.ask(json!({"type": "auth", "token": token(name, &["*"])})).await);
    assert_eq!(welcome["type"], "auth_success");
    assert_eq!(welcome["message"], "Authentication successful");
    client
}

#[tokio::test]
async fn a_community_speaks_flat_frames_in_its_own_words() {
    let node = example("tango");
    let mut early = Client::open(node.request("")).await.unwrap();
    let refused = timeless(early.ask(json!({"type": "join_room", "roomSlug": "general"})).await);
    assert_eq!(refused, json!({"type": "error", "message": "Not authenticated"}));
    let refused = timeless(early.ask(json!({"type": "auth", "token": "rubbish"})).await);
    assert_eq!(refused, json!({"type": "auth_error", "message": "Authentication failed"}));
    early.closed().await;

    let (mut ann, mut bob) = (member(&node, "ann").await, member(&node, "bob").await);
    let joined = timeless(ann.ask(json!({"type": "join_room", "roomSlug": "general"})).await);
    let expected = json!({"type": "room_joined", "roomSlug": "general", "message": "Joined room general", "userCount": 1});
    assert_eq!(joined, expected);
    let joined = timeless(bob.ask(json!({"type": "join_room", "roomSlug": "general"})).await);
    assert_eq!(joined["userCount"], 2);
    let told = timeless(ann.next().await);
    assert_eq!((&told["type"], &told["roomSlug"]), (&json!("user_joined"), &json!("general")));

    bob.send(
        json!({"type": "chat_message", "roomSlug": "general", "message": "Hello <b>", "messageId": "m1"}),
    )
    .await;
    let mut frames = [timeless(bob.next().await), timeless(bob.next().await)];
    frames.sort_by_key(|frame| frame["type"].as_str().unwrap().to_owned());
    assert_eq!(frames[0], json!({"type": "message_sent", "messageId": "m1", "roomSlug": "general"}));
    let message = timeless(ann.next().await);
    assert_eq!(message, frames[1]);
    assert_eq!(message["type"], "new_message");
    assert_eq!((&message["data"]["message"], &message["data"]["slug"]), (&json!("Hello <b>"), &json!("m1")));

    for rubbish in [json!([]), json!({"type": "nonsense"}), json!({"type": "chat_message"})] {
        let answer = timeless(ann.ask(rubbish).await);
        assert_eq!(
            (&answer["type"], &answer["message"]),
            (&json!("error"), &json!("Invalid message format"))
        );
    }
    node.publish(&user("ann"), "user_post_created", json!({"id": 7})).await;
    let told = timeless(ann.next().await);
    assert_eq!(told, json!({"type": "user_post_created", "data": {"id": 7}}));
    let left = timeless(bob.ask(json!({"type": "leave_room", "roomSlug": "general"})).await);
    assert_eq!(left, json!({"type": "room_left", "roomSlug": "general"}));
    assert_eq!(timeless(ann.next().await)["type"], "user_left");
}

#[tokio::test]
async fn a_dialer_is_told_of_calls_and_refused_with_1008() {
    let node = example("dialer");
    let good = token_with(json!({"sub": "7", "email": "ann@example.com"}));
    let mut ann = Client::open(node.request(&format!("?token={good}"))).await.unwrap();
    let connected = ann.next().await;
    assert_eq!(connected["event"], "connected");
    assert_eq!(connected["data"]["user"], "ann@example.com");
    assert!(connected["data"]["clientId"].as_str().unwrap().starts_with("ann@example.com-"), "{connected}");
    let pong = ann.ask(json!({"type": "ping", "data": {}})).await;
    // Its clients send flat frames and get enveloped ones.
    assert_eq!(pong["event"], "pong");
    assert!(pong["data"]["timestamp"].is_u64());
    node.publish(&Channel::everyone(&tenant()), "call-initiated", json!({"from": "+1"})).await;
    assert_eq!(ann.next().await, json!({"event": "call-initiated", "data": {"from": "+1"}}));

    let old = token_for("ann", &[], Duration::from_secs(1), now() - 600);
    for (query, reason) in [
        (String::new(), "no token"),
        ("?token=rubbish".to_owned(), "JWT"),
        (format!("?token={old}"), "expired"),
    ] {
        let mut client = Client::open(node.request(&query)).await.unwrap();
        let end = client.closed().await;
        assert_eq!(u16::from(end.code), 1008);
        assert!(end.reason.contains(reason), "{end:?}");
    }
}
