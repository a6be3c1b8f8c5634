//! Publishing through the router: what callers get, and what reaches the broker.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use proto::{ChannelOptions, ChannelRules, Durability, Kind, Pattern};
use serde_json::{Value, json};
use support::{Api, Behaviour, post};

#[tokio::test]
async fn a_message_reaches_its_channel_as_it_was_written() {
    let api = Api::new();
    let body = r#"{"to":{"room":"lobby"},"event":"chat","data":{ "n":1.50, "b":[ ] }}"#;
    let answer = api.post("/v1/publish", body).await;
    assert_eq!(answer.status, 200);
    let result = &answer.json["results"][0];
    assert_eq!((&result["channel"], &result["duplicate"]), (&json!("room:lobby"), &json!(false)));
    assert!(result["position"].as_str().unwrap().starts_with("v1."));
    assert_eq!(api.stored(), [("acme/r/lobby".into(), "chat".into(), r#"{ "n":1.50, "b":[ ] }"#.into())]);
}

#[tokio::test]
async fn an_ephemeral_message_has_no_position() {
    let api = Api::new();
    let body = r#"{"to":{"all":true},"event":"typing","data":null,"ephemeral":true}"#;
    let answer = api.post("/v1/publish", body).await;
    assert_eq!(answer.json, json!({"results":[{"channel":"all","position":null,"duplicate":false}]}));
}

#[tokio::test]
async fn several_users_get_a_result_each_in_their_order() {
    let api = Api::new();
    let answer = api.post("/v1/publish", r#"{"to":{"users":["c","a","b","a"]},"event":"e","data":1}"#).await;
    let channels: Vec<_> =
        answer.json["results"].as_array().unwrap().iter().map(|r| r["channel"].as_str().unwrap()).collect();
    assert_eq!(channels, ["user:c", "user:a", "user:b"]);
}

#[tokio::test]
async fn a_batch_answers_each_item_and_keeps_the_order_within_a_channel() {
    let api = Api::new();
    let mut items: Vec<_> =
        (0..200).map(|n| json!({"to":{"room":format!("r{}", n % 3)},"event":"e","data":n})).collect();
    items[7] = json!({"to":{"room":7},"event":"e","data":1});
    items[8] = json!({"to":{"room":"a b"},"event":"e","data":1});
    let answer = api.post("/v1/publish/batch", &json!({"items": items}).to_string()).await;
    assert_eq!(answer.status, 200);
    let results = answer.json["results"].as_array().unwrap();
    assert_eq!(results.len(), 200);
    assert_eq!(results[7]["status"], 400);
    assert_eq!(results[7]["problem"]["pointer"], "/items/7/to/room");
    assert_eq!(results[8]["problem"]["code"], "invalid_name");
    assert!(results.iter().enumerate().all(|(n, r)| n == 7 || n == 8 || r["status"] == 200));
    for room in 0..3 {
        let seen: Vec<u64> = api
            .stored()
            .iter()
            .filter(|(channel, ..)| *channel == format!("acme/r/r{room}"))
            .map(|(.., data)| data.parse().unwrap())
            .collect();
        let sent: Vec<u64> = (0..200).filter(|n| n % 3 == room && *n != 7 && *n != 8).collect();
        assert_eq!(seen, sent);
    }
}

#[tokio::test]
async fn after_a_message_that_was_not_stored_its_channel_gets_no_later_one() {
    let api = Api::with(Behaviour::FailsFor("acme/r/down"));
    let item = |room: &str, n: u32| json!({"to":{"room":room},"event":"e","data":n});
    let items = [item("down", 1), item("up", 2), item("down", 3), item("up", 4)];
    let answer = api.post("/v1/publish/batch", &json!({"items": items}).to_string()).await;
    let statuses: Vec<_> =
        answer.json["results"].as_array().unwrap().iter().map(|r| r["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [503, 200, 503, 200]);
    assert_eq!(api.tried("acme/r/down"), 1);
}

#[tokio::test]
async fn a_message_can_ask_for_more_than_memory_and_is_told_when_it_cannot_be_had() {
    let api = Api::new();
    let message = |durability: &str, more: &str| {
        format!(
            r#"{{"to":{{"room":"r"}},"event":"e","data":1,"id":"{durability}","durability":"{durability}"{more}}}"#
        )
    };
    assert_eq!(api.post("/v1/publish", &message("memory", "")).await.status, 200);
    // Stored all the same, so the same id finds it.
    let answer = api.post("/v1/publish", &message("replica", "")).await;
    let problem = answer.problem(503, "unconfirmed");
    assert!(problem["detail"].as_str().unwrap().contains("same id"), "{problem}");
    assert_eq!((answer.header("retry-after"), &problem["retryable"]), ("1", &true.into()));
    assert_eq!(api.post("/v1/publish", &message("replica", "")).await.json["results"][0]["duplicate"], true);
    let answer = api.post("/v1/publish", &message("fsync", "")).await;
    let problem = answer.problem(501, "unsupported");
    assert_eq!((&problem["pointer"], &problem["retryable"]), (&"/durability".into(), &false.into()));
    for wrong in [message("fsync", r#","ephemeral":true"#), message("paper", "")] {
        let answer = api.post("/v1/publish", &wrong).await;
        assert_eq!(answer.problem(400, "invalid_message")["pointer"], "/durability");
    }
    // In a batch and in a stream each message asks for itself.
    let items = format!(r#"{{"items":[{},{}]}}"#, message("fsync", ""), message("memory", ""));
    let answer = api.post("/v1/publish/batch", &items).await;
    assert_eq!(
        (&answer.json["results"][0]["status"], &answer.json["results"][1]["status"]),
        (&501.into(), &200.into())
    );
    let answer = api.call(ndjson(format!("{}\n{}\n", message("fsync", ""), message("memory", "")))).await;
    assert_eq!((&answer.json["failed"], &answer.json["published"]), (&1.into(), &1.into()));
}

#[tokio::test]
async fn a_channels_own_durability_holds_for_messages_that_say_nothing() {
    let durable = ChannelOptions { durability: Durability::Fsync, ..ChannelOptions::default_for(Kind::Room) };
    let live = ChannelOptions { history_size: 0, ..durable.clone() };
    let rules = ChannelRules::new(vec![
        (Pattern::new("room:live").unwrap(), live),
        (Pattern::new("room:*").unwrap(), durable),
    ]);
    let api = Api::ruled(rules);
    let message =
        |room: &str, more: &str| format!(r#"{{"to":{{"room":"{room}"}},"event":"e","data":1{more}}}"#);
    api.post("/v1/publish", &message("r", "")).await.problem(501, "unsupported");
    assert_eq!(api.post("/v1/publish", &message("r", r#","durability":"memory""#)).await.status, 200);
    assert_eq!(api.post("/v1/publish", &message("r", r#","ephemeral":true"#)).await.status, 200);
    assert_eq!(api.post("/v1/publish", &message("live", "")).await.status, 200);
    api.post("/v1/publish", &message("live", r#","durability":"fsync""#)).await.problem(501, "unsupported");
}

#[tokio::test]
async fn users_that_were_reached_are_told_when_others_were_not() {
    let api = Api::with(Behaviour::FailsFor("acme/u/2"));
    let answer = api.post("/v1/publish", r#"{"to":{"users":["1","2"]},"event":"e","data":1,"id":"x"}"#).await;
    assert_eq!(answer.status, 503);
    assert_eq!(answer.json["results"][0]["channel"], "user:1");
}

#[tokio::test]
async fn an_idempotency_key_makes_repeating_safe_whatever_the_id() {
    let api = Api::new();
    let call = async |key: &str, id: &str, data: u32| {
        let body = format!(r#"{{"to":{{"room":"r"}},"event":"e","data":{data}{id}}}"#);
        let request = post("/v1/publish", "acme").header("idempotency-key", key).body(body.into());
        api.call(request.unwrap()).await
    };
    let duplicate =
        async |key: &str, id: &str| call(key, id, 1).await.json["results"][0]["duplicate"].clone();
    assert_eq!(duplicate("a", "").await, false);
    assert_eq!(duplicate("\"a\"", "").await, true);
    assert_eq!(duplicate("a", r#","id":"b""#).await, true);
    assert_eq!(duplicate("b", r#","id":"a""#).await, false);
    call("a", "", 2).await.problem(422, "conflict");
    let long = "x".repeat(129);
    let problem = call(&long, "", 1).await;
    assert!(problem.problem(400, "invalid_message")["detail"].as_str().unwrap().contains("Idempotency-Key"));
    let items = json!({"items": [{"to": {"room": "r"}, "event": "e", "data": 1}]}).to_string();
    let batch = post("/v1/publish/batch", "acme").header("idempotency-key", "a").body(items.into());
    api.call(batch.unwrap()).await.problem(400, "invalid_message");
}

fn lines(lines: &[Value]) -> http::Request<axum::body::Body> {
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    ndjson(text)
}

fn ndjson(text: String) -> http::Request<axum::body::Body> {
    let mut request = post("/v1/publish/stream", "acme").body(text.into()).unwrap();
    request.headers_mut().insert("content-type", "application/x-ndjson".parse().unwrap());
    request
}

#[tokio::test]
async fn a_stream_is_published_line_by_line_and_a_wrong_line_fails_alone() {
    let api = Api::new();
    let message = |n: u32| json!({"to": {"room": "r"}, "event": "e", "data": n, "id": format!("{n}")});
    let mut many: Vec<_> = (0..1000).map(message).collect();
    many[7] = json!({"to": {"room": "no way"}, "event": "e", "data": 1});
    many[8] = json!("not a message");
    many[999] = message(0);
    let answer = api.call(lines(&many)).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let count = |key: &str| answer.json[key].as_u64().unwrap();
    assert_eq!(["lines", "published", "duplicates", "failed"].map(count), [1000, 998, 1, 2]);
    let failures = answer.json["failures"].as_array().unwrap();
    let failed: Vec<_> = failures.iter().map(|it| (it["line"].as_u64(), it["status"].as_u64())).collect();
    assert_eq!(failed, [(Some(8), Some(400)), (Some(9), Some(400))]);
    let expected = (0..999).filter(|n| ![7, 8].contains(n)).map(|n: u32| n.to_string());
    assert_eq!(
        api.stored().into_iter().map(|(.., data)| data).collect::<Vec<_>>(),
        expected.collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn a_stream_ends_at_the_first_line_that_cannot_be_stored() {
    let api = Api::with(Behaviour::FailsFor("acme/r/bad"));
    let message = |room: &str| json!({"to": {"room": room}, "event": "e", "data": 1});
    let first: Vec<_> = (0..300).map(|_| message("good")).collect();
    let answer = api.call(lines(&[&first[..], &[message("bad"), message("bad")], &first[..]].concat())).await;
    let problem = answer.problem(503, "unavailable");
    assert!(problem["detail"].as_str().unwrap().contains("line 301 "), "{problem}");
    assert_eq!(answer.header("retry-after"), "1");
    assert!(api.tried("acme/r/good") < 600 && api.tried("acme/r/good") >= 300);
    assert_eq!(api.call(ndjson("\n\n".into())).await.json["lines"], 0);
}
