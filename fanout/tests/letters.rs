//! Dead letters, over HTTP.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

mod support;

use std::time::Duration;

use broker::{Broker, Outbox, Publish, Retention};
use proto::{Channel, Durability, EventName, Publication, Timestamp};
use support::{Api, post};

/// Gives up so many letters of a channel.
async fn give_up(api: &Api, channel: &str, count: u32) {
    let channel = Channel::parse(channel).unwrap();
    for number in 0..count {
        let publication = Publication {
            event: EventName::new("chat").unwrap(),
            data: serde_json::from_str(&number.to_string()).unwrap(),
            binary: proto::BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(0),
        };
        let retention =
            Some(Retention { size: 10, age: Duration::from_secs(60), durability: Durability::Memory });
        let publish = Publish { publication, retention, idempotency: None, outbox: Some(1000) };
        api.outbox.publish(&channel, publish).await.unwrap();
    }
    let claimed = Outbox::claim(&*api.outbox, 1, Duration::from_secs(60)).await.unwrap();
    let claim = &claimed.claims[0];
    for waiting in api.outbox.advance(claim, &[], 100).await.unwrap() {
        assert!(api.outbox.bury(claim, &waiting, "answered 410").await.unwrap());
    }
    api.outbox.finish(claim).await.unwrap();
}

#[tokio::test]
async fn dead_letters_are_listed_page_by_page_and_sent_again_on_demand() {
    let api = Api::new();
    give_up(&api, "other/r/lobby", 2).await;
    give_up(&api, "acme/r/lobby", 5).await;
    let (mut letters, mut next) = (Vec::new(), String::new());
    for expected in [2, 2, 1] {
        let page = api.ask("GET", &format!("/v1/outbox/dead?limit=2{next}"), None).await.json;
        assert_eq!(page["letters"].as_array().unwrap().len(), expected, "{page}");
        letters.extend(page["letters"].as_array().unwrap().clone());
        next = page["next"].as_str().map(|next| format!("&after={next}")).unwrap_or_default();
    }
    assert_eq!(next, "");
    let data = |letter: &serde_json::Value| letter["body"]["data"]["data"].as_u64().unwrap();
    let mut all = letters.iter().map(data).collect::<Vec<_>>();
    all.sort_unstable();
    assert_eq!(all, [0, 1, 2, 3, 4], "of the caller's tenant alone");
    let first = &letters[0];
    assert_eq!((&first["channel"], &first["reason"]), (&"room:lobby".into(), &"answered 410".into()));
    assert_eq!(first["body"]["type"], "message.published");

    let path = format!("/v1/outbox/dead/{}/replay", first["id"].as_str().unwrap());
    assert_eq!(api.ask("POST", &path, None).await.status, 204);
    api.ask("POST", &path, None).await.problem(404, "unknown");
    assert_eq!(api.ask("GET", "/v1/outbox/dead", None).await.json["letters"].as_array().unwrap().len(), 4);
    let claimed = Outbox::claim(&*api.outbox, 1, Duration::from_secs(60)).await.unwrap();
    let waiting = api.outbox.advance(&claimed.claims[0], &[], 9).await.unwrap();
    assert_eq!(waiting[0].letter.id().as_str(), first["id"]);
}

#[tokio::test]
async fn who_may_not_administer_sees_and_moves_nothing() {
    let api = Api::new();
    give_up(&api, "other/r/lobby", 1).await;
    let id = api.outbox.dead(None, 1).await.unwrap()[0].letter.id();
    api.ask("POST", &format!("/v1/outbox/dead/{id}/replay"), None).await.problem(404, "unknown");
    api.ask("GET", "/v1/outbox/dead?tenant=other", None).await.problem(403, "forbidden");
    for wrong in ["after=x", "after=1-a%20b", "limit=0", "x=1"] {
        assert_eq!(api.ask("GET", &format!("/v1/outbox/dead?{wrong}"), None).await.status, 400, "{wrong}");
    }
    assert_eq!(api.ask("POST", "/v1/outbox/dead/a.b/replay", None).await.status, 400);
    api.post(&format!("/v1/outbox/dead/{id}/replay"), "").await.problem(403, "forbidden");
    let stranger = post("/v1/outbox/dead/a/replay", "nobody").body("".into()).unwrap();
    assert_eq!(api.call(stranger).await.status, 401);
    assert_eq!(api.outbox.dead(None, 10).await.unwrap().len(), 1);
}
