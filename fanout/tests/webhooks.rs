//! Webhooks of providers, from the signed request to what is published.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::io::Write;
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream;
use http::Request;
use serde_json::json;
use support::providers::{TWILIO_TOKEN, call, hex_signature, now, telnyx, telnyx_key, twilio};
use support::{Answer, Api, Behaviour};
use switchboard_fanout::FanoutConfig;

/// Makes the Telnyx events of the dialer's table, everyone's rooms, and what is refused.
const TELNYX: &str = r#"
[[webhooks]]
path = "/webhooks/telnyx"
name = "telnyx"
scheme = "telnyx"
secret = { file = "KEY" }
max_in_flight = 1
to = { all = true }
data = "$body.data.payload"
type = "$body.data.event_type"

[webhooks.events]
"call.initiated" = "call-initiated"
"call.hangup" = { event = "call-hangup", to = { room = "calls:${body.data.payload.call_session_id}" }, ephemeral = true }
"#;

const TWILIO: &str = r#"
[fanout]
public_url = "https://hooks.example.com/in/"

[[webhooks]]
path = "/sms"
scheme = "twilio"
secret = { file = "TOKEN" }
id = "$body.MessageSid"
tenant = "acme"
to = { room = "org:${body.To}" }
event = "incoming-sms"
data = { from = "$body.From", text = "$body.Body", timestamp = "$now | iso" }
answer = { type = "text/xml", body = "<Response/>", always = true }
"#;

/// Reads a configuration in which `KEY` and `TOKEN` stand for files with secrets.
fn read(toml: &str) -> Result<FanoutConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let key = put("key", &telnyx_key());
    let token = put("token", TWILIO_TOKEN);
    let file = put(
        "config.toml",
        &toml.replace("\"KEY\"", &format!("{key:?}")).replace("\"TOKEN\"", &format!("{token:?}")),
    );
    let loaded =
        chassis::options::load("fanout", "", &[switchboard_fanout::OPTIONS], ["fanout", "--config", &file]);
    loaded.and_then(|loaded| FanoutConfig::from_options(&loaded)).map_err(|error| error.to_string())
}

fn api(toml: &str, behaviour: Behaviour) -> Api {
    Api::configured(behaviour, read(toml).unwrap())
}

fn sms(fields: &[(&str, &str)]) -> Request<Body> {
    twilio("https://hooks.example.com/in", "/sms?a=b", fields)
}

fn is_twiml(answer: &Answer) -> bool {
    (answer.status, answer.header("content-type"), answer.text.as_str()) == (200, "text/xml", "<Response/>")
}

#[tokio::test]
async fn a_genuine_webhook_is_published_once_however_often_it_comes() {
    let api = api(TELNYX, Behaviour::Works);
    for attempt in 1..=3 {
        let answer = api.call(telnyx(&call("e1", "call.initiated", attempt), now())).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, ""));
    }
    api.call(telnyx(&call("e2", "call.hangup", 1), now())).await;
    let payload = r#"{"call_session_id":"s1","from":"+1","n":1.5}"#;
    assert_eq!(
        api.stored(),
        [
            ("default/a/".into(), "call-initiated".into(), payload.to_owned()),
            ("default/r/calls:s1".into(), "call-hangup".into(), payload.to_owned()),
        ]
    );
    assert_eq!(
        api.metric("fanout_webhook_requests_total"),
        [
            r#"fanout_webhook_requests_total{result="duplicate",webhook="telnyx"} 2"#,
            r#"fanout_webhook_requests_total{result="published",webhook="telnyx"} 2"#,
        ]
    );
}

#[tokio::test]
async fn a_type_that_is_not_in_the_table_is_taken_and_not_published() {
    let ignoring = api(TELNYX, Behaviour::Works);
    assert_eq!(ignoring.call(telnyx(&call("e1", "call.bridged", 1), now())).await.status, 200);
    assert!(ignoring.stored().is_empty());

    let passing = api(&format!("{TELNYX}\n\"*\" = \"$body.data.event_type\"\n"), Behaviour::Works);
    assert_eq!(passing.call(telnyx(&call("e1", "call.bridged", 1), now())).await.status, 200);
    assert_eq!(passing.stored()[0].1, "call.bridged");
}

