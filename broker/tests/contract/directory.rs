//! Lists and sums for administration.

use std::collections::BTreeSet;

use proto::{Channel, Nonce, Position, Timestamp, UserId};
use switchboard_broker::{Busiest, RoomCount};

use crate::node::{Node, member, texts, until};
use crate::world::World;

pub(crate) async fn who_is_present_is_listed_page_by_page(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    let names: Vec<_> = (0..700).map(|number| format!("user-{number}")).collect();
    for (number, name) in names.iter().enumerate() {
        let node = if number % 2 == 0 { &a } else { &b };
        node.hold(&room, &member(name)).await.unwrap();
    }
    let (mut seen, mut from, mut pages) = (BTreeSet::new(), 0, 0);
    loop {
        let page = a.present_page(&room, from, 100).await.unwrap();
        // About as many as were asked for, where there are many.
        assert!(page.items.len() < 300, "{}", page.items.len());
        seen.extend(page.items.into_iter().map(|entry| entry.user.to_string()));
        pages += 1;
        let Some(next) = page.next else { break };
        from = next;
    }
    assert_eq!(seen, names.into_iter().collect());
    assert!(pages > 3, "{pages}");
    let nobody = a.present_page(&world.room("empty"), 0, 10).await.unwrap();
    assert_eq!((nobody.items.len(), nobody.next), (0, None));
}

pub(crate) async fn who_was_only_on_a_node_that_vanished_is_not_listed(world: &World) {
    let (a, b) = world.two().await;
    let room = world.room("r");
    for (node, name) in [(&a, "ann"), (&a, "both"), (&b, "both"), (&b, "bob")] {
        node.hold(&room, &member(name)).await.unwrap();
    }
    drop(a);
    until("the node is seen to be gone", async || listed(&b, &room).await == ["bob", "both"]).await;
}

pub(crate) async fn rooms_are_listed_with_how_many_are_in_them_until_the_last_one_left(world: &World) {
    let (a, b) = world.two().await;
    let rooms = [("x", &a, "ann"), ("x", &b, "ann"), ("x", &b, "bob"), ("y", &a, "ann")];
    for (room, node, name) in rooms {
        node.hold(&world.room(room), &member(name)).await.unwrap();
    }
    a.hold(&world.user("ann"), &member("ann")).await.unwrap();
    until("both rooms are counted", async || counted(world, &b).await == [("x".into(), 2), ("y".into(), 1)])
        .await;
    b.release(&world.room("x"), &UserId::new("bob").unwrap()).await.unwrap();
    a.release(&world.room("y"), &UserId::new("ann").unwrap()).await.unwrap();
    until("who left is not counted", async || counted(world, &a).await == [("x".into(), 1)]).await;
    a.close().await;
    b.release(&world.room("x"), &UserId::new("ann").unwrap()).await.unwrap();
    until("nobody is left", async || counted(world, &b).await.is_empty()).await;
}

pub(crate) async fn the_busiest_rooms_come_first(world: &World) {
    let a = world.node("a").await;
    for room in 1..=5 {
        for user in 0..room {
            a.hold(&world.room(&room.to_string()), &member(&user.to_string())).await.unwrap();
        }
    }
    let expected = Busiest { rooms: 5, busiest: vec![count("5", 5), count("4", 4)] };
    let tenant = world.tenant();
    until("rooms are counted", async || a.busiest(&tenant, 2).await.unwrap() == expected).await;
    assert_eq!(a.busiest(&tenant, 0).await.unwrap(), Busiest { rooms: 5, busiest: Vec::new() });
}

pub(crate) async fn sessions_add_up_over_the_nodes_that_live(world: &World) {
    let (a, b) = world.two().await;
    let tenant = world.tenant();
    assert_eq!(a.sessions(&tenant).await.unwrap(), 0);
    for (node, sessions) in [(&a, 7), (&b, 1), (&b, 3)] {
        node.report_sessions(&tenant, sessions).await.unwrap();
    }
    assert_eq!(a.sessions(&tenant).await.unwrap(), 10);
    a.close().await;
    until("a closed node has none", async || b.sessions(&tenant).await.unwrap() == 3).await;
    b.report_sessions(&tenant, 0).await.unwrap();
    assert_eq!(b.sessions(&tenant).await.unwrap(), 0);
}

