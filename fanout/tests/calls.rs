//! Calls of an application's own API.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::io::Write;

use broker::Broker;
use http::Request;
use proto::{Channel, PresenceEntry, UserId};
use serde_json::{Value, json};
use support::{Answer, Api, Behaviour, post};
use switchboard_fanout::FanoutConfig;

const CALLS: &str = r#"
[[calls]]
path = "/tell/{userId}"
scope = "send"
require = ["$body.title | string"]
rest_without = ["secret"]
to = { user = "$path.userId" }
event = "told"
data = { rest = "$rest", clean = "$clean.title", by = "$caller.user", in = "$caller.tenant" }
answer = { status = 201, body = { told = "$path.userId" } }

[[calls]]
path = "/tell"
to = { users = { "$each" = "$body.users", "$item" = "${item}" } }
event = "$body.event"
data = { attempt = "$body.attempt" }
id = "$body.id ?? \"none\""

[[calls]]
method = "DELETE"
path = "/tell/{id}"
scope = "send"
to = { room = "${path.id}" }
event = "gone"
data = "$body"

[[calls]]
method = "GET"
path = "/online"
scope = "admin"
action = "connected"
answer = { body = { n = "$result.count", ids = { "$each" = "$result.users", "$item" = "$item.user" } } }

[[calls]]
method = "GET"
path = "/me"
action = "status"
user = "$caller.user"

[[calls]]
method = "DELETE"
path = "/users/{id}"
scope = "admin"
action = "disconnect"
user = "${path.id}"

[[calls]]
method = "GET"
path = "/sums"
scope = "admin"
action = "stats"
answer = { body = { total = "$result.connections", rooms = { "$each" = "$result.busiest", "$item" = { slug = "$item.room", userCount = "$item.users" } } } }
"#;

fn read(toml: &str) -> Result<FanoutConfig, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(toml.as_bytes()).unwrap();
    let args = ["fanout", "--config", file.path().to_str().unwrap()];
    let loaded = chassis::options::load("fanout", "", &[switchboard_fanout::OPTIONS], args);
    loaded.and_then(|loaded| FanoutConfig::from_options(&loaded)).map_err(|error| error.to_string())
}

fn api() -> Api {
    Api::configured(Behaviour::Works, read(CALLS).unwrap())
}

async fn tell(api: &Api, path: &str, name: &str, body: &Value) -> Answer {
    api.call(post(path, name).body(body.to_string().into()).unwrap()).await
}

#[tokio::test]
async fn a_call_becomes_the_message_that_its_templates_make() {
    let api = api();
    let answer =
        tell(&api, "/tell/a%2Eb", "sender", &json!({"title": "<b>hi</b>", "n": 1.5, "secret": 1})).await;
    assert_eq!((answer.status, answer.json), (201, json!({"told": "a.b"})));
    let data = r#"{"by":"backend","clean":"hi","in":"acme","rest":{"n":1.5,"title":"<b>hi</b>"}}"#;
    assert_eq!(api.stored(), [("acme/u/a.b".into(), "told".into(), data.into())]);

    let delete = Request::delete("/tell/room")
        .header("authorization", format!("Bearer {}", support::credential("sender")));
    let answer = api.call(delete.body(axum::body::Body::empty()).unwrap()).await;
    assert_eq!(answer.json["results"][0]["channel"], "room:room", "{}", answer.text);
    assert_eq!(api.stored()[1], ("acme/r/room".into(), "gone".into(), "null".into()));
}

#[tokio::test]
async fn numbers_are_users_too_and_a_repeated_id_is_told_once() {
    let api = api();
    for attempt in 1..=2 {
        let body = json!({"users": [1, "two", 1], "event": "e", "id": 7, "attempt": attempt});
        let answer = tell(&api, "/tell", "acme", &body).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
    }
    let mut channels: Vec<_> = api.stored().into_iter().map(|(channel, ..)| channel).collect();
    channels.sort_unstable();
    assert_eq!(channels, ["acme/u/1", "acme/u/two"]);
}

#[tokio::test]
async fn a_call_can_tell_who_and_what_there_is() {
    let api = api();
    for (channel, user) in [("acme/a/", "ann"), ("acme/r/lobby", "ann"), ("globex/a/", "bob")] {
        let user = PresenceEntry { user: UserId::new(user).unwrap(), name: None, profile: None };
        api.broker.rest.hold(&Channel::parse(channel).unwrap(), &user, None).await.unwrap();
    }
    let get = async |path: &str, name: &str| {
        let request =
            Request::get(path).header("authorization", format!("Bearer {}", support::credential(name)));
        api.call(request.body(axum::body::Body::empty()).unwrap()).await
    };
    assert_eq!(get("/online", "admin").await.json, json!({"n": 1, "ids": ["ann"]}));
    assert_eq!(get("/online?limit=5&from=0", "admin").await.status, 200);
    get("/online?limit=0", "admin").await.problem(400, "invalid_message");
    get("/online?page=2", "admin").await.problem(400, "invalid_message");
    get("/online", "acme").await.problem(403, "forbidden");
    let me = get("/me", "acme").await;
    assert_eq!(me.json, json!({"user": "backend", "connected": false, "sessions": 0}), "{}", me.text);
    get("/me", "key").await.problem(400, "invalid_message");
    let sums = json!({"total": 0, "rooms": [{"slug": "lobby", "userCount": 1}]});
    assert_eq!(get("/sums", "admin").await.json, sums);
    api.ask("DELETE", "/users/ann", None).await.problem(404, "unknown");
    api.ask("DELETE", "/users/a%20b", None).await.problem(400, "invalid_name");
}

