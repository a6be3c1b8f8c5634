//! What subscribers are told when users come and go.

use std::collections::HashMap;
use std::slice::from_ref;

use proto::{Channel, PresenceEntry, Profile, UserId};
use switchboard_broker::PresenceNews;

use crate::node::{Event, Node, member};
use crate::world::World;

pub(crate) async fn a_user_comes_once_and_leaves_once_over_all_nodes(world: &World) {
    let (a, b) = world.two().await;
    let (room, other) = (world.room("r"), world.room("other"));
    for node in [&a, &b] {
        node.listen(from_ref(&room)).await;
    }
    for node in [&a, &b, &a] {
        node.hold(&room, &member("ann")).await.unwrap();
    }
    a.hold(&other, &member("zoe")).await.unwrap();
    a.hold(&room, &member("bob")).await.unwrap();
    for (node, user) in [(&a, "ann"), (&a, "ann"), (&a, "nobody"), (&b, "ann"), (&a, "bob")] {
        node.release(&room, &id(user)).await.unwrap();
    }
    a.hold(&room, &member("ann")).await.unwrap();
    for node in [&a, &b] {
        told(node, &room, &["+ann 1", "+bob 2", "-ann 1", "-bob 0", "+ann 1"]).await;
    }
    assert!(news(&a.events(), &other).is_empty());
}