#[tokio::test]
async fn what_is_forged_stale_oversized_or_malformed_is_told_so_and_changes_nothing() {
    let api = api(TELNYX, Behaviour::Works);
    let body = call("e1", "call.initiated", 1);
    let forged = {
        let mut request = telnyx(&body, now());
        *request.body_mut() = body.replace("+1", "+2").into();
        request
    };
    let unsigned = Request::post("/webhooks/telnyx").body(body.clone().into()).unwrap();
    let large = telnyx(&format!("{{\"a\":\"{}\"}}", "x".repeat(64 * 1024)), now());
    let too_large_for_the_channel = call("e1", "call.initiated", 1).replace("+1", &"1".repeat(33 * 1024));
    for (request, status, code, label) in [
        (forged, 401, "not_authenticated", "bad_signature"),
        (unsigned, 401, "not_authenticated", "missing"),
        (telnyx(&body, now() - 400), 401, "not_authenticated", "stale"),
        (telnyx(&body, now() + 400), 401, "not_authenticated", "early"),
        (large, 413, "too_large", "too_large"),
        (telnyx(&too_large_for_the_channel, now()), 413, "too_large", "too_large"),
        (telnyx("{", now()), 400, "invalid_message", "invalid"),
        (telnyx(r#"{"event_type":"call_initiated"}"#, now()), 400, "invalid_message", "invalid"),
    ] {
        api.call(request).await.problem(status, code);
        let line = format!("fanout_webhook_requests_total{{result={label:?},webhook=\"telnyx\"}}");
        assert_eq!(api.metric(&line).len(), 1, "{label}");
    }
    assert!(api.stored().is_empty());
    let get = Request::get("/webhooks/telnyx").body(Body::empty()).unwrap();
    api.call(get).await.problem(405, "unknown");
}

#[tokio::test]
async fn when_the_broker_is_away_the_provider_is_asked_to_come_again() {
    let api = api(TELNYX, Behaviour::FailsFor("default/a/"));
    let answer = api.call(telnyx(&call("e1", "call.initiated", 1), now())).await;
    answer.problem(503, "unavailable");
    assert_eq!(answer.header("retry-after"), "1");
}

#[tokio::test(start_paused = true)]
async fn a_broker_that_never_answers_does_not_keep_the_provider_waiting() {
    let api = api(TELNYX, Behaviour::Hangs);
    let started = tokio::time::Instant::now();
    api.call(telnyx(&call("e1", "call.initiated", 1), now())).await.problem(503, "unavailable");
    assert!(started.elapsed().as_millis() < 2000);
}

#[tokio::test]
async fn an_answer_in_the_providers_own_form_is_given_whatever_happens_behind() {
    let fields = [("MessageSid", "SM1"), ("To", "15550001"), ("From", "+1 415"), ("Body", "hi & <b>you</b>")];
    let working = api(TWILIO, Behaviour::Works);
    for _ in 0..2 {
        assert!(is_twiml(&working.call(sms(&fields)).await));
    }
    let stored = working.stored();
    assert_eq!(
        (stored.len(), stored[0].0.as_str(), stored[0].1.as_str()),
        (1, "acme/r/org:15550001", "incoming-sms")
    );
    let data: serde_json::Value = serde_json::from_str(&stored[0].2).unwrap();
    assert_eq!((&data["from"], &data["text"]), (&json!("+1 415"), &json!("hi & <b>you</b>")));
    assert!(data["timestamp"].as_str().unwrap().ends_with('Z'), "{data}");

    let failing = api(TWILIO, Behaviour::FailsFor("acme/r/org:15550001"));
    assert!(is_twiml(&failing.call(sms(&fields)).await));
    assert!(is_twiml(&failing.call(sms(&[("MessageSid", "SM1")])).await), "the mapping does not fit");
    assert_eq!(failing.metric("fanout_webhook_requests_total{result=\"unavailable\"").len(), 1);

    let mut forged = sms(&fields);
    *forged.body_mut() = "To=1".into();
    failing.call(forged).await.problem(401, "not_authenticated");
}

/// An application that answers as told, and how to ask it.
async fn application(status: u16, body: String) -> String {
    let status = http::StatusCode::from_u16(status).unwrap();
    let answer = axum::routing::post(async move || (status, body));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().route("/", answer)).await });
    format!("enrich = {{ url = \"{url}\", body = {{ from = \"$body.From\" }}, allow_private = true }}")
}