#[tokio::test]
async fn what_needs_a_user_who_is_connected_is_refused_while_they_are_not_and_changes_nothing() {
    let only = "event = \"told\"\nonly_if_connected = \"$path.userId\"";
    let toml = CALLS.replacen("event = \"told\"", only, 1);
    let api = Api::configured(Behaviour::Works, read(&toml).unwrap());
    let good = json!({"title": "hi"});
    tell(&api, "/tell/1", "sender", &json!({"title": 7})).await.problem(400, "invalid_message");
    let answer = tell(&api, "/tell/1", "sender", &good).await;
    assert_eq!(answer.problem(404, "unknown")["detail"], "the user is not connected");
    assert!(api.stored().is_empty());
}

#[tokio::test]
async fn who_may_not_and_what_does_not_fit_is_refused_and_changes_nothing() {
    let api = api();
    let good = json!({"title": "hi"});
    tell(&api, "/tell/1", "acme", &good).await.problem(403, "forbidden");
    tell(&api, "/tell/1", "late", &good).await.problem(401, "token_expired");
    tell(&api, "/tell/1", "", &good).await.problem(401, "not_authenticated");
    let answer = tell(&api, "/tell/1", "sender", &json!({"title": 7})).await;
    let problem = answer.problem(400, "invalid_message");
    assert_eq!(
        (&problem["pointer"], problem["detail"].as_str().unwrap().contains("title")),
        (&json!("/title"), true)
    );
    for body in [
        json!([]),
        json!({}),
        json!({"users": [null], "event": "e"}),
        json!({"users": 7, "event": "e"}),
        json!({"users": ["a b"], "event": "e"}),
        json!({"users": ["a"], "event": ""}),
    ] {
        tell(&api, "/tell", "acme", &body).await.problem(400, "invalid_message");
    }
    let nobody = tell(&api, "/tell", "acme", &json!({"users": [], "event": "e"})).await;
    assert_eq!(nobody.problem(400, "invalid_message")["detail"], "/to/users must name 1 to 1000 users");
    let broken = api.call(post("/tell", "acme").body("{".into()).unwrap()).await;
    broken.problem(400, "invalid_message");
    let get = Request::get("/tell").body(axum::body::Body::empty()).unwrap();
    api.call(get).await.problem(405, "unknown");
    assert!(api.stored().is_empty());
}

#[tokio::test]
async fn when_the_broker_is_away_the_caller_is_told() {
    let api = Api::configured(Behaviour::FailsFor("acme/u/1"), read(CALLS).unwrap());
    tell(&api, "/tell/1", "sender", &json!({"title": "hi"})).await.problem(503, "unavailable");
}

#[test]
fn a_mistake_is_told_by_its_key() {
    for (from, to, told) in [
        ("/tell/{userId}", "/v1/tell", "calls[0].path: is a path of fanout's own"),
        ("/tell/{userId}", "/health", "calls[0].path: is a path of fanout's own"),
        ("/tell/{userId}", "tell", "calls[0].path: must begin with /"),
        ("/tell/{userId}", "/tell", "calls[1].path: is the path of another call"),
        ("\"$rest\"", "\"$test\"", "calls[0].data.rest: there is no $test here"),
        ("\"$body.title", "\"$title", "calls[0].require[0]: there is no $title here"),
        ("{ user = ", "{ usr = ", "calls[0].to: must be a table with one of"),
        ("event = \"told\"\n", "", "calls[0].event: must be given"),
        ("status = 201", "status = 404", "calls[0].answer.status: must be"),
        ("scope = \"send\"", "scope = \"\"", "calls[0].scope: must not be empty"),
        ("\"DELETE\"", "\"GET\"", "calls[2].method: must not be GET"),
        ("\"DELETE\"", "\"HEAD\"", "calls[2].method: unknown variant"),
        ("path = \"/online\"", "path = \"/online\"\nevent = \"e\"", "calls[3].event: does not go with"),
        ("user = \"$caller.user\"", "", "calls[4].user: must be given"),
        ("action = \"stats\"", "action = \"stats\"\nuser = \"1\"", "calls[6].user: does not go with"),
        (
            "path = \"/me\"",
            "path = \"/me\"\nonly_if_connected = \"1\"",
            "calls[4].only_if_connected: does not",
        ),
        ("action = \"stats\"", "action = \"sums\"", "calls[6].action: unknown variant"),
    ] {
        let message = read(&CALLS.replacen(from, to, 1)).unwrap_err();
        assert!(message.contains(told), "{to}: {message}");
    }
}