pub(crate) async fn news_say_what_is_known_of_the_user(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    a.listen(from_ref(&room)).await;
    let entry = PresenceEntry {
        user: id("auth0|5f:7c"),
        name: Some("Ann / \u{0} : Ä".to_owned()),
        profile: Some(Profile::new(r#"{"n": 12345678901234567890.50}"#).unwrap()),
    };
    let renamed = PresenceEntry { name: Some("Anna".to_owned()), ..entry.clone() };
    a.hold(&room, &entry).await.unwrap();
    a.hold(&room, &renamed).await.unwrap();
    a.release(&room, &entry.user).await.unwrap();
    told(&a, &room, &["+auth0|5f:7c 1", "-auth0|5f:7c 0"]).await;
    let expected =
        [PresenceNews::Joined { user: entry, count: 1 }, PresenceNews::Left { user: renamed, count: 0 }];
    assert_eq!(news(&a.events(), &room), expected);
}

pub(crate) async fn many_changes_from_all_nodes_are_told_to_everybody_in_one_order(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    for node in [&a, &b] {
        node.listen(from_ref(&room)).await;
    }
    let changing = (0..20).map(|number| {
        let (a, b, room) = (a.clone(), b.clone(), room.clone());
        tokio::spawn(async move {
            let user = member(&number.to_string());
            for _ in 0..5 {
                a.hold(&room, &user).await.unwrap();
                b.hold(&room, &user).await.unwrap();
                a.release(&room, &user.user).await.unwrap();
                b.release(&room, &user.user).await.unwrap();
            }
        })
    });
    for changed in changing.collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    for node in [&a, &b] {
        node.until("200 changes are told", |events| news(events, &room).len() >= 200).await;
    }
    let told = news(&a.events(), &room);
    assert_eq!(told, news(&b.events(), &room));
    assert_eq!(told.len(), 200);
    let mut there = HashMap::new();
    for news in told {
        let (user, comes, count) = match news {
            PresenceNews::Joined { user, count } => (user, true, count),
            PresenceNews::Left { user, count } => (user, false, count),
            PresenceNews::Count(count) => panic!("only {count} is told"),
        };
        assert_eq!(there.insert(user.user, comes).unwrap_or(false), !comes);
        assert_eq!(there.values().filter(|there| **there).count() as u64, count);
    }
}

pub(crate) async fn who_is_on_a_node_that_closed_is_told_to_have_left_once(world: &World) {
    let (a, b) = world.two().await;
    ends(&a, b, world, |node| async move { node.close().await }).await;
}

pub(crate) async fn who_is_on_a_node_that_vanished_is_told_to_have_left_once(world: &World) {
    let (a, b) = world.two().await;
    ends(&a, b, world, |node| async move { drop(node) }).await;
}

/// That what a node held is told to have left when it ends, to the one that stays, by one of several.
async fn ends<Ending: Future<Output = ()>>(
    a: &Node,
    b: Node,
    world: &World,
    end: impl FnOnce(Node) -> Ending,
) {
    let (rooms, witness) = (world.rooms(3), world.node("witness").await);
    for node in [a, &witness] {
        node.listen(&rooms).await;
    }
    for room in &rooms {
        for user in ["ann", "bob", "cat"] {
            b.hold(room, &member(user)).await.unwrap();
        }
    }
    a.hold(&rooms[0], &member("dan")).await.unwrap();
    end(b).await;
    for node in [a, &witness] {
        for (room, there) in rooms.iter().zip([1, 0, 0]) {
            let changes = 6 + there;
            node.until("all have left", |events| news(events, room).len() >= changes).await;
            let mut left = Vec::new();
            for news in news(&node.events(), room) {
                if let PresenceNews::Left { user, count } = news {
                    left.push(user.user.to_string());
                    assert_eq!(count, (3 + there - left.len()) as u64);
                }
            }
            left.sort();
            assert_eq!(left, ["ann", "bob", "cat"]);
        }
    }
    // Nothing is left that could be told again.
    a.hold(&rooms[1], &member("end")).await.unwrap();
    witness.until("the last is told", |events| news(events, &rooms[1]).len() >= 7).await;
    assert_eq!(news(&witness.events(), &rooms[1]).len(), 7);
}

pub(crate) async fn who_is_on_another_node_too_does_not_leave_with_a_node(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.listen(from_ref(&room)).await;
    for node in [&a, &b] {
        node.hold(&room, &member("ann")).await.unwrap();
    }
    b.hold(&room, &member("bob")).await.unwrap();
    b.close().await;
    told(&a, &room, &["+ann 1", "+bob 2", "-bob 1"]).await;
    a.release(&room, &id("ann")).await.unwrap();
    told(&a, &room, &["+ann 1", "+bob 2", "-bob 1", "-ann 0"]).await;
}

pub(crate) async fn in_a_crowded_channel_only_the_number_is_told(world: &World) {
    let world = world.with_presence_limit(2);
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.listen(from_ref(&room)).await;
    for number in 1..=40 {
        let node = if number % 2 == 0 { &a } else { &b };
        node.hold(&room, &member(&number.to_string())).await.unwrap();
    }
    a.until("the last number is told", |events| {
        words(events, &room).last().is_some_and(|word| word == "=40")
    })
    .await;
    let told = words(&a.events(), &room);
    assert_eq!(told[..2], ["+1 1", "+2 2"]);
    assert!(told[2..].iter().all(|word| word.starts_with('=')) && told.len() < 40, "{told:?}");
    for number in 1..=39 {
        let node = if number % 2 == 0 { &a } else { &b };
        node.release(&room, &id(&number.to_string())).await.unwrap();
    }
    let over = |events: &[Event]| words(events, &room).contains(&"-39 1".to_owned());
    a.until("with few users names are told again", over).await;
}

/// Waits until a node was told just this about a channel.
async fn told(node: &Node, channel: &Channel, expected: &[&str]) {
    node.until(&format!("{expected:?} are told"), |events| news(events, channel).len() >= expected.len())
        .await;
    assert_eq!(words(&node.events(), channel), expected);
}

fn news(events: &[Event], wanted: &Channel) -> Vec<PresenceNews> {
    let news = events.iter().filter_map(|event| match event {
        Event::Presence(channel, news) if channel == wanted.as_str() => Some(news.clone()),
        _ => None,
    });
    news.collect()
}

fn words(events: &[Event], channel: &Channel) -> Vec<String> {
    let word = |news| match news {
        PresenceNews::Joined { user, count } => format!("+{} {count}", user.user),
        PresenceNews::Left { user, count } => format!("-{} {count}", user.user),
        PresenceNews::Count(count) => format!("={count}"),
    };
    news(events, channel).into_iter().map(word).collect()
}

fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}
