//! The example configurations, with the real process over a real Redis.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::routing::post;
use axum::{Json, Router};
use broker::redis::{RedisBroker, RedisConfig};
use broker::{Broker, HistoryQuery};
use proto::{Channel, NodeId, Publication};
use serde_json::{Value, json};
use support::providers::{TWILIO_TOKEN, call, now, telnyx, telnyx_key, twilio};
use support::running::{Running, fanout};
use tokio::net::TcpListener;

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
    for name in ["care", "chat", "crm", "dialer", "tango"] {
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

const ACME: &str = "9c1a5e0c-7a31-4a47-9a53-2f1f2ad4b001";
const AGENT: &str = "3b2e9a52-52c1-4c0e-b2f0-6d9f8e7a6c03";
const GLOBEX: &str = "0f7a6d2e-3f6b-4a0e-8a8e-5a3c1b2d4e02";

/// A token with these claims.
fn token(claims: &Value) -> String {
    support::token_of(claims.as_object().unwrap().clone())
}

/// The application: knows one number and some people, and does not answer about others.
async fn application() -> String {
    let asked = async |Json(question): Json<Value>| match question["from"].as_str() {
        Some("+1001") => {
            Json(json!({"callerName": "Ann", "contactName": "Ann", "leadId": 7, "contactId": "c1"}))
        }
        Some("+1002") => Json(json!({"organizationId": GLOBEX})),
        _ => std::future::pending().await,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/enrich", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().route("/enrich", post(asked))).await });
    url
}

/// Takes the time out of a message, which differs from run to run.
fn without_time((event, mut data): (String, Value)) -> (String, Value) {
    let time = data.as_object_mut().unwrap().remove("timestamp").unwrap();
    let time = time.as_str().unwrap().to_owned();
    assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "ISO 8601: {time}");
    (event, data)
}

#[tokio::test]
async fn each_organisation_of_the_crm_hears_of_what_comes_to_its_numbers() {
    let redis = testkit::Standalone::start(testkit::Options::default()).await.unwrap();
    let (url, file, application) = (redis.url(), example("crm"), application().await);
    let numbers = json!({"+15550001": ACME}).to_string();
    let variables = [
        ("TWILIO_AUTH_TOKEN", TWILIO_TOKEN),
        ("CRM_NUMBERS", &numbers),
        ("CRM_ENRICH_URL", &application),
        ("SWITCHBOARD_FANOUT_PUBLIC_URL", "https://hooks.example.com"),
    ];
    let fanout = Running::start(&url, &["--config", &file], &variables).await;
    let receive = async |path: &str, fields: &[(&str, &str)]| {
        let (status, text) = fanout.call(twilio("https://hooks.example.com", path, fields)).await;
        assert_eq!((status, text.contains("<Response/>")), (200, true), "{text}");
    };
    let sms = async |sid, from, to, body| {
        receive("/webhook/sms", &[("MessageSid", sid), ("From", from), ("To", to), ("Body", body)]).await;
    };
    let voice = async |sid, from, to, status| {
        receive("/webhook/voice", &[("CallSid", sid), ("From", from), ("To", to), ("CallStatus", status)])
            .await;
    };
    sms("SM1", "+1001", "+15550001", "Tom & Jerry <img src=x onerror=alert(1)>say hi").await;
    sms("SM1", "+1001", "+15550001", "Tom & Jerry <img src=x onerror=alert(1)>say hi").await;
    sms("SM2", "+1002", "+15550002", "to the other organisation").await;
    // The application never answers about this one, and nobody knows that number.
    sms("SM3", "+1003", "+15550003", "to nobody").await;
    voice("CA1", "+1003", "+15550001", "ringing").await;
    voice("CA1", "+1003", "+15550001", "completed").await;

    let acme: Vec<_> =
        stored(&url, &format!("{ACME}/r/org:{ACME}")).await.into_iter().map(without_time).collect();
    let sms = json!({"messageSid": "SM1", "from": "+1001", "to": "+15550001", "body": "Tom & Jerry say hi",
        "contactName": "Ann", "leadId": 7, "contactId": "c1"});
    let call = json!({"callSid": "CA1", "from": "+1003", "to": "+15550001", "callerName": null, "leadId": null,
        "contactId": null});
    assert_eq!(acme, [("incoming-sms".to_owned(), sms), ("incoming-call".to_owned(), call)]);
    let globex = stored(&url, &format!("{GLOBEX}/r/org:{GLOBEX}")).await;
    assert_eq!((globex.len(), &globex[0].1["body"]), (1, &json!("to the other organisation")));

    let token = token(&json!({"userId": AGENT, "organizationId": ACME, "email": "a@acme.example"}));
    let accept = |token: &str, body: &Value| {
        let request =
            http::Request::post("/incoming-calls/accept").header("content-type", "application/json");
        request.header("authorization", format!("Bearer {token}")).body(body.to_string().into()).unwrap()
    };
    for _ in 0..2 {
        assert_eq!(fanout.call(accept(&token, &json!({"callSid": "CA1"}))).await.0, 200);
    }
    let stranger = support::credential("acme");
    for (token, body, status) in [
        (token.as_str(), json!({}), 400),
        ("", json!({"callSid": "CA1"}), 401),
        (&stranger, json!({"callSid": "CA1"}), 401),
    ] {
        assert_eq!(fanout.call(accept(token, &body)).await.0, status, "{body}");
    }
    let acme = stored(&url, &format!("{ACME}/r/org:{ACME}")).await;
    let accepted = json!({"callSid": "CA1", "acceptedBy": AGENT});
    assert_eq!((acme.len(), without_time(acme[2].clone())), (3, ("call-accepted".to_owned(), accepted)));

    let forged = twilio("https://elsewhere.example", "/webhook/sms", &[("MessageSid", "SM9")]);
    assert_eq!(fanout.call(forged).await.0, 401);
    let metrics = fanout.get("/metrics").await.1;
    for line in [
        r#"fanout_webhook_enrichments_total{result="failed",webhook="voice"} 1"#,
        r#"fanout_webhook_requests_total{result="ignored",webhook="voice"} 1"#,
        r#"fanout_webhook_requests_total{result="duplicate",webhook="sms"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
    assert_eq!(fanout.stop().await, Some(0));
}

#[tokio::test]
async fn the_backends_of_care_send_through_the_calls_that_they_know() {
    let redis = testkit::Standalone::start(testkit::Options::default()).await.unwrap();
    let (url, file) = (redis.url(), example("care"));
    let fanout = Running::start(&url, &["--config", &file], &[]).await;
    let sender = token(&json!({"sub": "backend", "scope": "send"}));
    let reader = token(&json!({"sub": "nurse"}));
    let post = async |path: &str, token: &str, body: Value| {
        let request =
            http::Request::post(format!("/websocket/{path}")).header("content-type", "application/json");
        let request = request.header("authorization", format!("Bearer {token}"));
        fanout.call(request.body(body.to_string().into()).unwrap()).await
    };
    let done = (200, r#"{"success":true}"#);
    // What is for one user needs them to be connected, and here nobody is.
    let detail = r#""detail":"the user is not connected""#;
    for (path, body, (status, told)) in [
        ("message/user", json!({"userId": 42, "type": "visit", "data": {"n": 1}}), (404, detail)),
        ("message/users", json!({"userIds": ["42", "43"], "type": "shift", "data": [1.5]}), done),
        ("message/broadcast", json!({"type": "system", "data": {"message": "m", "level": "info"}}), done),
        ("notification", json!({"userId": "42", "title": "t", "body": "b", "icon": "i"}), (404, detail)),
    ] {
        let answer = post(path, &sender, body.clone()).await;
        assert!(answer.0 == status && answer.1.contains(told), "{path}: {answer:?}");
        assert_eq!(post(path, &reader, body.clone()).await.0, 403, "{path}");
        assert_eq!(post(path, "", body.clone()).await.0, 401, "{path}");
        assert_eq!(post(path, &sender, json!({"userIds": 7})).await.0, 400, "{path}");
    }
    let timeless = |(event, mut data): (String, Value)| {
        assert!(data.as_object_mut().unwrap().remove("timestamp").unwrap().is_u64());
        assert_eq!(event, "message");
        data
    };
    for user in [42, 43] {
        let sent: Vec<_> =
            stored(&url, &format!("default/u/{user}")).await.into_iter().map(timeless).collect();
        assert_eq!(sent, [json!({"type": "shift", "data": [1.5]})]);
    }
    let all: Vec<_> = stored(&url, "default/a/").await.into_iter().map(timeless).collect();
    assert_eq!(all, [json!({"type": "system", "data": {"message": "m", "level": "info"}})]);
    assert_eq!(fanout.stop().await, Some(0));
}
