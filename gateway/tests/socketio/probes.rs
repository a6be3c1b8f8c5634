//! What servers get wrong when clients come and go at the wrong moment.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use switchboard_gateway::engineio::Config;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message};

use crate::app::{Node, PATIENCE};
use crate::http::{Polling, begin, finish, text, websocket};

#[tokio::test]
async fn polling_goes_on_when_a_websocket_is_dropped_before_its_probe() {
    let node = Node::start(Config::default());
    let polling = Polling::connect(&node).await;
    drop(polling.websocket().await);
    for number in 0..3 {
        assert_eq!(polling.post(&format!("42[\"echo\",{number}]")).await.body, "ok");
        assert_eq!(polling.get().await.body, format!("42[\"echo\",{number}]"));
    }
    // And it may try again.
    let mut second = polling.websocket().await;
    second.send(Message::text("2probe")).await.unwrap();
    assert_eq!(text(&mut second).await, "3probe");
}

#[tokio::test]
async fn polling_goes_on_when_a_websocket_says_something_else() {
    let node = Node::start(Config::default());
    let polling = Polling::connect(&node).await;
    for wrong in ["5", "2", "42[\"echo\",1]", "x"] {
        let mut socket = polling.websocket().await;
        socket.send(Message::text(wrong)).await.unwrap();
        let ended = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
        assert!(matches!(ended, Some(Ok(Message::Close(Some(_))))), "{wrong}: {ended:?}");
    }
    assert_eq!(polling.post("42[\"echo\",1]").await.body, "ok");
    assert_eq!(polling.get().await.body, "42[\"echo\",1]");
}

#[tokio::test]
async fn nothing_of_a_batch_is_lost_when_it_is_cut_and_the_transport_changes() {
    const COUNT: usize = 200;
    let node = Node::start(Config { max_payload: 1000, ..Config::default() });
    let polling = Polling::connect(&node).await;
    assert_eq!(polling.post(&format!("42[\"burst\",{COUNT}]")).await.status, 200);
    let first = polling.get().await.body;
    assert!(first.len() <= 1000, "{} bytes", first.len());
    let mut ticks: Vec<String> = first.split('\u{1e}').map(str::to_owned).collect();
    assert!(ticks.len() > 1 && ticks.len() < COUNT);

    let mut socket = polling.websocket().await;
    socket.send(Message::text("2probe")).await.unwrap();
    assert_eq!(text(&mut socket).await, "3probe");
    socket.send(Message::text("5")).await.unwrap();
    while ticks.len() < COUNT {
        ticks.push(text(&mut socket).await);
    }
    let expected: Vec<_> = (0..COUNT).map(|number| format!("42[\"tick\",{number}]")).collect();
    assert_eq!(ticks, expected);
    socket.send(Message::text("42[\"echo\",\"after\"]")).await.unwrap();
    assert_eq!(text(&mut socket).await, "42[\"echo\",\"after\"]");
}

#[tokio::test]
async fn a_request_that_overtakes_the_change_of_transport_is_refused() {
    let node = Node::start(Config::default());
    for _ in 0..20 {
        let polling = Polling::connect(&node).await;
        let mut socket = polling.websocket().await;
        socket.send(Message::text("2probe")).await.unwrap();
        socket.send(Message::text("5")).await.unwrap();
        assert_eq!(polling.get().await.status, 400);
        assert_eq!(text(&mut socket).await, "3probe");
        socket.send(Message::text("42[\"echo\",1]")).await.unwrap();
        assert_eq!(text(&mut socket).await, "42[\"echo\",1]");
    }
}

#[tokio::test]
async fn a_message_over_the_limit_closes_the_websocket_with_1009() {
    let node = Node::start(Config::default());
    let mut socket = websocket(&node, "").await;
    assert!(text(&mut socket).await.starts_with('0'));
    let (mut sends, mut receives) = socket.split();
    // Nobody reads it to its end.
    let sending =
        tokio::spawn(async move { sends.send(Message::Binary(Bytes::from(vec![0; 8 << 20]))).await });
    let ended = tokio::time::timeout(PATIENCE, receives.next()).await.unwrap();
    match ended {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(frame.code, CloseCode::Size),
        other => panic!("a close, not {other:?}"),
    }
    sending.abort();
    drop(receives);
    node.has_sessions(0).await;
}

#[tokio::test]
async fn bodies_that_overlap_are_refused_and_end_the_session() {
    let node = Node::start(Config::default());
    let polling = Polling::connect(&node).await;
    let first = begin(node.address, "POST", &polling.target(), "content-length: 10\r\n", "42[\"e").await;
    // The first one's head may be on its way still; then the second is taken, and says so.
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        let second = polling.post("3").await;
        if second.status == 400 {
            break;
        }
        assert_eq!(second.body, "ok");
        assert!(tokio::time::Instant::now() < deadline);
    }
    assert_eq!(polling.get().await.body, "1", "the client is told");
    node.has_sessions(0).await;
    assert_eq!(polling.get().await.status, 400);
    drop(first);
}

#[tokio::test]
async fn a_request_that_the_client_gives_up_ends_the_session() {
    let node = Node::start(Config::default());
    let polling = Polling::connect(&node).await;
    let waiting = begin(node.address, "GET", &polling.target(), "", "").await;
    // It has to have arrived: then another one is one too many. So let it answer something first.
    assert_eq!(polling.post("42[\"echo\",1]").await.body, "ok");
    assert_eq!(finish(waiting).await.body, "42[\"echo\",1]");
    let waiting = begin(node.address, "GET", &polling.target(), "", "").await;
    waiting.set_zero_linger().unwrap();
    drop(waiting);
    node.has_sessions(0).await;
    assert_eq!(polling.get().await.status, 400);
}

#[tokio::test]
async fn a_client_that_polls_but_does_not_answer_pings_is_gone() {
    let config = Config {
        ping_interval: Duration::from_millis(50),
        ping_timeout: Duration::from_millis(50),
        ..Config::default()
    };
    let node = Node::start(config);
    let polling = Polling::open(&node).await;
    assert_eq!(polling.get().await.body, "2");
    node.has_sessions(0).await;
}
