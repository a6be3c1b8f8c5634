//! Who is there.

use std::collections::HashSet;

use proto::{Channel, PresenceEntry, Profile, UserId};

use crate::node::{Node, member, until};
use crate::world::World;

pub(crate) async fn a_user_counts_once_however_often_it_is_held(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    assert_eq!(a.hold(&room, &member("ann")).await.unwrap(), 1);
    assert_eq!(a.hold(&room, &member("ann")).await.unwrap(), 1);
    assert_eq!(b.hold(&room, &member("ann")).await.unwrap(), 1);
    assert_eq!(b.hold(&room, &member("bob")).await.unwrap(), 2);
    assert_eq!(a.hold(&room, &member("ann")).await.unwrap(), 2);
    assert_eq!(who(&a, &room).await, ["ann", "bob"]);
}

pub(crate) async fn a_user_is_there_until_its_last_node_lets_go(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    for node in [&a, &b] {
        node.hold(&room, &member("ann")).await.unwrap();
    }
    // Letting go twice does not take away what another node holds.
    for _ in 0..2 {
        a.release(&room, &id("ann")).await.unwrap();
        assert_eq!(who(&b, &room).await, ["ann"]);
    }
    b.release(&room, &id("ann")).await.unwrap();
    assert!(who(&a, &room).await.is_empty());
    a.release(&room, &id("nobody")).await.unwrap();
    assert_eq!(a.hold(&room, &member("ann")).await.unwrap(), 1);
}

pub(crate) async fn those_present_are_listed_with_what_is_known_of_them(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let profile = Profile::new(r#"{"avatar":"x:1","rank":12345678901234567890123}"#).unwrap();
    let ann =
        PresenceEntry { name: Some("Ann 👋 \"A\":{}".to_owned()), profile: Some(profile), ..member("42") };
    a.hold(&room, &ann).await.unwrap();
    assert_eq!(b.present(&room, 10).await.unwrap().users, std::slice::from_ref(&ann));
    let renamed = PresenceEntry { name: Some("Anna".to_owned()), ..ann };
    a.hold(&room, &renamed).await.unwrap();
    assert_eq!(b.present(&room, 10).await.unwrap().users, [renamed]);
}

pub(crate) async fn a_list_ends_at_its_limit_and_the_count_does_not(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    for number in 0..10 {
        a.hold(&room, &member(&number.to_string())).await.unwrap();
    }
    for (limit, listed) in [(0, 0), (3, 3), (10, 10), (1000, 10)] {
        let present = a.present(&room, limit).await.unwrap();
        let users = present.users.iter().map(|entry| &entry.user).collect::<HashSet<_>>();
        assert_eq!((present.users.len(), users.len(), present.count), (listed, listed, 10), "{limit}");
    }
}

pub(crate) async fn channels_have_their_own_members(world: &World) {
    let a = world.node("a").await;
    let (one, two) = (world.room("one"), world.room("two"));
    a.hold(&one, &member("ann")).await.unwrap();
    assert_eq!(a.hold(&two, &member("bob")).await.unwrap(), 1);
    a.release(&two, &id("ann")).await.unwrap();
    assert_eq!((who(&a, &one).await, who(&a, &two).await), (vec!["ann".to_owned()], vec!["bob".to_owned()]));
    assert_eq!(a.present(&world.room("three"), 10).await.unwrap().count, 0);
}

pub(crate) async fn many_users_come_at_once(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let coming = (0..400).map(|number| {
        // Every fourth user comes to both nodes.
        let (node, user) = (if number % 2 == 0 { a.clone() } else { b.clone() }, number - number % 4 / 3);
        let room = room.clone();
        tokio::spawn(async move { node.hold(&room, &member(&user.to_string())).await.unwrap() })
    });
    let mut counts = Vec::new();
    for counted in coming.collect::<Vec<_>>() {
        counts.push(counted.await.unwrap());
    }
    assert_eq!(counts.iter().max(), Some(&300));
    assert_eq!(a.present(&room, 1000).await.unwrap().users.len(), 300);
}

pub(crate) async fn a_closed_node_holds_nobody(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.hold(&room, &member("ann")).await.unwrap();
    for user in ["ann", "bob", "cat"] {
        b.hold(&room, &member(user)).await.unwrap();
    }
    b.close().await;
    until("its users are gone", || async { who(&a, &room).await == ["ann"] }).await;
    assert_eq!(a.hold(&room, &member("dan")).await.unwrap(), 2);
    assert!(b.hold(&room, &member("eve")).await.is_err());
    assert_eq!(a.present(&room, 1).await.unwrap().count, 2);
    assert_eq!(a.present(&room, 1).await.unwrap().users.len(), 1);
}

pub(crate) async fn nodes_that_vanished_are_forgotten_even_if_one_comes_back_under_its_name(world: &World) {
    let (a, b) = world.two().await;
    let (c, room) = (world.node("c").await, world.room("r"));
    for (node, user) in [(&a, "ann"), (&b, "bob"), (&c, "cat")] {
        node.hold(&room, &member(user)).await.unwrap();
    }
    drop((b, c));
    let b = world.node("b").await;
    b.hold(&room, &member("dan")).await.unwrap();
    until("who was there before is gone", || async { who(&a, &room).await == ["ann", "dan"] }).await;
    assert_eq!(who(&b, &room).await, ["ann", "dan"]);
    assert_eq!(a.hold(&room, &member("ann")).await.unwrap(), 2);
}

pub(crate) async fn the_last_word_counts_even_if_nobody_waited_for_the_one_before(world: &World) {
    let a = world.node("a").await;
    let (left, stayed) = (world.room("left"), world.room("stayed"));
    let users = (0..100).map(|number| member(&number.to_string())).collect::<Vec<_>>();
    for user in &users {
        let (held, released) = tokio::join!(a.hold(&left, user), a.release(&left, &user.user));
        held.and(released.map(|()| 0)).unwrap();
        let (released, held) = tokio::join!(a.release(&stayed, &user.user), a.hold(&stayed, user));
        held.and(released.map(|()| 0)).unwrap();
    }
    let outcome = || async {
        let left = a.present(&left, 1000).await.unwrap().count;
        let stayed = a.present(&stayed, 1000).await.unwrap().count;
        (left, stayed) == (0, 100)
    };
    until("those who left are gone, and those who stayed are there", outcome).await;
}

fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}

/// Who is in the channel, sorted; that the count agrees.
async fn who(node: &Node, channel: &Channel) -> Vec<String> {
    let present = node.present(channel, 100).await.unwrap();
    let mut users = present.users.iter().map(|entry| entry.user.as_str().to_owned()).collect::<Vec<_>>();
    users.sort();
    assert_eq!(present.count, users.len() as u64);
    users
}
