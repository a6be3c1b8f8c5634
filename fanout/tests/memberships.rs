//! Who is a member of what, over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use serde_json::json;
use support::{Api, Behaviour};
use tokio::time::Instant;

#[tokio::test]
async fn a_membership_begins_and_ends_and_repeating_either_changes_nothing() {
    let api = Api::new();
    for _ in 0..2 {
        for room in ["lobby", "a:b"] {
            let answer = api.ask("PUT", &format!("/v1/users/42/rooms/{room}"), None).await;
            assert_eq!((answer.status, answer.text.as_str()), (204, ""));
        }
    }
    assert_eq!(api.ask("GET", "/v1/users/42/rooms", None).await.json, json!({"rooms": ["a:b", "lobby"]}));
    assert_eq!(api.ask("GET", "/v1/rooms/lobby/members", None).await.json, json!({"users": ["42"]}));
    for _ in 0..2 {
        assert_eq!(api.ask("DELETE", "/v1/users/42/rooms/lobby", None).await.status, 204);
    }
    assert_eq!(api.ask("GET", "/v1/users/42/rooms", None).await.json, json!({"rooms": ["a:b"]}));
    assert_eq!(api.ask("GET", "/v1/rooms/lobby/members", None).await.json, json!({"users": []}));
}

#[tokio::test]
async fn many_changes_are_made_in_one_call_each_with_its_result() {
    let api = Api::new();
    let many: Vec<_> = (0..10_001).map(|room| room.to_string()).collect();
    let changes = json!({"changes": [
        {"user": "1", "join": ["a", "b"]},
        {"user": "2", "join": many},
        {"user": "1", "join": ["c"], "leave": ["a"]},
        {"user": "2", "join": ["x"]},
    ]});
    let answer = api.ask("POST", "/v1/memberships", Some(&changes)).await;
    let results = answer.json["results"].as_array().unwrap();
    let statuses: Vec<_> = results.iter().map(|result| result["status"].as_u64().unwrap()).collect();
    assert_eq!(statuses, [204, 422, 204, 503], "{}", answer.text);
    assert_eq!(results[1]["problem"]["code"], "limit_reached");
    assert_eq!(api.ask("GET", "/v1/users/1/rooms", None).await.json, json!({"rooms": ["b", "c"]}));
    assert_eq!(api.ask("GET", "/v1/users/2/rooms", None).await.json, json!({"rooms": []}));
}

#[tokio::test]
async fn the_members_of_a_room_and_the_rooms_of_a_user_come_page_by_page() {
    let api = Api::new();
    let names: Vec<_> = (0..25).map(|n| format!("{n:02}")).collect();
    let mut changes: Vec<_> = names.iter().map(|name| json!({"user": name, "join": ["r"]})).collect();
    changes.push(json!({"user": "u", "join": names}));
    api.ask("POST", "/v1/memberships", Some(&json!({"changes": changes}))).await;
    for (list, key) in [("rooms/r/members", "users"), ("users/u/rooms", "rooms")] {
        let (mut listed, mut next) = (Vec::new(), String::new());
        for expected in [10, 10, 5] {
            let page = api.ask("GET", &format!("/v1/{list}?limit=10{next}"), None).await.json;
            assert_eq!(page[key].as_array().unwrap().len(), expected);
            listed.extend(page[key].as_array().unwrap().clone());
            next = page["next"].as_str().map(|next| format!("&after={next}")).unwrap_or_default();
        }
        assert_eq!((json!(listed), next.as_str()), (json!(names), ""), "{list}");
    }
}

#[tokio::test]
async fn a_wrong_name_is_refused_at_its_place_and_nothing_is_changed() {
    let api = Api::new();
    for path in ["/v1/users/a%20b/rooms/r", "/v1/users/a/rooms/%7Br%7D", "/v1/users/a/rooms/r?tenant=x%2Fy"] {
        api.ask("PUT", path, None).await.problem(400, "invalid_name");
    }
    let changes = json!({"changes": [{"user": "1", "join": ["a"]}, {"user": "2", "join": ["a", "b c"]}]});
    let answer = api.ask("POST", "/v1/memberships", Some(&changes)).await;
    assert_eq!(answer.problem(400, "invalid_name")["pointer"], "/changes/1/join/1");
    assert_eq!(api.ask("GET", "/v1/rooms/a/members", None).await.json, json!({"users": []}));
    for wrong in ["limit=0", "limit=1001", "limit=x", "lmit=1", "after=a%20b"] {
        let answer = api.ask("GET", &format!("/v1/rooms/a/members?{wrong}"), None).await;
        assert_eq!(answer.status, 400, "{wrong}: {}", answer.text);
    }
    for wrong in [json!({"changes": []}), json!({"changes": [{"user": 1}]}), json!([])] {
        api.ask("POST", "/v1/memberships", Some(&wrong)).await.problem(400, "invalid_message");
    }
}

#[tokio::test]
async fn another_tenant_is_out_of_reach_and_so_is_all_without_the_scope() {
    let api = Api::new();
    api.ask("PUT", "/v1/users/1/rooms/r?tenant=globex", None).await.problem(403, "forbidden");
    assert_eq!(api.ask("PUT", "/v1/users/1/rooms/r?tenant=acme", None).await.status, 204);
    for (who, status, code) in
        [("acme", 403, "forbidden"), ("root", 403, "forbidden"), ("late", 401, "token_expired")]
    {
        let request = http::Request::get("/v1/users/1/rooms")
            .header("authorization", format!("Bearer {}", support::credential(who)));
        let answer = api.call(request.body(axum::body::Body::empty()).unwrap()).await;
        answer.problem(status, code);
    }
    assert_eq!(
        api.metric("fanout_admin_requests_total{result=\"forbidden\"}"),
        ["fanout_admin_requests_total{result=\"forbidden\"} 3"]
    );
}

#[tokio::test(start_paused = true)]
async fn when_the_broker_does_not_answer_the_caller_is_told_in_time() {
    let api = Api::with(Behaviour::Hangs);
    let started = Instant::now();
    let answer = api.ask("PUT", "/v1/users/1/rooms/r", None).await;
    assert_eq!(answer.problem(503, "unavailable")["retryable"], true);
    assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
}

#[tokio::test]
async fn followers_of_a_user_are_the_members_of_a_room() {
    let api = Api::new();
    let message = r#"{"to":{"followers":"7"},"event":"user_post_created","data":{}}"#;
    let answer = api.post("/v1/publish", message).await;
    assert_eq!(answer.json["results"][0]["channel"], "room:followers:7", "{}", answer.text);
}
