//! What nodes tell each other.

use bytes::Bytes;

use crate::node::{Event, Node, message};
use crate::world::World;

pub(crate) async fn every_subscribed_node_is_told_and_counted(world: &World) {
    let (a, b) = world.two().await;
    let (room, other) = (world.room("r"), world.room("other"));
    assert_eq!(a.control(&room, Bytes::from_static(b"nobody")).await.unwrap(), 0);
    a.listen(std::slice::from_ref(&room)).await;
    b.listen(&[room.clone(), other.clone()]).await;
    assert_eq!(a.control(&room, Bytes::from_static(b"1:\r\n\0")).await.unwrap(), 2);
    assert_eq!(a.control(&other, Bytes::new()).await.unwrap(), 1);
    told(&a, &[(room.as_str(), b"1:\r\n\0")]).await;
    told(&b, &[(room.as_str(), b"1:\r\n\0"), (other.as_str(), b"")]).await;
}

pub(crate) async fn nothing_of_it_is_stored(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    a.listen(std::slice::from_ref(&room)).await;
    let top = a.top(&room).await;
    a.control(&room, Bytes::from_static(b"x")).await.unwrap();
    told(&a, &[(room.as_str(), b"x")]).await;
    assert_eq!(a.top(&room).await, top);
    assert!(a.texts(&room).await.is_empty());
    assert!(a.heard(&room).is_empty());
}

pub(crate) async fn it_keeps_its_place_among_the_publications_of_a_node(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    b.listen(std::slice::from_ref(&room)).await;
    for _ in 0..20 {
        a.publish(&room, message("1")).await.unwrap();
        a.control(&room, Bytes::from_static(b"2")).await.unwrap();
    }
    told(&b, &[(room.as_str(), &b"2"[..]); 20]).await;
    let events = b.events().into_iter().filter_map(|event| match event {
        Event::Frame(..) => Some('f'),
        Event::Control(..) => Some('c'),
        _ => None,
    });
    assert_eq!(events.collect::<String>(), "fc".repeat(20));
}

/// Waits until a node was told just this.
async fn told(node: &Node, expected: &[(&str, &[u8])]) {
    let heard = |events: &[Event]| {
        let heard = events.iter().filter_map(|event| match event {
            Event::Control(channel, payload) => Some((channel.clone(), payload.to_vec())),
            _ => None,
        });
        heard.collect::<Vec<_>>()
    };
    let expected: Vec<_> =
        expected.iter().map(|(channel, payload)| ((*channel).to_owned(), payload.to_vec())).collect();
    node.until("what nodes tell each other arrives", |events| heard(events).len() >= expected.len()).await;
    assert_eq!(heard(&node.events()), expected);
}
