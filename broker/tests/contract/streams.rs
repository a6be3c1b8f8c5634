//! Publishing, and the order of what was published.

use std::collections::HashSet;

use proto::Position;

use crate::node::{assert_contiguous, message, signal, texts};
use crate::world::World;

pub(crate) async fn a_publication_stands_where_its_publisher_was_told(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let first = a.say(&room, "1").await;
    let second = b.say(&room, "2").await;
    let history = a.read(&room, None, 10).await;
    assert_eq!(history.top, second);
    assert_eq!(history.entries.iter().map(|entry| entry.step.position).collect::<Vec<_>>(), [first, second],);
    assert_eq!(texts(&history.entries), ["1", "2"]);
}

pub(crate) async fn offsets_grow_by_one_and_each_publication_names_the_one_before(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let start = b.top(&room).await;
    assert_eq!(start, Position::start(start.epoch));
    for number in 0..20 {
        a.say(&room, &number.to_string()).await;
    }
    let entries = b.read(&room, None, 100).await.entries;
    assert_eq!(entries.len(), 20);
    assert_contiguous(start, entries.iter().map(|entry| entry.step));
    assert_eq!(entries.iter().map(|entry| entry.step.position.nonce.0).collect::<HashSet<_>>().len(), 20);
}

pub(crate) async fn publishing_at_once_from_all_nodes_gives_one_order(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let start = a.top(&room).await;
    let publishing = (0..200).map(|number| {
        let (node, room) = (if number % 2 == 0 { a.clone() } else { b.clone() }, room.clone());
        tokio::spawn(async move { node.say(&room, &number.to_string()).await })
    });
    let mut positions = HashSet::new();
    for published in publishing.collect::<Vec<_>>() {
        positions.insert(published.await.unwrap());
    }
    let entries = a.read(&room, None, 1000).await.entries;
    assert_contiguous(start, entries.iter().map(|entry| entry.step));
    assert_eq!(entries.iter().map(|entry| entry.step.position).collect::<HashSet<_>>(), positions);
    assert_eq!(texts(&entries).into_iter().collect::<HashSet<_>>().len(), 200);
}

pub(crate) async fn a_top_is_the_place_of_the_last_publication(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.say(&room, "1").await;
    let last = a.say(&room, "2").await;
    assert_eq!(b.top(&room).await, last);
}

pub(crate) async fn a_place_given_out_before_the_first_publication_stands(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let place = a.top(&room).await;
    assert_eq!(b.top(&room).await, place);
    assert_eq!(b.read(&room, None, 10).await.top, place);
    let first = b.say(&room, "1").await;
    assert_eq!((first.epoch, first.offset), (place.epoch, 1));
    assert_eq!(texts(&a.read(&room, Some(place), 10).await.entries), ["1"]);
}

pub(crate) async fn tops_of_many_channels_come_in_the_order_asked(world: &World) {
    let (a, b) = world.two().await;
    let rooms = world.rooms(300);
    let starts = a.tops(&rooms).await.unwrap();
    assert_eq!(starts.iter().map(|top| top.epoch).collect::<HashSet<_>>().len(), 300);
    assert_eq!(b.tops(&rooms).await.unwrap(), starts);
    let said = b.say(&rooms[123], "1").await;
    let tops = a.tops(&rooms).await.unwrap();
    assert_eq!(tops[123], said);
    assert_eq!((&tops[..123], &tops[124..]), (&starts[..123], &starts[124..]));
    assert!(a.tops(&[]).await.unwrap().is_empty());
}

pub(crate) async fn an_ephemeral_publication_has_no_place_and_leaves_nothing(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let place = a.say(&room, "1").await;
    let published = a.publish(&room, signal("typing")).await.unwrap();
    assert_eq!((published.position, published.duplicate), (None, false));
    assert_eq!(b.top(&room).await, place);
    assert_eq!(b.texts(&room).await, ["1"]);
}

pub(crate) async fn channels_of_the_same_name_are_apart(world: &World) {
    let a = world.node("a").await;
    let channels = [world.room("x"), world.user("x"), world.everyone(), world.room("X"), world.room("x.")];
    for (channel, text) in channels.iter().zip(["room", "user", "everyone", "capital", "dot"]) {
        a.say(channel, text).await;
    }
    for (channel, text) in channels.iter().zip(["room", "user", "everyone", "capital", "dot"]) {
        assert_eq!(a.texts(channel).await, [text]);
    }
}

pub(crate) async fn any_text_and_a_large_one_come_back_as_they_were(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(std::slice::from_ref(&room)).await;
    let large = "0123456789abcdef".repeat(32 * 1024);
    let said = ["", "\0\r\n\"\\{}[]:%$1", "Grüße 👋 \u{2028}", "18446744073709551615", large.as_str()];
    for text in said {
        a.say(&room, text).await;
    }
    assert_eq!(b.texts(&room).await, said);
    let frames = b.frames(&room, said.len()).await;
    assert_eq!(frames.iter().map(|frame| crate::node::text(&frame.payload)).collect::<Vec<_>>(), said);
    // Data is passed on as the text it came in, whatever another writer of JSON would have made of it.
    let mut odd = message("");
    let json = r#"{ "b":1.0, "a" : 1e400, "b": 12345678901234567890123 }"#;
    odd.publication.data = serde_json::value::RawValue::from_string(json.to_owned()).unwrap();
    a.publish(&room, odd).await.unwrap();
    let payload = b.frames(&room, said.len() + 1).await.pop().unwrap().payload;
    assert_eq!(proto::Publication::decode(&payload).unwrap().data.get(), json);
}
