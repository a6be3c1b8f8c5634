//! How many sessions a user may have.

use proto::SessionId;
use switchboard_broker::{Control, Place};

use crate::node::{Event, Node};
use crate::world::World;

pub(crate) async fn the_newest_session_takes_the_place_of_the_oldest(world: &World) {
    let (a, b) = world.two().await;
    let channel = place(world, "", 1).user;
    a.listen(std::slice::from_ref(&channel)).await;
    assert!(a.claim(&place(world, "s1", 2), false).await.unwrap());
    assert!(b.claim(&place(world, "s2", 2), false).await.unwrap());
    assert!(b.claim(&place(world, "s3", 2), false).await.unwrap());
    replaced(&a, &[&["s1"]]).await;
    // Another limit counts for who claims by it.
    assert!(b.claim(&place(world, "s4", 1), false).await.unwrap());
    replaced(&a, &[&["s1"], &["s2", "s3"]]).await;
}

pub(crate) async fn a_place_that_was_given_up_is_free(world: &World) {
    let a = world.node("a").await;
    let channel = place(world, "", 1).user;
    a.listen(std::slice::from_ref(&channel)).await;
    assert!(a.claim(&place(world, "s1", 1), false).await.unwrap());
    a.waive(&place(world, "s1", 1)).await.unwrap();
    assert!(a.claim(&place(world, "s2", 1), false).await.unwrap());
    assert!(a.claim(&place(world, "s3", 1), false).await.unwrap());
    replaced(&a, &[&["s2"]]).await;
}

pub(crate) async fn who_lost_a_place_does_not_get_it_back(world: &World) {
    let a = world.node("a").await;
    assert!(a.claim(&place(world, "s1", 1), false).await.unwrap());
    assert!(a.claim(&place(world, "s1", 1), true).await.unwrap());
    assert!(a.claim(&place(world, "s2", 1), false).await.unwrap());
    assert!(!a.claim(&place(world, "s1", 1), true).await.unwrap());
    assert!(a.claim(&place(world, "s2", 1), true).await.unwrap());
    // Whom Redis forgot takes a free place, and goes first.
    a.waive(&place(world, "s2", 1)).await.unwrap();
    assert!(a.claim(&place(world, "s2", 1), true).await.unwrap());
}

pub(crate) async fn circles_and_users_do_not_count_together(world: &World) {
    let a = world.node("a").await;
    let one = place(world, "s1", 1);
    let elsewhere = Place { circle: "/other".to_owned(), session: id("s2"), ..one.clone() };
    let other = Place { user: world.user("bob"), session: id("s3"), ..one.clone() };
    for place in [&one, &elsewhere, &other] {
        assert!(a.claim(place, false).await.unwrap());
    }
    for place in [&one, &elsewhere, &other] {
        assert!(a.claim(place, true).await.unwrap());
    }
}

pub(crate) async fn of_many_that_come_at_once_just_one_stays(world: &World) {
    let (a, b) = world.two().await;
    let claims = (0..20).map(|number| {
        let (node, place) = (if number % 2 == 0 { &a } else { &b }, place(world, &format!("s{number}"), 1));
        async move { node.claim(&place, false).await.unwrap() }
    });
    assert!(futures_util::future::join_all(claims).await.into_iter().all(|has| has));
    let mut left = 0;
    for number in 0..20 {
        left += u32::from(b.claim(&place(world, &format!("s{number}"), 1), true).await.unwrap());
    }
    assert_eq!(left, 1);
}

fn id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

fn place(world: &World, session: &str, limit: u32) -> Place {
    let session = if session.is_empty() { "none" } else { session };
    Place { user: world.user("ann"), circle: "/ws".to_owned(), session: id(session), limit }
}

/// Waits until a node was told that these sessions lost their places.
async fn replaced(node: &Node, expected: &[&[&str]]) {
    let heard = |events: &[Event]| {
        let heard = events.iter().filter_map(|event| match event {
            Event::Control(_, payload) => match Control::decode(payload) {
                Some(Control::Replaced(sessions)) => Some(sessions),
                _ => None,
            },
            _ => None,
        });
        heard.collect::<Vec<_>>()
    };
    let expected: Vec<Vec<_>> =
        expected.iter().map(|sessions| sessions.iter().copied().map(id).collect()).collect();
    node.until("who lost a place is told", |events| heard(events).len() >= expected.len()).await;
    assert_eq!(heard(&node.events()), expected);
}