#[tokio::test]
async fn what_the_application_says_is_used_and_what_it_does_not_say_is_null() {
    let asking = TWILIO.replace("from = \"$body.From\"", "from = \"$answer.name ?? null\"");
    for (status, body, expected) in [
        (200, r#"{"name":"Ann"}"#.to_owned(), json!("Ann")),
        (200, r#"{"name":null}"#.to_owned(), json!(null)),
        (200, "no JSON".to_owned(), json!(null)),
        (200, format!("\"{}\"", "x".repeat(65 * 1024)), json!(null)),
        (302, String::new(), json!(null)),
        (404, String::new(), json!(null)),
        (500, r#"{"name":"Ann"}"#.to_owned(), json!(null)),
    ] {
        let enrich = application(status, body).await;
        let api = api(&format!("{asking}{enrich}"), Behaviour::Works);
        let fields = [("MessageSid", "SM1"), ("To", "1"), ("From", "2"), ("Body", "3")];
        assert!(is_twiml(&api.call(sms(&fields)).await));
        let data: serde_json::Value = serde_json::from_str(&api.stored()[0].2).unwrap();
        assert_eq!(data["from"], expected, "{status}");
    }
}

#[tokio::test]
async fn an_application_that_keeps_failing_is_asked_no_more_for_a_while() {
    let enrich = application(500, String::new()).await;
    let api = api(&format!("{TWILIO}{enrich}"), Behaviour::Works);
    for number in 0..8 {
        let sid = format!("SM{number}");
        let fields = [("MessageSid", sid.as_str()), ("To", "1"), ("From", "2"), ("Body", "3")];
        assert!(is_twiml(&api.call(sms(&fields)).await));
    }
    assert_eq!(api.stored().len(), 8, "the messages go out all the same");
    assert_eq!(
        api.metric("fanout_webhook_enrichments_total"),
        [
            r#"fanout_webhook_enrichments_total{result="failed",webhook="sms"} 5"#,
            r#"fanout_webhook_enrichments_total{result="skipped",webhook="sms"} 3"#,
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_provider_leaves_room_for_the_others() {
    let api = api(&format!("{TWILIO}{TELNYX}"), Behaviour::Works);
    // Bodies that never come hold all places that one provider has.
    let slow = || {
        let body = Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
        api.call(Request::post("/webhooks/telnyx").body(body).unwrap())
    };
    let flood = join_all((0..6).map(|_| slow()));
    let others = async {
        let fields = [("MessageSid", "SM1"), ("To", "1"), ("From", "2"), ("Body", "3")];
        api.call(sms(&fields)).await
    };
    let (flood, other) = tokio::join!(flood, others);
    assert!(is_twiml(&other));
    let mut statuses: Vec<_> = flood.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [408, 408, 408, 408, 408, 429]);
    let refused = flood.iter().find(|answer| answer.status == 429).unwrap();
    refused.problem(429, "rate_limited");
    assert_eq!(refused.header("retry-after"), "1");
}

const UNTIMED: &str = r#"
[[webhooks]]
path = "/github"
scheme = "github"
secret = { file = "TOKEN" }
to = { room = "pushes" }
event = "push"
data = "$body"

[[webhooks]]
path = "/generic"
scheme = "hmac"
secret = { file = "TOKEN" }
signature = { header = "x-signature" }
replay_window = "2h"
to = { room = "generic" }
event = "push"
data = "$body"
"#;

#[tokio::test(start_paused = true)]
async fn what_is_replayed_within_its_window_is_answered_as_ever_and_published_once() {
    let api = api(&format!("{TWILIO}{UNTIMED}"), Behaviour::Works);
    let signed = |path: &str, header: &str, prefix: &str| {
        let body = r#"{"ref":"main"}"#;
        let signature = hex_signature(body);
        Request::post(path).header(header, format!("{prefix}{signature}")).body(body.into()).unwrap()
    };
    let fields = [("MessageSid", "SM1"), ("To", "1"), ("From", "2"), ("Body", "3")];
    let send = async || {
        assert!(is_twiml(&api.call(sms(&fields)).await));
        for request in [
            // The id of the delivery is not signed, so whoever replays one can make it up.
            signed("/github", "x-hub-signature-256", "sha256="),
            signed("/generic", "x-signature", ""),
        ] {
            assert_eq!(api.call(request).await.status, 200);
        }
        let mut stored: Vec<_> = api.stored().into_iter().map(|(channel, ..)| channel).collect();
        stored.sort();
        stored
            .iter()
            .map(|channel| channel.rsplit('/').next().unwrap_or_default().to_owned())
            .collect::<Vec<_>>()
    };
    let hours = |count: u64| tokio::time::advance(Duration::from_secs(count * 3600));
    assert_eq!(send().await, ["org:1", "generic", "pushes"]);
    hours(1).await;
    assert_eq!(send().await, ["org:1", "generic", "pushes"]);
    hours(2).await;
    assert_eq!(send().await, ["org:1", "generic", "generic", "pushes"]);
    hours(24).await;
    assert_eq!(send().await.len(), 7, "longer ago than is remembered");
}

#[test]
fn a_mistake_is_told_by_its_key() {
    let mistake = |from: &str, to: &str| read(&TELNYX.replacen(from, to, 1)).unwrap_err();
    for (from, to, told) in [
        ("\"telnyx\"\nsecret", "\"telnix\"\nsecret", "webhooks[0].scheme: unknown variant"),
        ("{ file = \"KEY\" }", "{ file = \"TOKEN\" }", "webhooks[0].secret: must "),
        (
            "{ file = \"KEY\" }",
            "{ env = \"NO_SUCH\" }",
            "webhooks[0].secret: the environment variable NO_SUCH",
        ),
        (
            "{ file = \"KEY\" }",
            "\"hunter2\"",
            "webhooks[0].secret: a secret does not stand in the file itself",
        ),
        ("$body.data.payload", "$bdy.data", "webhooks[0].data: there is no $bdy here; there are $body"),
        ("data = ", "dta = ", "webhooks[0].dta: unknown field"),
        ("to = { all = true }\n", "", "webhooks[0].events.call.initiated.to: must be given"),
        ("{ all = true }", "{ all = true, room = \"r\" }", "to: must be a table with one of room"),
        ("type = ", "id = ", "webhooks[0].type: must be given"),
        (
            "event = \"call-hangup\", to",
            "event = \"$x\", to",
            "webhooks[0].events.call.hangup.event: there is no $x",
        ),
        ("event = \"call-hangup\", to", "even = \"\", to", "webhooks[0].events.call.hangup: unknown field"),
        ("/webhooks/telnyx", "/v1/publish", "webhooks[0].path: is a path of fanout's own"),
        ("/webhooks/telnyx", "/a{b}", "webhooks[0].path: must begin with /"),
        ("type = ", "tolerance = \"1ms\"\ntype = ", "webhooks[0].tolerance: must be at least"),
        ("type = ", "signature = { header = \"a\" }\ntype = ", "webhooks[0].signature: belongs to"),
        ("type = ", "answer = { status = 302 }\ntype = ", "webhooks[0].answer.status: must be"),
        ("max_in_flight = 1", "max_in_flight = 0", "webhooks[0].max_in_flight: must be"),
        ("max_in_flight = 1", "replay_window = \"9m\"", "webhooks[0].replay_window: must be"),
        ("max_in_flight = 1", "replay_window = \"8d\"", "webhooks[0].replay_window: must be"),
        ("type = ", "id = \"$now\"\ntype = ", "webhooks[0].id: there is no $now here; there are $body, $id"),
    ] {
        let message = mistake(from, to);
        assert!(message.contains(told), "{to}: {message}");
        assert!(!message.contains("hunter2"), "{message}");
    }
    let enriched = |written: &str| {
        let table = format!("{}\nenrich = {written}\n", TWILIO.replace("tenant = \"acme\"", ""));
        read(&table).unwrap_err()
    };
    for (written, told) in [
        ("{ body = 1 }", "webhooks[0].enrich: needs exactly one of url and env"),
        ("{ url = \"ftp://a\", body = 1 }", "webhooks[0].enrich.url: must be an http or https address"),
        (
            "{ url = \"http://10.0.0.1\", body = 1 }",
            "webhooks[0].enrich.url: leads to an address that may not",
        ),
        ("{ url = \"http://a\", body = 1, timeout = \"3s\" }", "webhooks[0].enrich.timeout: must be"),
        ("{ url = \"http://a\", body = \"$x\" }", "webhooks[0].enrich.body: there is no $x here"),
        (
            "{ env = \"UNSET\", body = 1 }\nlookup = { key = \"$body.To\" }",
            "webhooks[0].lookup: needs exactly one",
        ),
    ] {
        let message = enriched(written);
        assert!(message.contains(told), "{written}: {message}");
    }
    let twice = TELNYX.replace("name = \"telnyx\"\n", "");
    assert!(
        read(&format!("{twice}{twice}")).unwrap_err().contains("webhooks[1].path: is the path of another")
    );
    assert!(
        read("fanout = { public_url = \"hooks\" }")
            .unwrap_err()
            .contains("fanout.public_url: must be an address")
    );
}
