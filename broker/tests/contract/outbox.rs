//! What waits for the backend.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use proto::{Channel, Position, Timestamp};
use switchboard_broker::{Claim, EntryKey, Letter, Publish, PublishError, Retention, Waiting};

use crate::node::{Node, RETENTION, member, message, signal, text, until, with_id};
use crate::world::World;

const LEASE: Duration = Duration::from_secs(30);

/// A message that the backend is to have too.
fn told(text: &str) -> Publish {
    Publish { outbox: Some(1000), ..message(text) }
}

impl Node {
    /// Waits until one channel can be claimed.
    async fn claimed(&self, lease: Duration) -> Claim {
        let mut claims = Vec::new();
        while claims.is_empty() {
            claims = self.outbox().claim(8, lease).await.unwrap().claims;
            tokio::task::yield_now().await;
        }
        assert_eq!(claims.len(), 1, "{claims:?}");
        claims.remove(0)
    }

    async fn waiting(&self, claim: &Claim) -> Vec<Waiting> {
        self.outbox().advance(claim, &[], 100).await.unwrap()
    }

    async fn nothing_to_claim(&self) -> bool {
        self.outbox().claim(8, LEASE).await.unwrap().claims.is_empty()
    }
}

fn said(waiting: &Waiting) -> (Position, String) {
    match &waiting.letter {
        Letter::Message { position, payload } => (*position, text(payload)),
        other => panic!("{other:?}"),
    }
}

fn texts(waiting: &[Waiting]) -> Vec<String> {
    waiting.iter().map(|entry| said(entry).1).collect()
}

fn keys(waiting: &[Waiting]) -> Vec<EntryKey> {
    waiting.iter().map(|entry| entry.key.clone()).collect()
}

pub(crate) async fn what_is_for_the_backend_waits_in_the_order_of_the_stream(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    let mut places = Vec::new();
    for (number, node) in [&a, &b, &a, &b].into_iter().enumerate() {
        let published = node.publish(&room, told(&number.to_string())).await.unwrap();
        places.push(published.position.unwrap());
    }
    b.say(&room, "from the backend").await;
    a.publish(&room, Publish { outbox: Some(1000), ..signal("typing") }).await.unwrap();
    let claim = b.claimed(LEASE).await;
    assert_eq!((&claim.channel, claim.failures), (&room, 0));
    let waiting = b.waiting(&claim).await;
    assert_eq!(waiting.iter().map(|entry| said(entry).0).collect::<Vec<_>>(), places);
    assert_eq!(texts(&waiting), ["0", "1", "2", "3"]);
    let ids = waiting.iter().map(|entry| entry.letter.id()).collect::<HashSet<_>>();
    assert_eq!(ids.len(), 4);
}

pub(crate) async fn a_repeated_publish_waits_once(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    for node in [&a, &b, &a] {
        node.publish(&room, with_id(told("1"), "user:1", "x")).await.unwrap();
    }
    let conflict = b.publish(&room, with_id(told("2"), "user:1", "x")).await;
    assert_eq!(conflict, Err(PublishError::Conflict));
    let claim = a.claimed(LEASE).await;
    assert_eq!(texts(&a.waiting(&claim).await), ["1"]);
}

pub(crate) async fn a_full_outbox_refuses_and_nothing_is_published(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    let narrow = |text: &str| Publish { outbox: Some(2), ..message(text) };
    for text in ["1", "2"] {
        a.publish(&room, narrow(text)).await.unwrap();
    }
    let refused = b.publish(&room, with_id(narrow("3"), "user:1", "x")).await;
    assert_eq!(refused, Err(PublishError::OutboxFull));
    assert_eq!(a.texts(&room).await, ["1", "2"]);
    b.say(&room, "from the backend").await;

    let claim = b.claimed(LEASE).await;
    let first = b.waiting(&claim).await.remove(0);
    b.outbox().advance(&claim, &[first.key], 1).await.unwrap();
    let again = b.publish(&room, with_id(narrow("3"), "user:1", "x")).await.unwrap();
    assert!(!again.duplicate, "what was refused left no trace");
    assert_eq!(texts(&b.waiting(&claim).await), ["2", "3"]);
}

pub(crate) async fn an_outbox_outlives_what_the_stream_keeps(world: &World) {
    let world = world.apart();
    let a = world.node("a").await;
    let room = world.room("r");
    let retention = Some(Retention { size: 1, age: Duration::from_millis(50), ..RETENTION });
    for number in 0..300 {
        a.publish(&room, Publish { retention, ..told(&number.to_string()) }).await.unwrap();
    }
    until("the stream is gone", || async { a.texts(&room).await.is_empty() }).await;
    let claim = a.claimed(LEASE).await;
    assert_eq!(a.outbox().advance(&claim, &[], 1000).await.unwrap().len(), 300);
}

