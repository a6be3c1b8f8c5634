//! Rooms that the backend put users into.

use proto::{Room, UserId};
use switchboard_broker::{Control, MEMBERSHIPS_MAX, MembershipChange, MembershipError};

use crate::node::{Event, Node};
use crate::world::World;

pub(crate) async fn what_one_node_sets_every_node_sees(world: &World) {
    let (a, b) = world.two().await;
    let (tenant, ann) = (world.tenant(), id("ann"));
    assert!(b.memberships(&tenant, &ann).await.unwrap().is_empty());
    a.set_memberships(&tenant, &ann, &rooms(&["x", "y", "z"]), &[]).await.unwrap();
    b.set_memberships(&tenant, &ann, &rooms(&["w", "x"]), &rooms(&["y", "never"])).await.unwrap();
    for node in [&a, &b] {
        assert_eq!(of(world, node, &ann).await, ["w", "x", "z"]);
        assert_eq!(members(world, node, "x").await, ["ann"]);
        assert!(members(world, node, "y").await.is_empty() && members(world, node, "never").await.is_empty());
    }
    a.set_memberships(&tenant, &ann, &[], &rooms(&["w", "x", "z"])).await.unwrap();
    assert!(of(world, &b, &ann).await.is_empty());
}

pub(crate) async fn a_room_in_both_lists_is_joined(world: &World) {
    let a = world.node("a").await;
    let (tenant, ann) = (world.tenant(), id("ann"));
    for _ in 0..2 {
        a.set_memberships(&tenant, &ann, &rooms(&["x"]), &rooms(&["x", "y"])).await.unwrap();
        assert_eq!(of(world, &a, &ann).await, ["x"]);
        assert_eq!(members(world, &a, "x").await, ["ann"]);
    }
}

pub(crate) async fn too_many_rooms_change_nothing(world: &World) {
    let a = world.node("a").await;
    let (tenant, ann) = (world.tenant(), id("ann"));
    let many: Vec<Room> = (0..=MEMBERSHIPS_MAX).map(|number| room(&number.to_string())).collect();
    let refused = a.set_memberships(&tenant, &ann, &many, &[]).await.unwrap_err();
    assert_eq!(refused, MembershipError::TooMany);
    assert!(refused.to_string().contains("10000"), "{refused}");
    // In parts, and again where a busy Redis did not answer in time.
    for some in many[..MEMBERSHIPS_MAX].chunks(2_500) {
        while let Err(error) = a.set_memberships(&tenant, &ann, some, &[]).await {
            assert!(matches!(error, MembershipError::Unavailable(_)), "{error}");
        }
    }
    let another = &many[MEMBERSHIPS_MAX..];
    assert_eq!(
        a.set_memberships(&tenant, &ann, another, &rooms(&["unknown"])).await,
        Err(MembershipError::TooMany)
    );
    assert_eq!(a.memberships(&tenant, &ann).await.unwrap().len(), MEMBERSHIPS_MAX);
    assert!(members(world, &a, another[0].as_str()).await.is_empty());
    a.set_memberships(&tenant, &ann, another, &many[..1]).await.unwrap();
    assert_eq!(a.memberships(&tenant, &ann).await.unwrap().len(), MEMBERSHIPS_MAX);
}

pub(crate) async fn the_members_of_a_room_come_page_by_page(world: &World) {
    let (a, b) = world.two().await;
    let (tenant, lobby) = (world.tenant(), room("lobby"));
    let mut users: Vec<_> = (0..25).map(|number| format!("user|{number}")).collect();
    for user in &users {
        a.set_memberships(&tenant, &id(user), &rooms(&["lobby"]), &[]).await.unwrap();
    }
    users.sort();
    let (mut seen, mut after, mut pages) = (Vec::new(), None, 0);
    loop {
        let page = b.members(&tenant, &lobby, after.as_ref(), 10).await.unwrap();
        assert!(page.users.len() <= 10);
        seen.extend(page.users.iter().map(ToString::to_string));
        pages += 1;
        // Whoever comes or goes meanwhile does not disturb it.
        b.set_memberships(&tenant, &page.users[0], &[], &rooms(&["lobby"])).await.unwrap();
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!((seen, pages), (users, 3));
    let rest = a.members(&tenant, &lobby, None, 22).await.unwrap();
    assert_eq!((rest.users.len(), rest.next), (22, None));
}

pub(crate) async fn changes_at_once_leave_both_views_in_agreement(world: &World) {
    let (a, b) = world.two().await;
    let tenant = world.tenant();
    let changing = (0..40).map(|number| {
        let (node, tenant) = (if number % 2 == 0 { a.clone() } else { b.clone() }, tenant.clone());
        tokio::spawn(async move {
            let (join, leave) = (rooms(&["x", "y"]), rooms(&["y", "z"]));
            let (join, leave) = if number % 3 == 0 { (leave, join) } else { (join, leave) };
            node.set_memberships(&tenant, &id("ann"), &join[..1], &leave).await.unwrap();
        })
    });
    for changed in changing.collect::<Vec<_>>() {
        changed.await.unwrap();
    }
    let is_in = of(world, &a, &id("ann")).await;
    for room in ["x", "y", "z"] {
        let listed = !members(world, &b, room).await.is_empty();
        assert_eq!(listed, is_in.contains(&room.to_owned()), "{room} of {is_in:?}");
    }
}

pub(crate) async fn the_nodes_that_hold_the_user_are_told(world: &World) {
    let (a, b) = world.two().await;
    let user = world.user("ann");
    b.listen(std::slice::from_ref(&user)).await;
    let (join, leave) = (rooms(&["x", "y"]), rooms(&["y", "z"]));
    for _ in 0..2 {
        a.set_memberships(&world.tenant(), &id("ann"), &join, &leave).await.unwrap();
    }
    let told = |events: &[Event]| {
        let changes = events.iter().filter_map(|event| match event {
            Event::Control(channel, payload) if channel == user.as_str() => match Control::decode(payload) {
                Some(Control::Memberships(change)) => Some(change),
                _ => None,
            },
            _ => None,
        });
        changes.collect::<Vec<_>>()
    };
    b.until("both changes are told", |events| told(events).len() >= 2).await;
    let change = MembershipChange { join, leave: rooms(&["z"]) };
    assert_eq!(told(&b.events()), [change.clone(), change]);
}

/// The user's rooms, sorted.
async fn of(world: &World, node: &Node, user: &UserId) -> Vec<String> {
    let rooms = node.memberships(&world.tenant(), user).await.unwrap();
    let mut rooms: Vec<_> = rooms.iter().map(ToString::to_string).collect();
    rooms.sort();
    rooms
}

async fn members(world: &World, node: &Node, name: &str) -> Vec<String> {
    let members = node.members(&world.tenant(), &room(name), None, 100).await.unwrap();
    members.users.iter().map(ToString::to_string).collect()
}

fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}

fn room(name: &str) -> Room {
    Room::new(name).unwrap()
}

fn rooms(names: &[&str]) -> Vec<Room> {
    names.iter().map(|name| room(name)).collect()
}
