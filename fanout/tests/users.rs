//! Users and their sessions, over HTTP, with nodes that answer as gateways do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod support;

use std::sync::Arc;

use axum::body::Bytes;
use broker::{Broker, Control, Frame, Inquiry, PresenceNews, Replies, SessionSeen, Sink, answer};
use proto::{Channel, NodeId, SessionId, Timestamp};
use serde_json::json;
use support::Api;
use tokio::sync::mpsc;

/// Passes on what nodes are told.
struct Ear(mpsc::UnboundedSender<Bytes>, mpsc::UnboundedSender<()>);

impl Sink for Ear {
    fn frame(&self, _: &str, _: Frame) {}
    fn presence(&self, _: &str, _: PresenceNews) {}
    fn control(&self, _: &str, payload: Bytes) {
        self.0.send(payload).unwrap();
    }
    fn subscribed(&self, _: &[Channel]) {
        self.1.send(()).unwrap();
    }
    fn interrupted(&self, _: &[Channel]) {}
    fn flush(&self) {}
}

/// An API, beside which a node has two sessions of the user 42, of which one can be disconnected by its name.
async fn api() -> Api {
    let api = Api::new();
    let (told, mut heard) = mpsc::unbounded_channel();
    let (ready, mut subscribed) = mpsc::unbounded_channel();
    api.broker.rest.attach(Arc::new(Ear(told, ready)));
    api.broker.rest.subscribe(&[Channel::parse("acme/u/42").unwrap()]);
    subscribed.recv().await.unwrap();
    let broker = Arc::clone(&api.broker);
    let seen = |name: &str, since| SessionSeen {
        session: SessionId::new(name).unwrap(),
        node: NodeId::new("n").unwrap(),
        endpoint: "/ws".to_owned(),
        since: Timestamp(since),
    };
    tokio::spawn(async move {
        while let Some(payload) = heard.recv().await {
            let (question, sessions) = match Control::decode(&payload).unwrap() {
                Control::Sessions { question } | Control::Disconnect { session: None, question } => {
                    (question, vec![seen("one", 2000), seen("two", 1000)])
                }
                Control::Disconnect { session: Some(session), question } => {
                    let known = session.as_str() == "one";
                    (question, if known { vec![seen("one", 2000)] } else { Vec::new() })
                }
                Control::Ask { inquiry, question } => {
                    answer(&*broker, &question, &replies(&inquiry)).await.unwrap();
                    continue;
                }
                other => panic!("not a question: {other:?}"),
            };
            answer(&*broker, &question, &sessions).await.unwrap();
        }
    });
    api
}

/// One client says what it was asked; two others say nothing.
fn replies(Inquiry { publication, within }: &Inquiry) -> Replies {
    let (event, data) = (&publication.event, publication.data.get());
    let text = format!(
        r#"{{"answers":[{{"session":"one","data":["{event}",{data},{within}]}}],"silent":2,"unasked":0}}"#
    );
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn what_clients_answer_is_passed_on_as_they_said_it() {
    let api = api().await;
    let ask = async |user: &str, body: &str| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        api.ask("POST", &format!("/v1/users/{user}/ask"), Some(&body)).await
    };
    let answer = ask("42", r#"{"event":"ring","data":{"n":1}}"#).await;
    let expected = json!([{"session": "one", "data": ["ring", {"n": 1}, 5000]}]);
    assert_eq!((answer.status, &answer.json["answers"]), (200, &expected));
    assert_eq!((&answer.json["silent"], &answer.json["unasked"]), (&json!(2), &json!(0)));
    let answer = ask("42", r#"{"event":"ring","data":1,"timeout":30000.0}"#).await;
    assert_eq!(answer.json["answers"][0]["data"][2], 30000);
    ask("43", r#"{"event":"ring","data":1}"#).await.problem(404, "unknown");
    for (body, pointer) in [
        (r#"{"event":"ring","data":1,"timeout":0}"#, "/timeout"),
        (r#"{"event":"ring","data":1,"timeout":30001}"#, "/timeout"),
        (r#"{"event":"ring","data":1,"timeout":1.5}"#, "/timeout"),
        (r#"{"event":"","data":1}"#, "/event"),
        (r#"{"event":"ring","data":1,"more":1}"#, "/more"),
    ] {
        let refused = ask("42", body).await;
        assert_eq!((refused.status, &refused.json["pointer"]), (400, &json!(pointer)), "{body}");
    }
    let large = format!(r#"{{"event":"ring","data":"{}"}}"#, "x".repeat(40_000));
    assert_eq!(ask("42", &large).await.status, 413);
}

#[tokio::test]
async fn who_is_connected_is_told_with_all_sessions() {
    let api = api().await;
    let status = api.ask("GET", "/v1/users/42", None).await;
    let expected = json!({"user": "42", "connected": true, "since": 1000, "sessions": 2});
    assert_eq!((status.status, status.json), (200, expected));
    let status = api.ask("GET", "/v1/users/43", None).await.json;
    assert_eq!(status, json!({"user": "43", "connected": false, "sessions": 0}));
    let sessions = api.ask("GET", "/v1/users/42/sessions", None).await.json;
    assert_eq!(sessions["sessions"].as_array().unwrap().len(), 2);
    let oldest = json!({"session": "two", "node": "n", "endpoint": "/ws", "since": 1000});
    assert_eq!(sessions["sessions"][0], oldest);
    assert_eq!(api.ask("GET", "/v1/users/43/sessions", None).await.json, json!({"sessions": []}));
}

#[tokio::test]
async fn a_user_or_one_session_is_disconnected_and_who_is_not_there_is_not_found() {
    let api = api().await;
    let all = api.ask("DELETE", "/v1/users/42/sessions", None).await;
    assert_eq!((all.status, all.json), (200, json!({"disconnected": 2})));
    assert_eq!(api.ask("DELETE", "/v1/users/42/sessions/one", None).await.status, 204);
    for path in ["/v1/users/42/sessions/three", "/v1/users/43/sessions", "/v1/users/43/sessions/one"] {
        api.ask("DELETE", path, None).await.problem(404, "unknown");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_does_not_answer_is_no_empty_answer() {
    let api = Api::new();
    let (told, _heard) = mpsc::unbounded_channel();
    let (ready, mut subscribed) = mpsc::unbounded_channel();
    api.broker.rest.attach(Arc::new(Ear(told, ready)));
    api.broker.rest.subscribe(&[Channel::parse("acme/u/42").unwrap()]);
    subscribed.recv().await.unwrap();
    api.ask("GET", "/v1/users/42", None).await.problem(503, "unavailable");
    api.ask("DELETE", "/v1/users/42/sessions", None).await.problem(503, "unavailable");
}
