//! The native protocol over real sockets, with the memory broker.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proto::{Channel, ChannelOptions, ChannelRules, Kind, Pattern};
use serde_json::{Value, json};
use support::{Client, Node, now, room, tenant, token, token_for, user};
use switchboard_gateway::{Endpoint, GatewayConfig, Origins};
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Error, Message};

fn config(change: impl FnOnce(&mut Endpoint)) -> GatewayConfig {
    let mut config = GatewayConfig::default();
    change(&mut config.endpoints[0]);
    config
}

#[tokio::test]
async fn a_room_message_reaches_its_members_and_nobody_else() {
    let node = Node::start();
    let (mut ann, mut bob, mut eve) =
        (node.client("ann").await, node.client("bob").await, node.client("eve").await);
    ann.join("lobby").await;
    bob.join("lobby").await;
    eve.join("other").await;
    let published = ann
        .ask(json!({"type": "publish", "room": "lobby", "event": "chat", "data": {"text": "hi", "n": 1.50}, "messageId": "m1", "id": 7}))
        .await;
    // Who publishes is a member too, and may see the message before its confirmation.
    let (published, echo) = match published["type"].as_str() {
        Some("published") => (published, ann.expect("message").await),
        _ => (ann.expect("published").await, published),
    };
    assert_eq!(
        (&published["messageId"], &published["duplicate"], &published["id"]),
        (&json!("m1"), &json!(false), &json!(7))
    );
    let message = bob.expect("message").await;
    assert_eq!(message, echo);
    assert_eq!(message["channel"], "room:lobby");
    assert_eq!(message["event"], "chat");
    assert_eq!(message["data"], json!({"text": "hi", "n": 1.50}));
    assert_eq!(message["position"], published["position"]);
    assert_eq!(message["from"], json!({"user": "ann", "name": "ANN"}));
    assert_eq!(eve.ask(json!({"type": "ping", "id": "p"})).await["id"], "p");
}

#[tokio::test]
async fn a_user_and_everyone_can_be_addressed() {
    let node = Node::start();
    let (mut ann, mut ann_again, mut bob) =
        (node.client("ann").await, node.client("ann").await, node.client("bob").await);
    node.publish(&user("ann"), "hello", json!("ann")).await;
    for client in [&mut ann, &mut ann_again] {
        let message = client.expect("message").await;
        assert_eq!((&message["channel"], &message["data"]), (&json!("user:ann"), &json!("ann")));
    }
    node.publish(&Channel::everyone(&tenant()), "hello", json!("all")).await;
    for client in [&mut ann, &mut ann_again, &mut bob] {
        let message = client.expect("message").await;
        assert_eq!((&message["channel"], &message["data"]), (&json!("all"), &json!("all")));
    }
}

#[tokio::test]
async fn a_token_is_taken_from_each_of_its_places() {
    let node = Node::start();
    let token = token("ann", &[]);
    let with = |name: &'static str, value: String| {
        let mut request = node.request("");
        request.headers_mut().insert(name, value.parse().unwrap());
        request
    };
    for request in [
        node.request(&format!("?token={token}")),
        with("authorization", format!("Bearer {token}")),
        with("sec-websocket-protocol", format!("switchboard, bearer.{token}")),
    ] {
        let mut client = Client::open(request).await.unwrap();
        assert_eq!(client.expect("welcome").await["authenticated"], true);
        let session = client.expect("auth_success").await;
        assert_eq!((&session["user"], &session["name"]), (&json!("ann"), &json!("ANN")));
        assert!(session["positions"]["user:ann"].is_string() && session["positions"]["all"].is_string());
    }
    let mut client = Client::open(node.request("")).await.unwrap();
    assert_eq!(client.expect("welcome").await["authenticated"], false);
    let early = client.ask(json!({"type": "join", "room": "lobby", "id": 1})).await;
    assert_eq!((&early["code"], &early["id"]), (&json!("not_authenticated"), &json!(1)));
    assert_eq!(client.ask(json!({"type": "auth", "token": token, "id": 2})).await["type"], "auth_success");
    assert_eq!(client.ask(json!({"type": "auth", "token": token})).await["code"], "already_authenticated");
}

