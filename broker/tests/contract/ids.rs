//! Publishing again what may have been published.

use std::time::Duration;

use switchboard_broker::{Publish, PublishError};

use crate::node::{message, signal, until, with_id};
use crate::world::World;

pub(crate) async fn repeating_an_id_publishes_once(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(std::slice::from_ref(&room)).await;
    let first = a.publish(&room, with_id(message("1"), "api", "x")).await.unwrap();
    let place = a.say(&room, "2").await;
    let mut later = with_id(message("1"), "api", "x");
    later.publication.timestamp.0 += 1000;
    for node in [&a, &b] {
        let again = node.publish(&room, later.clone()).await.unwrap();
        assert_eq!((again.position, again.duplicate), (first.position, true));
    }
    assert!(!first.duplicate);
    assert_eq!(b.top(&room).await, place);
    a.say(&room, "3").await;
    let heard = b.frames(&room, 3).await;
    assert_eq!(
        heard.iter().map(|frame| crate::node::text(&frame.payload)).collect::<Vec<_>>(),
        ["1", "2", "3"]
    );
}

pub(crate) async fn an_id_is_remembered_as_long_as_was_said(world: &World) {
    let a = world.node("a").await;
    let soon = |publish: Publish| {
        let key = publish.idempotency.map(|key| key.kept_for(Duration::from_secs(1)));
        Publish { idempotency: key, ..publish }
    };
    for (room, publish) in [("r", message("1")), ("s", signal("1"))] {
        let room = world.room(room);
        let short = soon(with_id(publish.clone(), "api", "short"));
        let usual = with_id(publish, "api", "usual");
        for publish in [&short, &usual] {
            assert!(!a.publish(&room, publish.clone()).await.unwrap().duplicate);
        }
        until("it is forgotten", || async { !a.publish(&room, short.clone()).await.unwrap().duplicate })
            .await;
        assert!(a.publish(&room, usual).await.unwrap().duplicate);
    }
}

pub(crate) async fn repeating_an_id_at_once_from_all_nodes_publishes_once(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let publishing = (0..40).map(|number| {
        let (node, room) = (if number % 2 == 0 { a.clone() } else { b.clone() }, room.clone());
        tokio::spawn(async move { node.publish(&room, with_id(message("1"), "api", "x")).await.unwrap() })
    });
    let mut published = Vec::new();
    for publishing in publishing.collect::<Vec<_>>() {
        published.push(publishing.await.unwrap());
    }
    assert_eq!(published.iter().filter(|published| !published.duplicate).count(), 1);
    assert!(published.iter().all(|one| one.position.is_some() && one.position == published[0].position));
    assert_eq!(a.texts(&room).await, ["1"]);
}

pub(crate) async fn an_id_with_another_message_is_a_conflict(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.publish(&room, with_id(message("1"), "api", "x")).await.unwrap();
    let outcome = b.publish(&room, with_id(message("2"), "api", "x")).await;
    assert_eq!(outcome, Err(PublishError::Conflict));
    let mut renamed = with_id(message("1"), "api", "x");
    renamed.publication.event = proto::EventName::new("other").unwrap();
    assert_eq!(b.publish(&room, renamed).await, Err(PublishError::Conflict));
    assert_eq!(a.texts(&room).await, ["1"]);
}

pub(crate) async fn ids_of_other_publishers_and_channels_are_others(world: &World) {
    let a = world.node("a").await;
    for (room, publisher, id) in
        [("r", "api", "x"), ("r", "user:1", "x"), ("r", "api", "y"), ("s", "api", "x")]
    {
        let publish = with_id(message("1"), publisher, id);
        assert!(!a.publish(&world.room(room), publish).await.unwrap().duplicate, "{room} {publisher} {id}");
    }
    assert_eq!(a.texts(&world.room("r")).await.len(), 3);
}

pub(crate) async fn an_ephemeral_publication_is_repeated_as_safely(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(std::slice::from_ref(&room)).await;
    for duplicate in [false, true, true] {
        let published = a.publish(&room, with_id(signal("typing"), "api", "x")).await.unwrap();
        assert_eq!((published.position, published.duplicate), (None, duplicate));
    }
    let outcome = a.publish(&room, with_id(signal("other"), "api", "x")).await;
    assert_eq!(outcome, Err(PublishError::Conflict));
    a.say(&room, "end").await;
    let heard = b.frames(&room, 2).await;
    assert_eq!(
        heard.iter().map(|frame| crate::node::text(&frame.payload)).collect::<Vec<_>>(),
        ["typing", "end"]
    );
}
