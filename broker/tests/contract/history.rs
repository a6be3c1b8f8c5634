//! Reading what was published, and what a reader is told about the place it comes from.

use std::time::Duration;

use proto::{Epoch, Nonce, Position};
use switchboard_broker::{Continuity, Publish, Retention};

use crate::node::{RETENTION, message, texts, until};
use crate::world::World;

pub(crate) async fn reading_after_a_place_begins_right_behind_it(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let start = a.top(&room).await;
    let mut places = vec![start];
    for text in ["1", "2", "3"] {
        places.push(a.say(&room, text).await);
    }
    for (at, place) in places.iter().enumerate() {
        let history = b.read(&room, Some(*place), 10).await;
        assert_eq!(history.continuity, Continuity::Continuous);
        assert_eq!(texts(&history.entries), ["1", "2", "3"][at..]);
        assert_eq!(history.top, places[3]);
    }
}

pub(crate) async fn reading_stops_at_the_limit_and_can_go_on(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let mut place = a.top(&room).await;
    for number in 0..25 {
        a.say(&room, &number.to_string()).await;
    }
    let mut read = Vec::new();
    for expected in [10, 10, 5, 0] {
        let history = a.read(&room, Some(place), 10).await;
        assert_eq!((history.continuity, history.entries.len()), (Continuity::Continuous, expected));
        place = history.entries.last().map_or(place, |entry| entry.step.position);
        read.extend(texts(&history.entries));
    }
    assert_eq!(read, (0..25).map(|number| number.to_string()).collect::<Vec<_>>());
    let oldest = a.read(&room, None, 3).await;
    assert_eq!(texts(&oldest.entries), ["0", "1", "2"]);
}

pub(crate) async fn a_limit_of_nothing_still_judges_the_place(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let first = a.say(&room, "1").await;
    a.say(&room, "2").await;
    let history = a.read(&room, Some(first), 0).await;
    assert_eq!((history.continuity, history.entries.len()), (Continuity::Continuous, 0));
    let history = a.read(&room, Some(Position { nonce: Nonce(first.nonce.0 ^ 1), ..first }), 0).await;
    assert_eq!(history.continuity, Continuity::Fork);
}

pub(crate) async fn another_publication_at_the_place_is_a_fork(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let mut places = Vec::new();
    for text in ["1", "2", "3"] {
        places.push(a.say(&room, text).await);
    }
    for place in places {
        let other = Position { nonce: Nonce(place.nonce.0 ^ 1), ..place };
        assert_eq!(a.read(&room, Some(other), 10).await.continuity, Continuity::Fork, "{place:?}");
    }
    let history =
        a.read(&room, Some(Position { offset: 1, nonce: Nonce(1), ..a.top(&room).await }), 10).await;
    assert_eq!(texts(&history.entries), ["2", "3"]);
}

pub(crate) async fn a_place_beyond_the_top_is_a_fork(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let top = a.say(&room, "1").await;
    for offset in [2, 3, u64::MAX] {
        let history = a.read(&room, Some(Position { offset, ..top }), 10).await;
        assert_eq!((history.continuity, history.top), (Continuity::Fork, top), "{offset}");
    }
}

pub(crate) async fn a_place_of_another_epoch_is_a_reset(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let top = a.say(&room, "1").await;
    a.say(&room, "2").await;
    let history = a.read(&room, Some(Position { epoch: Epoch(top.epoch.0 ^ 1), ..top }), 10).await;
    assert_eq!(history.continuity, Continuity::Reset);
    assert_eq!(texts(&history.entries), ["1", "2"]);
}

pub(crate) async fn a_place_that_the_stream_no_longer_reaches_is_trimmed(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let start = a.top(&room).await;
    // Far more than what trimming may leave standing.
    for number in 0..500 {
        a.publish(&room, kept(&number.to_string(), 5)).await.unwrap();
    }
    let history = a.read(&room, Some(start), 1000).await;
    assert_eq!(history.continuity, Continuity::Trimmed);
    assert_eq!(texts(&history.entries).last().unwrap(), "499");
    // Whose own publication is gone has missed nothing while the oldest kept one comes right after it.
    let oldest = history.entries[0].step;
    let before = Position { offset: oldest.position.offset - 1, nonce: oldest.previous, ..oldest.position };
    let history = a.read(&room, Some(before), 1000).await;
    assert_eq!(history.continuity, Continuity::Continuous);
    assert_eq!(history.entries[0].step, oldest);
}

pub(crate) async fn a_stream_keeps_what_it_should_and_not_much_more(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    for number in 0..600 {
        a.publish(&room, kept(&number.to_string(), 20)).await.unwrap();
        let count = a.read(&room, None, 10_000).await.entries.len();
        assert!(count >= 20.min(number + 1), "{count} are kept after {number}");
        assert!(count <= 200, "{count} are kept after {number}");
    }
}

pub(crate) async fn a_stream_ends_its_age_after_the_last_publication_and_its_epoch_goes_on(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    let aged = |text| {
        let retention = Retention { size: 100, age: Duration::from_millis(300), ..RETENTION };
        Publish { retention: Some(retention), ..message(text) }
    };
    let first = a.publish(&room, aged("1")).await.unwrap().position.unwrap();
    let second = a.publish(&room, aged("2")).await.unwrap().position.unwrap();
    until("the stream is empty", || async { a.texts(&room).await.is_empty() }).await;
    assert_eq!(a.read(&room, Some(second), 10).await.continuity, Continuity::Continuous);
    assert_eq!(a.read(&room, Some(first), 10).await.continuity, Continuity::Trimmed);
    let third = a.say(&room, "3").await;
    assert_eq!((third.epoch, third.offset), (first.epoch, 3));
    let history = a.read(&room, Some(second), 10).await;
    assert_eq!((history.continuity, texts(&history.entries)), (Continuity::Continuous, vec!["3".to_owned()]));
}

/// A message in a stream of at least `size`.
fn kept(text: &str, size: u32) -> Publish {
    let retention = Retention { size, ..RETENTION };
    Publish { retention: Some(retention), ..message(text) }
}
