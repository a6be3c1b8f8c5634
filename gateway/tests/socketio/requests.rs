//! What single requests are answered.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use switchboard_gateway::Origins;
use switchboard_gateway::engineio::Config;
use tokio_tungstenite::tungstenite::Message;

use crate::app::{Node, PATIENCE};
use crate::http::{PATH, Polling, request, text, websocket};

#[tokio::test]
async fn a_request_that_fits_nothing_is_refused_in_the_words_clients_know() {
    let node = Node::start(Config::default());
    for (method, target, status, body) in [
        ("GET", "/socket.io/?EIO=4", 400, r#"{"code":0,"message":"Transport unknown"}"#),
        (
            "GET",
            "/socket.io/?EIO=4&transport=polling&sid=x",
            400,
            r#"{"code":1,"message":"Session ID unknown"}"#,
        ),
        ("POST", PATH, 400, r#"{"code":2,"message":"Bad handshake method"}"#),
        ("GET", "/socket.io/?EIO=4&transport=websocket", 400, r#"{"code":3,"message":"Bad request"}"#),
        (
            "GET",
            "/socket.io/?EIO=3&transport=polling",
            400,
            r#"{"code":5,"message":"Unsupported protocol version"}"#,
        ),
    ] {
        let answer = request(&node, method, target, "", "").await;
        assert_eq!((answer.status, answer.body.as_str()), (status, body), "{method} {target}");
    }
    assert_eq!(request(&node, "GET", "/socket.io?EIO=4&transport=polling", "", "").await.status, 200);
}

#[tokio::test]
async fn bodies_are_bounded_and_have_to_be_text() {
    let node = Node::start(Config { max_payload: 100, ..Config::default() });
    let polling = Polling::connect(&node).await;
    assert_eq!(polling.post(&format!("42[\"echo\",\"{}\"]", "x".repeat(100))).await.status, 413);
    // Too large is no reason to lose the session.
    assert_eq!(polling.post("42[\"echo\",1]").await.status, 200);
    let fields = "content-type: application/octet-stream\r\n";
    assert_eq!(request(&node, "POST", &polling.target(), fields, "4x").await.status, 400);
    // Before that there is the echo. Clients act on the end before they act on what came with it, so it comes apart.
    assert_eq!(polling.get().await.body, "42[\"echo\",1]");
    assert_eq!(polling.get().await.body, "1");
    node.has_sessions(0).await;
}

#[tokio::test]
async fn a_chunked_body_over_the_limit_is_refused_as_well() {
    let node = Node::start(Config { max_payload: 100, ..Config::default() });
    let polling = Polling::connect(&node).await;
    let body = format!("c8\r\n{}\r\n0\r\n\r\n", "4".repeat(200));
    let fields = "transfer-encoding: chunked\r\n";
    let stream = crate::http::begin(node.address, "POST", &polling.target(), fields, &body).await;
    assert_eq!(crate::http::finish(stream).await.status, 413);
}

#[tokio::test]
async fn pages_of_listed_origins_alone_may_connect() {
    let origins = Origins::new(&["https://app.example".to_owned()]).unwrap();
    let node = Node::start(Config { origins, ..Config::default() });
    let evil = request(&node, "GET", PATH, "origin: https://evil.example\r\n", "").await;
    assert_eq!((evil.status, evil.body.as_str()), (403, r#"{"code":4,"message":"Forbidden"}"#));
    assert!(!evil.head.contains("access-control-allow-origin"));

    let ask = "origin: https://app.example\r\naccess-control-request-method: POST\r\naccess-control-request-headers: authorization,content-type\r\n";
    let preflight = request(&node, "OPTIONS", PATH, ask, "").await;
    assert_eq!(preflight.status, 204);
    for field in [
        "access-control-allow-origin: https://app.example",
        "access-control-allow-credentials: true",
        "access-control-allow-headers: authorization,content-type",
    ] {
        assert!(preflight.head.contains(field), "{field} in {}", preflight.head);
    }
    let page = request(&node, "GET", PATH, "origin: https://app.example\r\n", "").await;
    assert_eq!(page.status, 200);
    assert!(page.head.contains("access-control-allow-credentials: true"), "{}", page.head);
}

#[tokio::test]
async fn when_anyone_may_connect_nobody_may_bring_cookies() {
    let node = Node::start(Config::default());
    let page = request(&node, "GET", PATH, "origin: https://any.example\r\n", "").await;
    assert!(page.head.contains("access-control-allow-origin: *"), "{}", page.head);
    assert!(!page.head.contains("credentials"), "{}", page.head);
}

#[tokio::test]
async fn a_full_server_says_when_to_come_back() {
    let node = Node::start(Config { max_sessions: 1, ..Config::default() });
    let polling = Polling::open(&node).await;
    let full = request(&node, "GET", PATH, "", "").await;
    assert_eq!(full.status, 503);
    assert!(full.head.contains("retry-after: "), "{}", full.head);
    assert_eq!(polling.post("1").await.status, 200);
    assert_eq!(polling.get().await.body, "6");
    node.has_sessions(0).await;
    Polling::open(&node).await;
}

#[tokio::test]
async fn who_connects_to_no_namespace_in_time_is_closed() {
    let node = Node::start(Config { connect_timeout: Duration::from_millis(50), ..Config::default() });
    let polling = Polling::open(&node).await;
    assert_eq!(polling.get().await.body, "1");
    let mut socket = websocket(&node, "").await;
    assert!(text(&mut socket).await.starts_with('0'));
    let ended = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
    assert!(matches!(ended, Some(Ok(Message::Close(Some(_))))), "{ended:?}");
    drop(socket);
    node.has_sessions(0).await;
}

#[tokio::test]
async fn a_packet_against_the_rules_ends_the_connection() {
    let node = Node::start(Config { max_attachments: 2, max_payload: 10_000, ..Config::default() });
    let placeholder = r#"{"_placeholder":true,"num":0}"#;
    let wrong = [
        // Not connected there.
        vec![Message::text("42/custom,[\"echo\"]")],
        vec![Message::text("40")],
        vec![Message::text("453-[\"echo\"]")],
        vec![Message::text(format!("451-[\"echo\",{placeholder}]")), Message::text("42[\"echo\"]")],
        vec![Message::binary(vec![1])],
        // Together more than one message may have.
        vec![
            Message::text(format!("452-[\"echo\",{placeholder},{placeholder}]")),
            Message::binary(vec![0; 6_000]),
            Message::binary(vec![0; 6_000]),
        ],
        vec![Message::text("42[\"disconnect\"]")],
    ];
    for messages in wrong {
        let mut socket = websocket(&node, "").await;
        assert!(text(&mut socket).await.starts_with('0'));
        socket.send(Message::text("40")).await.unwrap();
        assert!(text(&mut socket).await.starts_with("40{"));
        assert!(text(&mut socket).await.starts_with("42[\"welcome\""));
        let first = format!("{:?}", messages[0]);
        for message in messages {
            socket.send(message).await.unwrap();
        }
        let ended = tokio::time::timeout(PATIENCE, socket.next()).await.unwrap();
        assert!(matches!(ended, Some(Ok(Message::Close(Some(_))))), "{first}: {ended:?}");
    }
}
