//! The example configurations, with the real process over a real Redis.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use broker::redis::{RedisBroker, RedisConfig};
use broker::{Broker, HistoryQuery};
use proto::{Channel, NodeId, Publication};
use serde_json::{Value, json};
use support::providers::{TWILIO_TOKEN, call, now, telnyx, telnyx_key};
use support::running::{Running, fanout};

fn example(name: &str) -> String {
    format!("{}/../deploy/examples/{name}.toml", env!("CARGO_MANIFEST_DIR"))
}

/// What a channel holds: event and data.
async fn stored(redis: &str, channel: &str) -> Vec<(String, Value)> {
    let config = RedisConfig::parse(redis).unwrap();
    let broker = RedisBroker::connect(config, NodeId::new("reader").unwrap()).await.unwrap();
    let broker: Arc<dyn Broker> = Arc::new(broker);
    let query = HistoryQuery { after: None, limit: 100 };
    let history = broker.history(&Channel::parse(channel).unwrap(), query).await.unwrap();
    broker.close().await;
    let publications = history.entries.iter().map(|entry| Publication::decode(&entry.payload).unwrap());
    publications.map(|it| (it.event.to_string(), serde_json::from_str(it.data.get()).unwrap())).collect()
}

#[tokio::test]
async fn every_example_is_right() {
    let folder = format!("{}/../deploy/examples", env!("CARGO_MANIFEST_DIR"));
    let mut tried = BTreeSet::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|end| end == "toml") {
            let mut command =
                fanout(&["--config", path.to_str().unwrap(), "--redis=redis://127.0.0.1:1", "--check"]);
            command.env("TELNYX_PUBLIC_KEY", telnyx_key()).env("TWILIO_AUTH_TOKEN", TWILIO_TOKEN);
            let output = command.output().await.unwrap();
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert!(output.status.success(), "{}: {text}", path.display());
            tried.insert(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    for name in ["care", "chat", "dialer", "tango"] {
        assert!(tried.contains(name), "{name}");
    }
}

#[tokio::test]
async fn the_dialer_hears_of_each_call_of_telnyx_once() {
    let redis = testkit::Standalone::start(testkit::Options::default()).await.unwrap();
    let (url, file, key) = (redis.url(), example("dialer"), telnyx_key());
    let (args, variables) = (["--config", &file], [("TELNYX_PUBLIC_KEY", key.as_str())]);
    let (one, two) =
        tokio::join!(Running::start(&url, &args, &variables), Running::start(&url, &args, &variables));

    let names = [
        ("call.initiated", "call-initiated"),
        ("call.answered", "call-answered"),
        ("call.hangup", "call-hangup"),
        ("call.dtmf.received", "dtmf-received"),
        ("call.recording.saved", "call-recording-saved"),
        ("call.speak.started", "call-speak-started"),
        ("call.speak.ended", "call-speak-ended"),
    ];
    for (index, (kind, _)) in names.iter().enumerate() {
        // Telnyx repeats at whichever process the balancer chooses, and says that it does.
        for (attempt, node) in [(1, &one), (2, &two)] {
            let request = telnyx(&call(&format!("id-{index}"), kind, attempt), now());
            assert_eq!(node.call(request).await, (200, String::new()), "{kind}");
        }
    }
    assert_eq!(one.call(telnyx(&call("other", "call.bridged", 1), now())).await.0, 200);
    for refused in [
        telnyx(&call("stale", "call.hangup", 1), now() - 301),
        http::Request::post("/webhooks/telnyx").body("{}".into()).unwrap(),
    ] {
        let (status, text) = one.call(refused).await;
        assert_eq!((status, text.contains("not_authenticated")), (401, true), "{text}");
    }

    let payload = json!({"call_session_id": "s1", "from": "+1", "n": 1.5});
    let expected: Vec<_> = names.iter().map(|(_, name)| ((*name).to_owned(), payload.clone())).collect();
    assert_eq!(stored(&url, "default/a/").await, expected);
    assert_eq!((one.stop().await, two.stop().await), (Some(0), Some(0)));
}