#[tokio::test]
async fn a_refused_token_closes_with_its_reason() {
    let node = Node::start();
    let forged = format!("{}x", token("ann", &[]));
    let expired = token_for("ann", &[], Duration::from_secs(1), now() - 600);
    for (token, code, close, reason) in [
        ("rubbish".to_owned(), "invalid_token", 4500, "not a signed JWT"),
        (forged, "invalid_token", 4500, "signature"),
        (expired, "token_expired", 4001, "expired"),
    ] {
        let mut client = Client::open(node.request(&format!("?token={token}"))).await.unwrap();
        client.expect("welcome").await;
        assert_eq!(client.expect("error").await["code"], code);
        let end = client.closed().await;
        assert_eq!(u16::from(end.code), close);
        assert!(end.reason.contains(reason), "{end:?}");
    }
    assert!(node.metric("gateway_auth_failures_total") >= 3.0);
}

#[tokio::test]
async fn who_does_not_authenticate_or_outlives_the_token_is_closed() {
    let node = Node::with(
        config(|endpoint| endpoint.auth_timeout = Duration::from_secs(1)),
        ChannelRules::default(),
    );
    let mut anonymous = Client::open(node.request("")).await.unwrap();
    let short = token_for("ann", &[], Duration::from_secs(2), now());
    let mut expiring = Client::open(node.request(&format!("?token={short}"))).await.unwrap();
    assert_eq!(u16::from(anonymous.closed().await.code), 4003);
    assert_eq!(u16::from(expiring.closed().await.code), 4001);
}

#[tokio::test]
async fn a_refreshed_token_keeps_the_session_and_leaves_what_it_no_longer_allows() {
    let node = Node::start();
    let mut ann = node.client("ann").await;
    ann.join("lobby").await;
    ann.join("vault").await;
    let refused = ann.ask(json!({"type": "refresh", "token": token("bob", &["*"])})).await;
    assert_eq!(refused["code"], "forbidden");
    let fresh = ann.ask(json!({"type": "refresh", "token": token("ann", &["lobby"]), "id": 1})).await;
    assert_eq!((&fresh["type"], &fresh["id"]), (&json!("auth_success"), &json!(1)));
    let left = ann.expect("left").await;
    assert_eq!(left["room"], "vault");
    node.publish(&room("vault"), "e", json!(1)).await;
    node.publish(&room("lobby"), "e", json!(2)).await;
    assert_eq!(ann.expect("message").await["data"], 2);
}

#[tokio::test]
async fn rights_follow_from_claims_and_membership() {
    let node = Node::start();
    let request = node.request(&format!("?token={}", token("ann", &["chat-*"])));
    let mut ann = Client::open(request).await.unwrap();
    ann.expect("welcome").await;
    ann.expect("auth_success").await;
    for (request, code) in [
        (json!({"type": "join", "room": "vault"}), "forbidden"),
        (json!({"type": "history", "room": "vault"}), "forbidden"),
        (json!({"type": "presence", "room": "vault"}), "forbidden"),
        (json!({"type": "publish", "room": "chat-1", "event": "e", "data": 1}), "not_joined"),
        (json!({"type": "leave", "room": "chat-1"}), "not_joined"),
        (json!({"type": "join", "room": "a/b"}), "invalid_name"),
        (json!({"type": "join", "room": "chat-1", "since": "x"}), "invalid_position"),
    ] {
        let error = ann.ask(request.clone()).await;
        assert_eq!((&error["type"], &error["code"]), (&json!("error"), &json!(code)), "{request}");
    }
    ann.join("chat-1").await;
    let large = "x".repeat(40_000);
    let error = ann.ask(json!({"type": "publish", "room": "chat-1", "event": "e", "data": large})).await;
    assert_eq!(error["code"], "too_large");
}

#[tokio::test]
async fn a_message_id_counts_once() {
    let node = Node::start();
    let (mut ann, mut bob) = (node.client("ann").await, node.client("bob").await);
    bob.join("lobby").await;
    ann.join("lobby").await;
    let publish = json!({"type": "publish", "room": "lobby", "event": "e", "data": 1, "messageId": "m"});
    ann.send(publish.clone()).await;
    let mut replies = vec![ann.next().await, ann.next().await];
    replies.retain(|reply| reply["type"] == "published");
    let first = replies.remove(0);
    for _ in 0..2 {
        let again = ann.ask(publish.clone()).await;
        assert_eq!((&again["duplicate"], &again["position"]), (&json!(true), &first["position"]));
    }
    let other = json!({"type": "publish", "room": "lobby", "event": "e", "data": 2, "messageId": "m"});
    assert_eq!(ann.ask(other).await["code"], "conflict");
    node.publish(&room("lobby"), "end", json!(0)).await;
    assert_eq!(bob.expect("message").await["data"], 1);
    assert_eq!(bob.expect("message").await["event"], "end");
}