pub(crate) async fn what_is_revoked_is_known_to_all_until_its_end(world: &World) {
    let (a, b) = world.two().await;
    let text = |name: &str| format!("{}/{name}", world.tenant());
    let mine = async |node: &Node, after: u64| {
        let all = node.revoked(after, 10_000).await.unwrap();
        let mine = all.into_iter().filter(|it| it.text.starts_with(&text("")));
        mine.map(|it| (it.text, it.until.0, it.order)).collect::<Vec<_>>()
    };
    let later = Timestamp(4_000_000_000_000);
    for name in ["one", "two"] {
        assert!(a.revoke(&text(name), later).await.unwrap());
    }
    let both = mine(&b, 0).await;
    let seen: Vec<_> = both.iter().map(|(text, until, _)| (text.clone(), *until)).collect();
    assert_eq!(seen, [(text("one"), later.0), (text("two"), later.0)]);
    // What is revoked again comes again, and ends no sooner.
    assert!(b.revoke(&text("one"), Timestamp(3_900_000_000_000)).await.unwrap());
    let news = mine(&a, both[1].2).await;
    assert_eq!((news.len(), &news[0].0, news[0].1), (1, &text("one"), later.0));
    assert!(a.revoke(&text("past"), Timestamp(1)).await.unwrap());
    assert!(a.revoke(&text("three"), later).await.unwrap());
    let names: Vec<_> = mine(&b, 0).await.into_iter().map(|(text, ..)| text).collect();
    assert_eq!(names, ["two", "one", "three"].map(text));
}

pub(crate) async fn a_stream_is_read_backwards_page_by_page(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    assert!(a.earlier(&room, None, 10).await.unwrap().known);
    for number in 0..7 {
        a.say(&room, &number.to_string()).await;
    }
    let (mut before, mut pages) = (None, Vec::new());
    loop {
        let page = a.earlier(&room, before, 3).await.unwrap();
        assert!(page.known);
        let Some(first) = page.entries.first() else { break };
        before = Some(first.step.position);
        pages.push(texts(&page.entries));
    }
    assert_eq!(pages, [vec!["4", "5", "6"], vec!["1", "2", "3"], vec!["0"]]);
    // Before the top is before the last one.
    let top = a.top(&room).await;
    assert_eq!(texts(&a.earlier(&room, Some(top), 2).await.unwrap().entries), ["4", "5"]);
}

pub(crate) async fn reading_backwards_from_a_place_of_another_stream_finds_nothing(world: &World) {
    let a = world.node("a").await;
    let room = world.room("r");
    for text in ["1", "2", "3"] {
        a.say(&room, text).await;
    }
    let top = a.top(&room).await;
    for place in [
        Position { nonce: Nonce(top.nonce.0 ^ 1), ..top },
        Position { offset: top.offset + 1, ..top },
        Position { epoch: proto::Epoch(top.epoch.0 ^ 1), ..top },
    ] {
        let page = a.earlier(&room, Some(place), 10).await.unwrap();
        assert!(!page.known && page.entries.is_empty(), "{place}");
    }
}

async fn listed(node: &Node, channel: &Channel) -> Vec<String> {
    let page = node.present_page(channel, 0, 1000).await.unwrap();
    let users: BTreeSet<_> = page.items.into_iter().map(|entry| entry.user.to_string()).collect();
    users.into_iter().collect()
}

async fn counted(world: &World, node: &Node) -> Vec<(String, u64)> {
    let page = node.rooms(&world.tenant(), 0, 1000).await.unwrap();
    let mut rooms: Vec<_> = page.items.into_iter().map(|it| (it.room.to_string(), it.users)).collect();
    rooms.sort();
    rooms
}

fn count(room: &str, users: u64) -> RoomCount {
    RoomCount { room: proto::Room::new(room).unwrap(), users }
}
