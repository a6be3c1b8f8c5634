//! What happens when there is too much, or nobody behind.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use axum::body::Body;
use serde_json::json;
use support::{Api, Behaviour, post};
use switchboard_fanout::FanoutConfig;
use tokio::time::Instant;

const MESSAGE: &str = r#"{"to":{"room":"r"},"event":"e","data":1}"#;

#[tokio::test(start_paused = true)]
async fn callers_learn_within_a_second_that_the_broker_does_not_answer() {
    let api = Api::with(Behaviour::Hangs);
    let started = Instant::now();
    let answer = api.post("/v1/publish", MESSAGE).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    assert_eq!(answer.problem(503, "unavailable")["retryable"], true);
    assert_eq!(answer.header("retry-after"), "1");
    assert_eq!(
        api.metric("fanout_publish_requests_total"),
        [r#"fanout_publish_requests_total{result="unavailable"} 1"#]
    );
}

#[tokio::test(start_paused = true)]
async fn a_large_batch_takes_no_longer_than_one_message_to_fail() {
    let api = Api::with(Behaviour::Hangs);
    let items: Vec<_> =
        (0..1000).map(|n| json!({"to":{"room":format!("r{n}")},"event":"e","data":1})).collect();
    let started = Instant::now();
    let answer = api.post("/v1/publish/batch", &json!({"items": items}).to_string()).await;
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    let results = answer.json["results"].as_array().unwrap();
    assert!(results.len() == 1000 && results.iter().all(|result| result["status"] == 503));
}

#[tokio::test(start_paused = true)]
async fn a_call_beyond_those_in_flight_is_refused_at_once_and_a_later_one_is_not() {
    let config = FanoutConfig { max_in_flight: 2, ..FanoutConfig::default() };
    let api = Api::configured(Behaviour::FailsFor("acme/r/r"), config.clone());
    let slow = Api::configured(Behaviour::Hangs, config);
    let first = tokio::spawn({
        let router = slow.router.clone();
        async move { support::call(router, post("/v1/publish", "acme").body(MESSAGE.into()).unwrap()).await }
    });
    // A call whose body does not come holds a place as well.
    let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
    let second = tokio::spawn({
        let router = slow.router.clone();
        async move { support::call(router, post("/v1/publish", "acme").body(never).unwrap()).await }
    });
    while slow.metric("fanout_inflight") != ["fanout_inflight 2"] {
        tokio::task::yield_now().await;
    }
    let started = Instant::now();
    let third = slow.post("/v1/publish", MESSAGE).await;
    assert_eq!(started.elapsed(), Duration::ZERO);
    third.problem(503, "unavailable");
    assert_eq!(third.header("retry-after"), "1");

    first.await.unwrap().problem(503, "unavailable");
    second.abort();
    assert!(second.await.is_err());
    assert_eq!(slow.metric("fanout_inflight"), ["fanout_inflight 0"]);
    // Places come back: as many calls as there are places, several times over.
    for _ in 0..5 {
        api.post("/v1/publish", r#"{"to":{"room":"up"},"event":"e","data":1}"#).await;
    }
    assert_eq!(api.stored().len(), 5);
}

#[tokio::test]
async fn a_caller_that_publishes_too_fast_is_refused_and_others_are_not() {
    let config = FanoutConfig { publish_rate: 1, ..FanoutConfig::default() };
    let api = Api::configured(Behaviour::Works, config);
    let publish = async |name| api.call(post("/v1/publish", name).body(MESSAGE.into()).unwrap()).await;
    let batch = |count: usize| json!({"items": vec![json!({"to":{"room":"r"},"event":"e","data":1}); count]});
    assert_eq!(api.post("/v1/publish/batch", &batch(1000).to_string()).await.status, 200);
    let refused = api.post("/v1/publish/batch", &batch(100).to_string()).await;
    refused.problem(429, "rate_limited");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=100).contains(&wait), "{wait}");
    assert_eq!(publish("key").await.status, 200);
    let stored = api.stored().len();
    assert_eq!(stored, 1001, "nothing of what was refused");
    let refused = api.metric("fanout_publish_requests_total");
    assert!(
        refused.contains(&r#"fanout_publish_requests_total{result="rate_limited"} 1"#.to_owned()),
        "{refused:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_caller_leaves_places_for_the_others() {
    let config = FanoutConfig { max_in_flight: 8, ..FanoutConfig::default() };
    let api = Api::configured(Behaviour::Works, config);
    // Calls whose bodies do not come: single ones and streams, again and again.
    let flood: Vec<_> = (0..100)
        .map(|number| {
            let (path, kind) = match number % 2 {
                0 => ("/v1/publish", "application/json"),
                _ => ("/v1/publish/stream", "application/x-ndjson"),
            };
            let never = Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>());
            let mut request = post(path, "acme").body(never).unwrap();
            request.headers_mut().insert("content-type", kind.parse().unwrap());
            tokio::spawn(support::call(api.router.clone(), request))
        })
        .collect();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(api.metric("fanout_inflight"), ["fanout_inflight 6"]);
    for _ in 0..50 {
        let answer = api.call(post("/v1/publish", "key").body(MESSAGE.into()).unwrap()).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    for call in flood {
        let answer = call.await.unwrap();
        assert!([408, 503].contains(&answer.status), "{}", answer.text);
    }
    assert_eq!(api.post("/v1/publish", MESSAGE).await.status, 200, "the places are free again");
}

#[tokio::test]
async fn a_caller_that_administers_too_fast_is_refused_and_may_publish() {
    let config = FanoutConfig { admin_rate: 1, ..FanoutConfig::default() };
    let api = Api::configured(Behaviour::Works, config);
    let mut granted = 0;
    let refused = loop {
        let answer = api.ask("GET", "/v1/stats", None).await;
        if answer.status != 200 {
            break answer;
        }
        granted += 1;
        // A slow machine may be granted a few more than two.
        assert!(granted < 50, "no limit");
    };
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
    assert!(granted >= 2);
    assert_eq!(api.post("/v1/publish", MESSAGE).await.status, 200);
    let counted = api.metric("fanout_admin_requests_total");
    assert_eq!(counted[1], r#"fanout_admin_requests_total{result="rate_limited"} 1"#);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_not_read() {
    let config = FanoutConfig { max_body: 64, ..FanoutConfig::default() };
    let api = Api::configured(Behaviour::Works, config);
    api.post("/v1/publish", &format!("{MESSAGE}{}", " ".repeat(64))).await.problem(413, "too_large");
    // One that does not say how long it is stops at the limit too.
    let endless = futures_util::stream::repeat_with(|| Ok::<_, std::io::Error>(vec![b' '; 16]));
    let request = post("/v1/publish", "acme").body(Body::from_stream(endless)).unwrap();
    api.call(request).await.problem(413, "too_large");
    assert_eq!(api.stored(), []);
}

#[tokio::test]
async fn data_beyond_the_channels_limit_names_its_place() {
    let api = Api::new();
    let body = json!({"to":{"room":"r"},"event":"e","data":"x".repeat(64 * 1024)}).to_string();
    assert_eq!(api.post("/v1/publish", &body).await.problem(413, "too_large")["pointer"], "/data");
}