#[tokio::test]
async fn users_are_counted_once_and_leave_with_their_last_session() {
    let node = Node::start();
    let (mut ann, mut phone, mut bob) =
        (node.client("ann").await, node.client("ann").await, node.client("bob").await);
    assert_eq!(ann.join("lobby").await["userCount"], 1);
    assert_eq!(phone.join("lobby").await["userCount"], 1);
    assert_eq!(bob.join("lobby").await["userCount"], 2);
    let present = bob.ask(json!({"type": "presence", "room": "lobby"})).await;
    let mut users: Vec<_> =
        present["users"].as_array().unwrap().iter().map(|user| user["user"].as_str().unwrap()).collect();
    users.sort_unstable();
    assert_eq!(users, ["ann", "bob"]);
    drop(ann);
    assert_eq!(phone.ask(json!({"type": "leave", "room": "lobby"})).await["type"], "left");
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while bob.ask(json!({"type": "presence", "room": "lobby"})).await["userCount"] != 1 {
        assert!(std::time::Instant::now() < deadline);
    }
}

#[tokio::test]
async fn who_is_in_a_room_is_told_who_comes_and_goes() {
    let node = Node::start();
    let (mut ann, mut phone, mut bob) =
        (node.client("ann").await, node.client("ann").await, node.client("bob").await);
    ann.join("lobby").await;
    phone.join("lobby").await;
    bob.join("lobby").await;
    let came = ann.news().await;
    assert_eq!(
        (&came["room"], &came["user"], &came["userCount"]),
        (&json!("lobby"), &json!("bob"), &json!(2))
    );
    assert_eq!(phone.news().await["user"], "bob");
    drop((ann, phone));
    let left = bob.news().await;
    assert_eq!(left["type"], "member_left");
    assert_eq!((&left["user"], &left["userCount"]), (&json!("ann"), &json!(1)));
}

#[tokio::test]
async fn a_client_that_comes_back_gets_what_it_missed() {
    let node = Node::start();
    let mut ann = node.client("ann").await;
    let at = ann.join("lobby").await["position"].clone();
    drop(ann);
    for n in 0..300 {
        node.publish(&room("lobby"), "e", json!(n)).await;
    }
    let mut ann = node.client("ann").await;
    let joined = ann.ask(json!({"type": "join", "room": "lobby", "since": at})).await;
    assert_eq!((&joined["recovered"], &joined["position"]), (&json!(true), &at));
    node.publish(&room("lobby"), "e", json!(300)).await;
    for n in 0..=300 {
        assert_eq!(ann.expect("message").await["data"], n);
    }
}

