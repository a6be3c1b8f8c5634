//! Tokens that are revoked over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Api, token_of};

const MESSAGE: &str = r#"{"to":{"room":"r"},"event":"e","data":1}"#;

async fn publish(api: &Api, token: &str) -> u16 {
    let request = http::Request::post("/v1/publish")
        .header("authorization", format!("Bearer {token}"))
        .header("content-type", "application/json");
    api.call(request.body(MESSAGE.into()).unwrap()).await.status
}

#[tokio::test]
async fn a_revoked_token_publishes_no_more_and_others_do() {
    let api = Api::new();
    let following = api.fanout.clone();
    tokio::spawn(async move { following.follow_revocations().await });
    let token = |user: &str, jti: &str| {
        let claims = json!({"sub": user, "tenant": "acme", "scope": "publish", "jti": jti});
        token_of(claims.as_object().unwrap().clone())
    };
    let [by_text, by_id, by_user, good] =
        [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")].map(|(user, jti)| token(user, jti));
    for token in [&by_text, &by_id, &by_user, &good] {
        assert_eq!(publish(&api, token).await, 200);
    }
    for what in [json!({"token": by_text}), json!({"jti": "2"}), json!({"user": "b"})] {
        let answer = api.ask("POST", "/v1/revocations", Some(&what)).await;
        assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    }
    for token in [&by_text, &by_id, &by_user] {
        let refused = async {
            while publish(&api, token).await != 401 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), refused).await.unwrap();
    }
    assert_eq!(publish(&api, &good).await, 200);
}

#[tokio::test]
async fn exactly_one_thing_is_revoked_at_a_time() {
    let api = Api::new();
    for (wrong, code) in [
        (json!({}), "invalid_message"),
        (json!({"user": "a", "jti": "b"}), "invalid_message"),
        (json!({"user": null}), "invalid_message"),
        (json!({"user": "a", "jti": null}), "invalid_message"),
        (json!({"jti": ""}), "invalid_message"),
        (json!({"token": "x".repeat(8193)}), "invalid_message"),
        (json!({"user": "a b"}), "invalid_name"),
    ] {
        api.ask("POST", "/v1/revocations", Some(&wrong)).await.problem(400, code);
    }
}
