//! The real process over a real Redis.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::running::{Running, fanout};
use testkit::until;

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn it_publishes_fails_fast_while_redis_is_away_and_goes_on_when_it_is_back() {
    let mut redis = testkit::Standalone::start(testkit::Options::default()).await.unwrap();
    let fanout = Running::start(&redis.url(), &[], &[]).await;
    let (status, _, first) = fanout.publish(1, "a").await;
    assert_eq!((status, &first["results"][0]["duplicate"]), (200, &json!(false)), "{first}");
    assert_eq!(fanout.publish(1, "a").await.2["results"][0]["duplicate"], true);

    redis.kill().await.unwrap();
    let started = Instant::now();
    let (status, after, problem) = fanout.publish(2, "b").await;
    // Not a measurement: what it must not do is wait until Redis is back, which here is never.
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    assert_eq!((status, after.as_deref(), &problem["code"]), (503, Some("1"), &json!("unavailable")));
    assert_eq!(fanout.get("/livez").await.0, 200);
    until("/health tells of Redis", LONG, async || {
        Ok(fanout.get("/health").await.1.contains("Redis does not answer"))
    })
    .await
    .unwrap();

    redis.restart().await.unwrap();
    until("publishing works again", LONG, async || Ok(fanout.publish(2, "b").await.0 == 200)).await.unwrap();
    let (_, _, again) = fanout.publish(1, "a").await;
    assert_eq!(
        again["results"][0]["position"], first["results"][0]["position"],
        "what was acknowledged is there"
    );
    assert_eq!(fanout.stop().await, Some(0));
}

#[tokio::test]
async fn every_path_answers_problems_and_operations_are_served() {
    let redis = testkit::Standalone::start(testkit::Options::default()).await.unwrap();
    let fanout = Running::start(&redis.url(), &[], &[]).await;
    for (path, status) in
        [("/", 404), ("/v1", 404), ("/v1/", 404), ("/v1/nothing", 404), ("/v1/publish", 405)]
    {
        let (answered, text) = fanout.get(path).await;
        let problem: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((answered, &problem["status"]), (status, &json!(status)), "{path}: {text}");
    }
    for path in ["/livez", "/readyz", "/health", "/status", "/openapi.json", "/docs"] {
        assert_eq!(fanout.get(path).await.0, 200, "{path}");
    }
    assert!(fanout.get("/metrics").await.1.contains("fanout_inflight 0"));
    assert_eq!(fanout.stop().await, Some(0));
}

#[tokio::test]
async fn what_is_missing_is_told_by_its_key_before_anything_starts() {
    let redis = "--redis=redis://127.0.0.1:1";
    for (args, secret, code, told) in [
        (&[][..], true, 2, "redis: must be given"),
        (&["--redis=http://host"], true, 2, "redis: "),
        (&[redis], false, 2, "auth.secret: "),
        (&[redis, "--publish-max-in-flight=0"], true, 2, "publish.max_in_flight: "),
        (&[redis, "--check"], true, 0, "the configuration is right"),
    ] {
        let mut command = fanout(args);
        if !secret {
            command.env_remove("JWT_SECRET");
        }
        let output = tokio::time::timeout(LONG, command.output()).await.unwrap().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {text}");
        assert!(text.contains(told), "{args:?}: {text}");
    }
}
