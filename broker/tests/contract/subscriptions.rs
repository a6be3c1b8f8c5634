//! Who gets what was published.

use std::slice::from_ref;

use switchboard_broker::{Entry, Frame};

use crate::node::{Event, Node, assert_contiguous, signal, text, until};
use crate::world::World;

pub(crate) async fn every_subscribed_node_gets_each_publication_once_in_order(world: &World) {
    let (a, b) = world.two().await;
    let rooms = world.rooms(5);
    a.listen(&rooms).await;
    b.listen(&rooms).await;
    let starts = a.tops(&rooms).await.unwrap();
    let publishing = (0..500).map(|number| {
        let (node, room) = (if number % 3 == 0 { a.clone() } else { b.clone() }, rooms[number % 5].clone());
        tokio::spawn(async move { node.say(&room, &number.to_string()).await })
    });
    for published in publishing.collect::<Vec<_>>() {
        published.await.unwrap();
    }
    for node in [&a, &b] {
        for (room, start) in rooms.iter().zip(&starts) {
            let frames = node.frames(room, 100).await;
            assert_contiguous(*start, frames.iter().map(|frame| frame.step.unwrap()));
            assert_eq!(frames.len(), 100);
        }
        assert!(!node.events().iter().any(|event| matches!(event, Event::Interrupted(_))));
    }
}

pub(crate) async fn the_publishing_node_is_no_exception(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    a.listen(from_ref(&room)).await;
    let place = a.say(&room, "1").await;
    let frames = a.frames(&room, 1).await;
    assert_eq!((frames.len(), frames[0].step.unwrap().position), (1, place));
}

pub(crate) async fn what_is_published_after_the_confirmation_arrives(world: &World) {
    let (a, b) = world.two().await;
    let rooms = world.rooms(400);
    b.subscribe(&rooms);
    // Each room is tried as soon as it is confirmed, while others are still on their way.
    for room in &rooms {
        b.confirmed(from_ref(room), 1).await;
        a.say(room, "1").await;
    }
    for room in &rooms {
        assert_eq!(b.frames(room, 1).await.len(), 1);
    }
}

pub(crate) async fn an_ephemeral_publication_arrives_without_a_place(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(from_ref(&room)).await;
    a.say(&room, "1").await;
    a.publish(&room, signal("typing")).await.unwrap();
    a.say(&room, "2").await;
    let frames = b.frames(&room, 3).await;
    assert_eq!(heard(&frames), ["1", "typing", "2"]);
    assert_eq!(frames.iter().map(|frame| frame.step.is_some()).collect::<Vec<_>>(), [true, false, true]);
}

pub(crate) async fn a_frame_is_what_the_history_has(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(from_ref(&room)).await;
    for number in 0..10 {
        a.say(&room, &number.to_string()).await;
    }
    let frames = b.frames(&room, 10).await;
    let entries = frames
        .into_iter()
        .map(|Frame { step, payload }| Entry { step: step.unwrap(), payload })
        .collect::<Vec<_>>();
    assert_eq!(b.read(&room, None, 100).await.entries, entries);
}

pub(crate) async fn nobody_gets_what_it_did_not_ask_for(world: &World) {
    let (a, b) = world.two().await;
    let (mine, other) = (world.room("mine"), world.room("other"));
    b.listen(from_ref(&mine)).await;
    a.listen(from_ref(&other)).await;
    for channel in [&other, &world.user("mine"), &world.everyone(), &mine] {
        a.say(channel, "1").await;
    }
    b.frames(&mine, 1).await;
    a.frames(&other, 1).await;
    let others = |node: &Node, own: &str| {
        node.events().iter().filter(|event| matches!(event, Event::Frame(of, _) if of != own)).count()
    };
    assert_eq!((others(&b, mine.as_str()), others(&a, other.as_str())), (0, 0));
}

pub(crate) async fn asking_twice_changes_nothing(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(&[room.clone(), room.clone()]).await;
    b.subscribe(from_ref(&room));
    a.say(&room, "1").await;
    a.say(&room, "2").await;
    assert_eq!(heard(&b.frames(&room, 2).await), ["1", "2"]);
    b.unsubscribe(&[world.room("never"), room.clone()]);
    b.unsubscribe(from_ref(&room));
    until("nothing is subscribed", || async { b.health().channels == 0 }).await;
}

pub(crate) async fn after_the_last_unsubscription_nothing_comes(world: &World) {
    let (a, b) = world.two().await;
    let (left, kept) = (world.room("left"), world.room("kept"));
    b.listen(&[left.clone(), kept.clone()]).await;
    a.listen(from_ref(&left)).await;
    b.unsubscribe(from_ref(&left));
    until("one channel is left", || async { b.health().channels == 1 }).await;
    // What was on its way may still come, so this is about what is published from some moment on.
    let silent = || async {
        let before = b.heard(&left).len();
        let others = a.heard(&left).len();
        a.say(&left, "1").await;
        a.frames(&left, others + 1).await;
        let own = b.heard(&kept).len();
        a.say(&kept, "1").await;
        b.frames(&kept, own + 1).await;
        b.heard(&left).len() == before
    };
    until("a publication does not come", silent).await;
}

pub(crate) async fn who_changes_its_mind_is_subscribed(world: &World) {
    let (a, b) = world.two().await;
    let rooms = world.rooms(50);
    b.listen(&rooms).await;
    for _ in 0..20 {
        b.unsubscribe(&rooms);
        b.subscribe(&rooms);
    }
    // Whether the subscription was ended in between is not told; that it is in force comes true.
    until("it hears all rooms", || async {
        for room in &rooms {
            a.publish(room, signal("ping")).await.unwrap();
        }
        rooms.iter().all(|room| !b.heard(room).is_empty())
    })
    .await;
    until("all rooms are subscribed", || async { b.health().channels == 50 }).await;
}

pub(crate) async fn what_was_handed_over_is_flushed(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(from_ref(&room)).await;
    for number in 0..20 {
        a.say(&room, &number.to_string()).await;
    }
    b.frames(&room, 20).await;
    b.until("a flush follows the last frame", |events| events.last() == Some(&Event::Flush)).await;
}

pub(crate) async fn a_node_with_its_subscriptions_in_force_is_healthy(world: &World) {
    let a = world.node("a").await;
    until("it is healthy", || async { a.health().is_ok() }).await;
    a.listen(&world.rooms(30)).await;
    until("it is healthy", || async { a.health().is_ok() && a.health().channels == 30 }).await;
}

pub(crate) async fn a_closed_node_hears_nothing_and_publishes_nothing(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(from_ref(&room)).await;
    a.listen(from_ref(&room)).await;
    b.close().await;
    assert!(!b.health().is_ok());
    let before = b.events();
    a.say(&room, "1").await;
    a.frames(&room, 1).await;
    assert_eq!(b.events(), before);
    assert!(b.publish(&room, signal("2")).await.is_err());
    assert!(b.tops(from_ref(&room)).await.is_err());
}

fn heard(frames: &[Frame]) -> Vec<String> {
    frames.iter().map(|frame| text(&frame.payload)).collect()
}
