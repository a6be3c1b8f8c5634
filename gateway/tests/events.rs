//! Server-sent events over real sockets, with the memory broker.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use serde_json::{Value, json};
use support::{Node, PATIENCE, room, token, user};
use tokio::time::timeout;

/// What a browser's `EventSource` keeps.
struct Events {
    response: reqwest::Response,
    buffer: String,
    last_id: String,
}

impl Events {
    async fn open(node: &Node, query: &str, last_id: Option<&str>) -> Self {
        let response = Self::request(node, query, last_id).await;
        assert_eq!(response.status(), 200, "{:?}", response.text().await);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, buffer: String::new(), last_id: last_id.unwrap_or_default().to_owned() }
    }

    async fn request(node: &Node, query: &str, last_id: Option<&str>) -> reqwest::Response {
        let mut request = reqwest::Client::new().get(format!("http://{}/events{query}", node.address));
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        request.send().await.unwrap()
    }

    /// The data of the next event; `None` at the end of the stream.
    async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some((block, rest)) = self.buffer.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.buffer = rest;
                let mut data = Vec::new();
                for line in block.lines() {
                    if let Some(id) = line.strip_prefix("id: ") {
                        id.clone_into(&mut self.last_id);
                    }
                    data.extend(line.strip_prefix("data: "));
                }
                if !data.is_empty() {
                    return Some(serde_json::from_str(&data.join("\n")).unwrap());
                }
            } else {
                let chunk =
                    timeout(PATIENCE, self.response.chunk()).await.expect("an event in time").unwrap()?;
                self.buffer.push_str(std::str::from_utf8(&chunk).unwrap());
            }
        }
    }

    async fn expect(&mut self, kind: &str) -> Value {
        let event = self.next().await.expect("no end yet");
        assert_eq!(event["type"], kind, "{event}");
        event
    }
}

#[tokio::test]
async fn rooms_and_the_users_own_channel_are_resumed_from_the_last_event() {
    let node = Node::start();
    let query = format!("?rooms=a,b&token={}", token("ann", &["*"]));
    let mut events = Events::open(&node, &query, None).await;
    for kind in ["welcome", "auth_success", "joined", "joined"] {
        events.expect(kind).await;
    }
    node.publish(&room("a"), "e", json!(1)).await;
    assert_eq!(events.expect("message").await["data"], 1);
    node.publish(&room("b"), "e", json!({"lines": "one\ntwo"})).await;
    assert_eq!(events.expect("message").await["data"]["lines"], "one\ntwo");
    let last = events.last_id.clone();
    drop(events);

    node.publish(&room("a"), "e", json!(2)).await;
    node.publish(&room("b"), "e", json!(3)).await;
    node.publish(&user("ann"), "e", json!(4)).await;
    let mut events = Events::open(&node, &query, Some(&last)).await;
    events.expect("welcome").await;
    let mut seen = Vec::new();
    let mut recovered = 0;
    while seen.len() < 3 {
        let event = events.next().await.unwrap();
        match event["type"].as_str().unwrap() {
            "message" => seen.push(event["data"].as_u64().unwrap()),
            "joined" => recovered += u32::from(event["recovered"] == true),
            other => assert_eq!(other, "auth_success"),
        }
    }
    seen.sort_unstable();
    assert_eq!((seen, recovered), (vec![2, 3, 4], 2));
}