pub(crate) async fn a_channel_is_claimed_by_one_at_a_time(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    a.publish(&world.room("r"), told("1")).await.unwrap();
    let short = Duration::from_millis(300);
    let first = a.claimed(short).await;
    let entry = a.waiting(&first).await.remove(0);
    assert!(b.nothing_to_claim().await);
    assert!(a.outbox().renew(&first, LEASE, entry.since).await.unwrap());
    tokio::time::sleep(short).await;
    assert!(b.nothing_to_claim().await, "it was renewed");

    // Its holder vanishes.
    assert!(a.outbox().renew(&first, Duration::from_millis(1), entry.since).await.unwrap());
    let second = b.claimed(LEASE).await;
    assert!(!a.outbox().renew(&first, LEASE, entry.since).await.unwrap(), "the claim is lost");
    a.outbox().rest(&first, Duration::ZERO, 9).await.unwrap();
    a.outbox().finish(&first).await.unwrap();
    assert!(a.nothing_to_claim().await, "and what its old holder says counts no more");
    assert_eq!(texts(&b.waiting(&second).await), ["1"]);
}

pub(crate) async fn what_is_not_acknowledged_is_given_again(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    for text in ["1", "2", "3"] {
        a.publish(&room, told(text)).await.unwrap();
    }
    let claim = a.claimed(LEASE).await;
    let waiting = a.waiting(&claim).await;
    let rest = a.outbox().advance(&claim, &keys(&waiting[..1]), 1).await.unwrap();
    assert_eq!(texts(&rest), ["2"], "no more than asked for");
    a.outbox().rest(&claim, Duration::ZERO, 3).await.unwrap();
    let claim = b.claimed(LEASE).await;
    assert_eq!(claim.failures, 3);
    let waiting = b.waiting(&claim).await;
    assert_eq!(texts(&waiting), ["2", "3"]);
    assert!(b.outbox().advance(&claim, &keys(&waiting), 1).await.unwrap().is_empty());
    b.outbox().finish(&claim).await.unwrap();
    let left = a.outbox().claim(8, LEASE).await.unwrap();
    assert_eq!((left.claims.len(), left.channels, left.oldest), (0, 0, None));
    // And when something comes again, that is found.
    a.publish(&room, told("4")).await.unwrap();
    let claim = b.claimed(LEASE).await;
    assert_eq!((texts(&b.waiting(&claim).await), claim.failures), (vec!["4".to_owned()], 0));
}

pub(crate) async fn a_resting_channel_waits_its_time_whatever_comes(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    a.publish(&room, told("1")).await.unwrap();
    let claim = a.claimed(LEASE).await;
    a.outbox().rest(&claim, LEASE, 1).await.unwrap();
    b.publish(&room, told("2")).await.unwrap();
    b.publish(&world.room("s"), told("3")).await.unwrap();
    assert_eq!(b.claimed(LEASE).await.channel, world.room("s"));
    let seen = a.outbox().claim(8, LEASE).await.unwrap();
    assert_eq!((seen.claims.len(), seen.channels), (0, 2));
    assert!(seen.oldest.is_some());
}

/// Takes out everything until so many letters were seen, as workers do. Gives them by channel.
async fn drain(
    node: Node,
    total: usize,
    seen: std::sync::Arc<parking_lot::Mutex<HashMap<Channel, Vec<String>>>>,
) {
    let count = || seen.lock().values().map(Vec::len).sum::<usize>();
    while count() < total {
        for claim in node.outbox().claim(4, LEASE).await.unwrap().claims {
            let mut done = Vec::new();
            loop {
                let waiting = node.outbox().advance(&claim, &done, 3).await.unwrap();
                if waiting.is_empty() {
                    break;
                }
                seen.lock().entry(claim.channel.clone()).or_default().extend(texts(&waiting));
                done = keys(&waiting);
            }
            node.outbox().finish(&claim).await.unwrap();
        }
        tokio::task::yield_now().await;
    }
}

pub(crate) async fn nothing_is_overlooked_while_workers_empty_what_others_fill(world: &World) {
    const EACH: usize = 150;
    let world = world.apart();
    let (a, b) = world.two().await;
    let rooms = world.rooms(3);
    let seen = std::sync::Arc::default();
    let workers = [&a, &b]
        .map(|node| tokio::spawn(drain(node.clone(), EACH * rooms.len(), std::sync::Arc::clone(&seen))));
    let publishers = rooms.iter().cloned().enumerate().map(|(at, room)| {
        let node = if at % 2 == 0 { a.clone() } else { b.clone() };
        tokio::spawn(async move {
            for number in 0..EACH {
                node.publish(&room, told(&number.to_string())).await.unwrap();
                // Now and then the workers find nothing and take the channel out of the index.
                if number % 10 == 0 {
                    tokio::time::sleep(Duration::from_millis(3)).await;
                }
            }
        })
    });
    for publisher in publishers.collect::<Vec<_>>() {
        publisher.await.unwrap();
    }
    for worker in workers {
        tokio::time::timeout(Duration::from_secs(40), worker).await.unwrap().unwrap();
    }
    let expected = (0..EACH).map(|number| number.to_string()).collect::<Vec<_>>();
    for room in &rooms {
        assert_eq!(seen.lock()[room], expected, "{room}");
    }
}

