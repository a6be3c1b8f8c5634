//! Who and what there is, and what was said, over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use broker::{Broker, Directory, Publish, Retention};
use proto::{Channel, Durability, EventName, PresenceEntry, Publication, Tenant, Timestamp, UserId};
use serde_json::json;
use support::Api;

async fn hold(api: &Api, channel: &str, user: &str) {
    let entry = PresenceEntry { user: UserId::new(user).unwrap(), name: Some("N".into()), profile: None };
    api.broker.rest.hold(&Channel::parse(channel).unwrap(), &entry, None).await.unwrap();
}

#[tokio::test]
async fn all_who_are_online_are_listed_page_by_page() {
    let api = Api::new();
    for user in 0..25 {
        hold(&api, "acme/a/", &user.to_string()).await;
    }
    hold(&api, "globex/a/", "stranger").await;
    let (mut users, mut from, mut pages) = (BTreeSet::new(), String::new(), 0);
    loop {
        let page = api.ask("GET", &format!("/v1/users?limit=10{from}"), None).await.json;
        assert_eq!(page["count"], 25);
        for user in page["users"].as_array().unwrap() {
            assert_eq!(user["name"], "N");
            users.insert(user["user"].as_str().unwrap().to_owned());
        }
        pages += 1;
        let Some(next) = page["next"].as_str() else { break };
        from = format!("&from={next}");
    }
    assert_eq!((users.len(), pages, users.contains("stranger")), (25, 3, false));
    for wrong in ["from=-1", "from=x", "from=", "from=99999999999999999999"] {
        api.ask("GET", &format!("/v1/users?{wrong}"), None).await.problem(400, "invalid_message");
    }
}

#[tokio::test]
async fn rooms_are_listed_with_their_users_and_summed_up() {
    let api = Api::new();
    for (room, users) in [("a", 1), ("b", 3), ("c", 2)] {
        for user in 0..users {
            hold(&api, &format!("acme/r/{room}"), &user.to_string()).await;
        }
    }
    api.broker.rest.report_sessions(&Tenant::new("acme").unwrap(), 7).await.unwrap();
    let rooms = api.ask("GET", "/v1/rooms", None).await.json;
    let listed: BTreeSet<_> = rooms["rooms"].as_array().unwrap().iter().map(ToString::to_string).collect();
    let expected = [("a", 1), ("b", 3), ("c", 2)].map(|(room, users)| json!({"room": room, "users": users}));
    assert_eq!(listed, expected.iter().map(ToString::to_string).collect());
    let stats = api.ask("GET", "/v1/stats?limit=2", None).await.json;
    let busiest = json!([{"room": "b", "users": 3}, {"room": "c", "users": 2}]);
    assert_eq!(stats, json!({"connections": 7, "rooms": 3, "busiest": busiest}));
    let present = api.ask("GET", "/v1/rooms/c/users", None).await.json;
    assert_eq!((&present["count"], present["users"].as_array().unwrap().len()), (&json!(2), 2));
}

#[tokio::test]
async fn where_presence_is_off_nobody_is_claimed_to_be_away() {
    let mut api = Api::new();
    api.without_presence();
    let answer = api.ask("GET", "/v1/users", None).await;
    let detail = "presence is off for all; a table [[channels]] with presence = true turns it on";
    assert_eq!(answer.problem(403, "forbidden")["detail"], detail);
}

#[tokio::test]
async fn a_channel_is_read_in_both_directions() {
    let api = Api::new();
    let channel = Channel::parse("acme/r/r").unwrap();
    for number in 0..10 {
        let publication = Publication {
            event: EventName::new("e").unwrap(),
            data: serde_json::value::to_raw_value(&number).unwrap(),
            binary: proto::BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(7),
        };
        let retention =
            Some(Retention { size: 100, age: Duration::from_secs(60), durability: Durability::Memory });
        let publish = Publish { publication, retention, idempotency: None, outbox: None };
        api.broker.rest.publish(&channel, publish).await.unwrap();
    }
    let read = async |query: &str| {
        let path = format!("/v1/channels/room:r/history?limit=4{query}");
        let page = api.ask("GET", &path, None).await.json;
        let items = page["items"].as_array().unwrap().iter().map(|item| item["data"].as_u64().unwrap());
        (items.collect::<Vec<_>>(), page)
    };
    let (items, last) = read("").await;
    assert_eq!((items, &last["continuous"]), (vec![6, 7, 8, 9], &json!(true)));
    let (items, middle) = read(&format!("&before={}", last["first"].as_str().unwrap())).await;
    assert_eq!(items, [2, 3, 4, 5]);
    let (items, first) = read(&format!("&before={}", middle["first"].as_str().unwrap())).await;
    assert_eq!(items, [0, 1]);
    let (items, none) = read(&format!("&before={}", first["first"].as_str().unwrap())).await;
    assert_eq!((items.len(), none.get("first"), &none["continuous"]), (0, None, &json!(true)));
    let (items, _) = read(&format!("&after={}", first["last"].as_str().unwrap())).await;
    assert_eq!(items, [2, 3, 4, 5]);
    let (items, lost) = read("&before=v1.1.5.1").await;
    assert_eq!((items.len(), &lost["continuous"]), (0, &json!(false)));
}

#[tokio::test]
async fn a_place_or_a_channel_that_is_none_is_refused() {
    let api = Api::new();
    let ask = async |path: &str| api.ask("GET", path, None).await;
    ask("/v1/channels/room:r/history?before=7").await.problem(400, "invalid_position");
    ask("/v1/channels/room:r/history?after=v1.1.1.1&before=v1.1.1.1").await.problem(400, "invalid_message");
    for channel in ["lobby", "room", "room:", "all:", "user:a%20b", "queue:x"] {
        assert_eq!(ask(&format!("/v1/channels/{channel}/history")).await.status, 400, "{channel}");
    }
    assert_eq!(ask("/v1/channels/all/history").await.json, json!({"items": [], "continuous": true}));
}
