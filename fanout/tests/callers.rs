//! Who may publish, and where.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use http::Request;
use serde_json::json;
use support::{Answer, Api, credential, post};

async fn publish(name: &str, tenant: Option<&str>) -> (Api, Answer) {
    let api = Api::new();
    let mut body = json!({"to": {"room": "r"}, "event": "e", "data": 1, "id": "1"});
    if let Some(tenant) = tenant {
        body["tenant"] = tenant.into();
    }
    let answer = api.call(post("/v1/publish", name).body(body.to_string().into()).unwrap()).await;
    (api, answer)
}

#[tokio::test]
async fn a_caller_publishes_to_its_own_tenant_unless_it_may_more() {
    for (name, tenant, channel) in [
        ("acme", None, "acme/r/r"),
        ("acme", Some("acme"), "acme/r/r"),
        ("root", None, "acme/r/r"),
        ("root", Some("initech"), "initech/r/r"),
        ("key", None, "acme/r/r"),
        ("key", Some("globex"), "globex/r/r"),
    ] {
        let (api, answer) = publish(name, tenant).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text);
        assert_eq!(api.stored()[0].0, channel, "{name}");
    }
    for (name, tenant) in [("acme", "globex"), ("key", "initech"), ("reader", "acme")] {
        let (api, answer) = publish(name, Some(tenant)).await;
        answer.problem(403, "forbidden");
        assert_eq!(api.stored(), [], "{name}");
    }
    publish("acme", Some("a/b")).await.1.problem(400, "invalid_name");
}

#[tokio::test]
async fn who_is_not_known_is_refused_and_told_how() {
    let unknown_key = format!("sb_0123456789ab_{}", "0".repeat(64));
    for (name, code) in [
        ("late", "token_expired"),
        ("nobody", "invalid_token"),
        (&unknown_key, "invalid_token"),
        (&credential("key").to_uppercase(), "invalid_token"),
        ("", "not_authenticated"),
    ] {
        let (api, answer) = publish(name, None).await;
        let problem = answer.problem(401, code);
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        assert!(name.is_empty() || !problem.to_string().contains(&credential(name)));
        assert_eq!(api.tried("acme/r/r"), 0);
    }
    let bare = Request::post("/v1/publish").body("{}".into()).unwrap();
    Api::new().call(bare).await.problem(401, "not_authenticated");
}

#[tokio::test]
async fn two_callers_may_use_the_same_id() {
    let api = Api::new();
    let call = async |name: &str, data: u32| {
        let body = json!({"to": {"room": "r"}, "event": "e", "data": data, "id": "1"}).to_string();
        api.call(post("/v1/publish", name).body(body.into()).unwrap()).await
    };
    assert_eq!(call("acme", 1).await.json["results"][0]["duplicate"], false);
    assert_eq!(call("key", 2).await.json["results"][0]["duplicate"], false);
    assert_eq!(call("acme", 1).await.json["results"][0]["duplicate"], true);
    call("acme", 3).await.problem(422, "conflict");
    assert_eq!(api.metric("fanout_idempotent_hits_total"), ["fanout_idempotent_hits_total 1"]);
}