pub(crate) async fn a_dead_letter_is_listed_until_it_is_replayed(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    for text in ["1", "2", "3"] {
        a.publish(&room, told(text)).await.unwrap();
    }
    let claim = a.claimed(LEASE).await;
    let waiting = a.waiting(&claim).await;
    for entry in &waiting[..2] {
        assert!(a.outbox().bury(&claim, entry, "answered 410").await.unwrap());
    }
    assert_eq!(texts(&a.waiting(&claim).await), ["3"]);

    let dead = b.outbox().dead(None, 10).await.unwrap();
    let ids = waiting.iter().map(|entry| entry.letter.id()).collect::<Vec<_>>();
    assert_eq!(dead.len(), 2);
    assert!(dead.iter().all(|one| ids.contains(&one.letter.id())));
    let first = &dead[0];
    assert_eq!((&first.channel, first.reason.as_str()), (&room, "answered 410"));
    assert!(first.died >= first.since && first.since > Timestamp(0));
    let page = b.outbox().dead(None, 1).await.unwrap();
    assert_eq!(page, dead[..1]);
    let next = b.outbox().dead(Some((page[0].died, &page[0].letter.id())), 5).await.unwrap();
    assert_eq!(next, dead[1..]);

    let stranger = proto::Tenant::new("another").unwrap();
    assert!(!b.outbox().replay(&stranger, &ids[0]).await.unwrap());
    assert!(b.outbox().replay(&world.tenant(), &ids[0]).await.unwrap());
    assert!(!b.outbox().replay(&world.tenant(), &ids[0]).await.unwrap(), "it is dead no more");
    let waiting = a.waiting(&claim).await;
    assert_eq!(texts(&waiting), ["3", "1"]);
    assert_eq!(waiting[1].letter.id(), ids[0], "under its own name");
    assert_eq!(b.outbox().dead(None, 10).await.unwrap().len(), 1);

    // Also where nothing waits any more.
    a.outbox().advance(&claim, &keys(&waiting), 1).await.unwrap();
    a.outbox().finish(&claim).await.unwrap();
    assert!(a.outbox().replay(&world.tenant(), &ids[1]).await.unwrap());
    let claim = b.claimed(LEASE).await;
    assert_eq!(texts(&b.waiting(&claim).await), ["2"]);
}

/// What a change of presence says: `+ann` or `-ann`.
fn change(waiting: &Waiting) -> String {
    match &waiting.letter {
        Letter::Occupied { user, .. } => format!("+{}", user.user),
        Letter::Vacated { user, .. } => format!("-{}", user.user),
        Letter::Message { payload, .. } => text(payload),
    }
}

/// Waits until so many changes wait, and gives them.
async fn changes(node: &Node, claim: &Claim, count: usize) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < count {
        seen = node.waiting(claim).await;
        tokio::task::yield_now().await;
    }
    let ids = seen.iter().map(|entry| entry.letter.id()).collect::<HashSet<_>>();
    assert_eq!(ids.len(), seen.len(), "each has an id of its own");
    seen.iter().map(change).collect()
}

pub(crate) async fn the_first_who_comes_and_the_last_who_goes_are_told(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let room = world.room("r");
    let [ann, bob] = ["ann", "bob"].map(member);
    a.hold(&world.room("silent"), &ann).await.unwrap();
    for _ in 0..2 {
        a.hold_and_report(&room, &ann).await;
        b.hold_and_report(&room, &ann).await;
        b.hold_and_report(&room, &bob).await;
        a.publish(&room, told("hello")).await.unwrap();
        b.release(&room, &bob.user).await.unwrap();
        for node in [&a, &b, &a] {
            node.release(&room, &ann.user).await.unwrap();
        }
    }
    let claim = b.claimed(LEASE).await;
    assert_eq!(claim.channel, room);
    assert_eq!(changes(&b, &claim, 6).await, ["+ann", "hello", "-ann", "+ann", "hello", "-ann"]);
}

pub(crate) async fn who_was_on_a_node_that_vanished_is_told_to_have_gone_once(world: &World) {
    let world = world.apart();
    let (a, b) = world.two().await;
    let (c, room, own) = (world.node("c").await, world.room("r"), world.user("ann"));
    a.hold_and_report(&room, &member("ann")).await;
    a.hold_and_report(&own, &member("ann")).await;
    b.hold_and_report(&room, &member("bob")).await;
    drop(a);
    let mut claims = Vec::new();
    while claims.len() < 2 {
        claims.extend(b.outbox().claim(8, LEASE).await.unwrap().claims);
    }
    claims.sort_by(|one, other| one.channel.cmp(&other.channel));
    assert_eq!(claims.iter().map(|claim| &claim.channel).collect::<Vec<_>>(), [&room, &own]);
    assert_eq!(changes(&c, &claims[1], 2).await, ["+ann", "-ann"]);
    assert_eq!(changes(&c, &claims[0], 1).await, ["+ann"], "bob is still there");
    b.release(&room, &member("bob").user).await.unwrap();
    assert_eq!(changes(&c, &claims[0], 2).await, ["+ann", "-bob"]);
}
