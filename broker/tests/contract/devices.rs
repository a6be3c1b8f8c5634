//! How far users' devices have got.

use std::time::Duration;

use proto::{Channel, DeviceId, Epoch, Position};
use switchboard_broker::{DEVICES_MAX, HistoryQuery, Reached};

use crate::node::{Node, until};
use crate::world::World;

const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn what_one_node_notes_every_node_finds(world: &World) {
    let (a, b) = world.two().await;
    let (ann, bob) = (world.user("ann"), world.user("bob"));
    assert_eq!(b.reached(&ann, &device("phone")).await.unwrap(), None);
    let first = a.say(&ann, "one").await;
    reach(&a, &ann, "phone", first).await;
    assert_eq!(b.reached(&ann, &device("phone")).await.unwrap(), Some(first));
    // Each device and each user on their own.
    assert_eq!(b.reached(&ann, &device("desk")).await.unwrap(), None);
    assert_eq!(b.reached(&bob, &device("phone")).await.unwrap(), None);
}

pub(crate) async fn whoever_says_so_the_furthest_place_counts(world: &World) {
    let (a, b) = world.two().await;
    let ann = world.user("ann");
    let (first, second) = (a.say(&ann, "one").await, a.say(&ann, "two").await);
    reach(&a, &ann, "phone", second).await;
    reach(&b, &ann, "phone", first).await;
    assert_eq!(b.reached(&ann, &device("phone")).await.unwrap(), Some(second));
    let third = b.say(&ann, "three").await;
    reach(&b, &ann, "phone", third).await;
    assert_eq!(a.reached(&ann, &device("phone")).await.unwrap(), Some(third));
}

pub(crate) async fn a_place_of_the_stream_that_is_counts_more_than_one_that_was(world: &World) {
    let a = world.node("a").await;
    let ann = world.user("ann");
    let now = a.say(&ann, "one").await;
    let past = Position { epoch: Epoch(now.epoch.0 ^ 1), offset: 9, ..now };
    // Beyond the stream: what was there is lost.
    let lost = Position { offset: 7, ..now };
    for before in [past, lost] {
        reach(&a, &ann, "phone", before).await;
        reach(&a, &ann, "phone", now).await;
        assert_eq!(a.reached(&ann, &device("phone")).await.unwrap(), Some(now), "{before}");
    }
    reach(&a, &ann, "phone", past).await;
    assert_eq!(a.reached(&ann, &device("phone")).await.unwrap(), Some(now));
}

pub(crate) async fn of_too_many_the_one_is_forgotten_that_was_silent_for_longest(world: &World) {
    let a = world.node("a").await;
    let ann = world.user("ann");
    let place = a.say(&ann, "one").await;
    for number in 0..DEVICES_MAX {
        reach(&a, &ann, &format!("d{number}"), place).await;
        // Who is heard of in the same millisecond is as old.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    reach(&a, &ann, "d0", place).await;
    reach(&a, &ann, "new", place).await;
    for (name, known) in [("d0", true), ("d1", false), ("d2", true), ("new", true)] {
        assert_eq!(a.reached(&ann, &device(name)).await.unwrap().is_some(), known, "{name}");
    }
}

pub(crate) async fn it_is_remembered_as_long_as_was_said_and_the_epoch_with_it(world: &World) {
    let a = world.node("a").await;
    let (ann, bob) = (world.user("ann"), world.user("bob"));
    let place = a.say(&ann, "one").await;
    let short = Reached { life: Duration::from_millis(300), ..at(&bob, "phone", place) };
    a.reach(&short).await.unwrap();
    reach(&a, &ann, "phone", place).await;
    until("its life is over", || async { a.reached(&bob, &device("phone")).await.unwrap().is_none() }).await;
    assert_eq!(a.reached(&ann, &device("phone")).await.unwrap(), Some(place));
    let read = a.history(&ann, HistoryQuery { after: Some(place), limit: 1 }).await.unwrap();
    assert_eq!(read.top, place);
}

async fn reach(node: &Node, user: &Channel, name: &str, position: Position) {
    node.reach(&at(user, name, position)).await.unwrap();
}

fn at(user: &Channel, name: &str, position: Position) -> Reached {
    Reached { user: user.clone(), device: device(name), position, life: LONG }
}

fn device(name: &str) -> DeviceId {
    DeviceId::new(name).unwrap()
}