#[tokio::test]
async fn a_place_that_is_gone_is_told_as_a_gap() {
    let keeps = ChannelOptions { history_size: 10, ..ChannelOptions::default_for(Kind::Room) };
    let rules = ChannelRules::new(vec![(Pattern::new("room:*").unwrap(), keeps)]);
    let node = Node::with(config(|endpoint| endpoint.rate = 100_000), rules);
    let mut ann = node.client("ann").await;
    let at = ann.join("short").await["position"].as_str().unwrap().to_owned();
    let mut bob = node.client("bob").await;
    bob.join("short").await;
    let mut frames = Vec::new();
    for n in 0..1000 {
        bob.send(json!({"type": "publish", "room": "short", "event": "e", "data": n})).await;
        frames.push(bob.next().await);
        frames.push(bob.next().await);
    }
    let mut parts: Vec<&str> = at.split('.').collect();
    parts[1] = "deadbeef";
    for (since, reason) in [(at.clone(), "trimmed"), (parts.join("."), "reset")] {
        let mut back = node.client("ann").await;
        let joined = back.ask(json!({"type": "join", "room": "short", "since": since})).await;
        assert_eq!(joined["recovered"], false);
        let gap = back.expect("gap").await;
        assert_eq!((&gap["reason"], &gap["channel"]), (&json!(reason), &json!("room:short")));
        assert_eq!(gap["position"], joined["position"]);
        let mut last = back.expect("message").await["data"].as_u64().unwrap();
        while last < 999 {
            let next = back.expect("message").await["data"].as_u64().unwrap();
            assert_eq!(next, last + 1);
            last = next;
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_too_much_is_told_and_others_are_not_held_up() {
    let node = Node::with(config(|endpoint| endpoint.rate = 1), ChannelRules::default());
    let (mut greedy, mut modest) = (node.client("greedy").await, node.client("modest").await);
    for n in 0..5 {
        greedy.send(json!({"type": "ping", "id": n})).await;
    }
    let answers = [greedy.next().await, greedy.next().await, greedy.next().await];
    assert_eq!((&answers[1]["type"], &answers[2]["code"]), (&json!("pong"), &json!("rate_limited")));
    assert_eq!((&answers[2]["id"], &answers[2]["retryable"]), (&json!(2), &json!(true)));
    assert_eq!(modest.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn history_can_be_paged() {
    let node = Node::start();
    for n in 0..5 {
        node.publish(&room("lobby"), "e", json!(n)).await;
    }
    let mut ann = node.client("ann").await;
    let data = |page: &Value| -> Vec<u64> {
        page["messages"].as_array().unwrap().iter().map(|item| item["data"].as_u64().unwrap()).collect()
    };
    let first = ann.ask(json!({"type": "history", "room": "lobby", "limit": 3})).await;
    assert_eq!((data(&first), &first["more"]), (vec![0, 1, 2], &json!(true)));
    let rest = ann.ask(json!({"type": "history", "room": "lobby", "since": first["position"]})).await;
    assert_eq!((data(&rest), &rest["more"]), (vec![3, 4], &json!(false)));
}

#[tokio::test]
async fn rubbish_is_answered_and_survived() {
    let node = Node::start();
    let mut ann = node.client("ann").await;
    for text in
        ["", "{", "[]", "null", "{\"type\":1}", "{\"type\":\"nonsense\"}", "\u{0}", "{\"type\":\"join\"}"]
    {
        ann.0.send(Message::text(text)).await.unwrap();
        assert_eq!(ann.expect("error").await["retryable"], false, "{text:?}");
    }
    ann.join("lobby").await;
    ann.0.send(Message::binary(vec![1, 2, 3])).await.unwrap();
    assert_eq!(ann.closed().await.code, CloseCode::Unsupported);

    let mut big = node.client("big").await;
    big.0.send(Message::text("x".repeat(70_000))).await.unwrap();
    assert_eq!(big.closed().await.code, CloseCode::Size);
}

#[tokio::test]
async fn who_sends_too_much_is_told_and_not_cut_off() {
    let node = Node::start();
    let mut ann = node.client("ann").await;
    // One frame, masked with zeros, that is more than the sockets hold.
    let mut frame = vec![0x81, 0xff];
    frame.extend((16_u64 << 20).to_be_bytes());
    frame.resize(frame.len() + 4 + (16 << 20), 0);
    // A connection that is closed with something unread is reset, and who still writes never reads why.
    ann.0.get_mut().write_all(&frame).await.unwrap();
    assert_eq!(ann.closed().await.code, CloseCode::Size);
}

#[tokio::test]
async fn what_is_no_handshake_gets_a_clear_answer() {
    let node = Node::with(
        config(|endpoint| endpoint.origins = Origins::new(&["https://app.example".to_owned()]).unwrap()),
        ChannelRules::default(),
    );
    let status = async |request| match Client::open(request).await {
        Err(Error::Http(response)) => response.status().as_u16(),
        other => panic!("a refusal, not {:?}", other.map(|_| ())),
    };
    let mut request = node.request("");
    request.headers_mut().insert("sec-websocket-version", "8".parse().unwrap());
    assert_eq!(status(request).await, 426);
    let mut request = node.request("");
    request.headers_mut().insert("origin", "https://evil.example".parse().unwrap());
    assert_eq!(status(request).await, 403);
    let mut request = node.request("");
    request.headers_mut().insert("origin", "https://app.example".parse().unwrap());
    Client::open(request).await.unwrap().expect("welcome").await;
}

#[tokio::test]
async fn a_draining_node_sends_its_clients_away_and_takes_no_more() {
    let node = Node::start();
    let mut clients = Vec::new();
    for n in 0..5 {
        clients.push(node.client(&format!("u{n}")).await);
    }
    let gateway = std::sync::Arc::clone(&node.gateway);
    let drained = tokio::spawn(async move { gateway.drain(Duration::from_millis(500)).await });
    for client in &mut clients {
        assert!(client.expect("draining").await["reconnectAfter"].as_u64().unwrap() <= 5000);
        assert_eq!(client.closed().await.code, CloseCode::Restart);
        while client.0.next().await.is_some() {}
    }
    drained.await.unwrap();
    assert_eq!(node.gateway.connections(), 0);
    match Client::open(node.request("")).await {
        Err(Error::Http(response)) => {
            assert_eq!(response.status().as_u16(), 503);
            assert!(response.headers().contains_key("retry-after"));
        }
        other => panic!("a refusal, not {:?}", other.map(|_| ())),
    }
}

/// More messages than the sockets and the queue of a client take together.
const FLOOD: u64 = 1500;

async fn flooded(max_lag: Duration) -> (Node, Client) {
    flooded_where(max_lag, false).await
}

async fn flooded_where(max_lag: Duration, latest: bool) -> (Node, Client) {
    let keeps = ChannelOptions { history_size: 10_000, latest, ..ChannelOptions::default_for(Kind::Room) };
    let rules = ChannelRules::new(vec![(Pattern::new("room:*").unwrap(), keeps)]);
    let limits = config(|endpoint| {
        endpoint.queue_bytes = 64 * 1024;
        endpoint.max_lag = max_lag;
    });
    let node = Node::with(limits, rules);
    let (mut slow, mut quick) = (node.client("slow").await, node.client("quick").await);
    slow.join("flood").await;
    quick.join("flood").await;
    let text = "x".repeat(10_000);
    for n in 0..FLOOD {
        node.publish(&room("flood"), "e", json!({"n": n, "text": text})).await;
        // Whoever reads gets everything at once, whatever others do.
        assert_eq!(quick.expect("message").await["data"]["n"], n);
    }
    assert!(node.metric("gateway_slow_consumers_total") >= 1.0);
    (node, slow)
}

#[tokio::test]
async fn a_client_that_does_not_read_for_a_while_loses_nothing() {
    let (node, mut slow) = flooded(Duration::from_secs(600)).await;
    for n in 0..FLOOD {
        assert_eq!(slow.expect("message").await["data"]["n"], n);
    }
    node.publish(&room("flood"), "e", json!({"n": "live again"})).await;
    assert_eq!(slow.expect("message").await["data"]["n"], "live again");
}

#[tokio::test]
async fn where_only_the_newest_matters_a_slow_client_is_given_that_one_alone() {
    let (node, mut slow) = flooded_where(Duration::from_secs(600), true).await;
    let (mut before, mut count) = (None, 0);
    let newest = loop {
        // Any other frame, such as a gap, would be a fault.
        let message = slow.expect("message").await;
        let n = message["data"]["n"].as_u64().unwrap();
        assert!(message["latest"] == true && before < Some(n), "{n} after {before:?}");
        (before, count) = (Some(n), count + 1);
        if n == FLOOD - 1 {
            break message;
        }
    };
    assert!(count < FLOOD / 2, "{count} were read of what was left out");
    node.publish(&room("flood"), "e", json!({"n": FLOOD})).await;
    assert_eq!(slow.expect("message").await["data"]["n"], FLOOD, "it is fed again");

    // Coming back is the same, also where the stream does not reach back to the place, and so is polling.
    let mut back = node.client("back").await;
    let first = newest["position"].as_str().unwrap();
    node.publish(&room("flood"), "e", json!({"n": "a"})).await;
    node.publish(&room("flood"), "e", json!({"n": "b"})).await;
    let joined = back.ask(json!({"type": "join", "room": "flood", "since": first})).await;
    assert_eq!((&joined["recovered"], &joined["latest"]), (&json!(true), &json!(true)));
    assert_eq!(back.expect("message").await["data"]["n"], "b");
    node.publish(&room("flood"), "e", json!({"n": "c"})).await;
    assert_eq!(back.expect("message").await["data"]["n"], "c");
    back.send(json!({"type": "ping", "id": 1})).await;
    back.expect("pong").await;
}

#[tokio::test]
async fn a_client_that_reads_too_slowly_is_closed_and_resumes_elsewhere() {
    let (node, mut slow) = flooded(Duration::from_secs(2)).await;
    let deadline = std::time::Instant::now() + support::PATIENCE;
    while node.metric("gateway_connections") > 0.0 {
        assert!(std::time::Instant::now() < deadline, "the slow client is still there");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let mut next = 0;
    let mut last = Value::Null;
    while let Some(Ok(Message::Text(text))) = slow.0.next().await {
        let message: Value = serde_json::from_str(&text).unwrap();
        if support::is_news(&message) {
            continue;
        }
        assert_eq!(message["data"]["n"], next);
        next += 1;
        last = message["position"].clone();
    }
    assert!((1..FLOOD).contains(&next), "{next} were read");
    let mut back = node.client("slow").await;
    let joined = back.ask(json!({"type": "join", "room": "flood", "since": last})).await;
    assert_eq!(joined["recovered"], true);
    for n in next..FLOOD {
        assert_eq!(back.expect("message").await["data"]["n"], n);
    }
}