#[tokio::test]
async fn what_is_wrong_is_told_by_the_status() {
    let node = Node::start();
    let narrow = token("ann", &["a"]);
    for (query, last, status) in [
        (String::new(), None, 401),
        ("?token=rubbish".to_owned(), None, 401),
        (format!("?rooms=vault&token={narrow}"), None, 403),
        (format!("?rooms=a/b&token={narrow}"), None, 400),
        (format!("?rooms=a&token={narrow}"), Some("nonsense"), 400),
    ] {
        let response = Events::request(&node, &query, last).await;
        assert_eq!(response.status(), status, "{query}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
    }
}

#[tokio::test]
async fn a_listener_that_leaves_is_noticed_and_a_drain_ends_the_stream() {
    let node = Node::start();
    let query = format!("?rooms=a&token={}", token("ann", &["*"]));
    let gone = Events::open(&node, &query, None).await;
    let mut stays = Events::open(&node, &query, None).await;
    stays.expect("welcome").await;
    drop(gone);
    let deadline = std::time::Instant::now() + PATIENCE;
    while node.gateway.connections() != 1 {
        assert!(std::time::Instant::now() < deadline);
        // Writing shows the node that nobody is there.
        node.publish(&room("a"), "e", json!(0)).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let gateway = std::sync::Arc::clone(&node.gateway);
    let drained = tokio::spawn(async move { gateway.drain(Duration::from_millis(100)).await });
    let mut last = Value::Null;
    while let Some(event) = stays.next().await {
        last = event;
    }
    assert_eq!((&last["type"], &last["code"]), (&json!("closed"), &json!(1012)));
    drained.await.unwrap();
}

#[tokio::test]
async fn a_listener_that_does_not_read_for_a_while_loses_nothing() {
    const MESSAGES: u64 = 1500;
    let node = Node::start();
    let query = format!("?rooms=a&token={}", token("ann", &["*"]));
    let mut events = Events::open(&node, &query, None).await;
    let text = "x".repeat(10_000);
    while events.expect_any().await != "joined" {}
    for n in 0..MESSAGES {
        node.publish(&room("a"), "e", json!({"n": n, "text": text})).await;
    }
    for n in 0..MESSAGES {
        assert_eq!(events.expect("message").await["data"]["n"], n);
    }
}

#[tokio::test]
async fn a_room_can_be_polled() {
    let node = Node::start();
    let get = async |query: String| {
        let url = format!("http://{}/v1/rooms/a/history?token={}{query}", node.address, token("ann", &["a"]));
        let response = reqwest::get(url).await.unwrap();
        assert_eq!(response.status(), 200);
        serde_json::from_str::<Value>(&response.text().await.unwrap()).unwrap()
    };
    node.publish(&room("a"), "e", json!(0)).await;
    let first = get(String::new()).await;
    assert_eq!(first["messages"][0]["data"], 0);
    let at = first["position"].as_str().unwrap();
    let nothing = get(format!("&since={at}")).await;
    assert_eq!((&nothing["messages"], &nothing["position"]), (&json!([]), &first["position"]));

    let waiting = get(format!("&since={at}&wait=20"));
    let publishing = async {
        // Not before the request waits for it: the node listens to the room then.
        let deadline = std::time::Instant::now() + PATIENCE;
        while node.metric("gateway_channels") < 1.0 {
            assert!(std::time::Instant::now() < deadline);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        node.publish(&room("a"), "e", json!(1)).await;
    };
    let (next, ()) =
        timeout(PATIENCE, async { tokio::join!(waiting, publishing) }).await.expect("no full wait");
    assert_eq!(next["messages"][0]["data"], 1);

    let mut parts: Vec<&str> = at.split('.').collect();
    parts[1] = "deadbeef";
    let reset = get(format!("&since={}&wait=20", parts.join("."))).await;
    assert_eq!((&reset["gap"], reset["messages"].as_array().map(Vec::len)), (&json!("reset"), Some(2)));
    for (query, status) in [("vault/history", 403), ("a%2Fb/history", 400), ("a/history?since=x", 400)] {
        let sign = if query.contains('?') { '&' } else { '?' };
        let url = format!("http://{}/v1/rooms/{query}{sign}token={}", node.address, token("ann", &["a"]));
        assert_eq!(reqwest::get(url).await.unwrap().status(), status, "{query}");
    }
}

impl Events {
    async fn expect_any(&mut self) -> String {
        self.next().await.expect("no end yet")["type"].as_str().unwrap().to_owned()
    }
}
