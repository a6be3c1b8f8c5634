//! A cluster whose slots move and whose nodes die.

use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

use testkit::{Cluster, until};

use super::*;

/// Publishes at the node that takes it, beginning with the one that took the last.
async fn publish_somewhere(cluster: &Cluster, node: &mut usize, channel: &Channel, number: u64) {
    for _ in 0..300 {
        let command = ["SPUBLISH", &name(channel), &message(number)];
        if cluster.nodes[*node].command(&command).await.is_ok() {
            return;
        }
        *node = (*node + 1) % cluster.nodes.len();
    }
    panic!("no node takes {number}");
}

async fn slot_of(cluster: &Cluster, channel: &Channel) -> u16 {
    cluster.slot_of(&name(channel)).await.unwrap()
}

#[tokio::test]
async fn channels_are_subscribed_to_where_their_slots_are() {
    let cluster = Cluster::start().await.unwrap();
    // With all the rights that the link needs, and no others.
    let user = "app on >secret +ssubscribe +sunsubscribe +cluster|nodes resetchannels &sb:*";
    for node in &cluster.nodes {
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        node.command(&words).await.unwrap();
    }
    let (link, log) = link_at(&cluster.url().replace("://", "://app:secret@"));
    let rooms = rooms(60);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    let mut owners = [0; 3];
    for room in &rooms {
        let owner = cluster.owner_of(slot_of(&cluster, room).await).await.unwrap();
        owners[owner] += 1;
        let command = ["SPUBLISH", &name(room), &message(1)];
        cluster.nodes[owner].command(&command).await.unwrap();
        got(&log, room, 1).await;
    }
    assert!(owners.iter().all(|count| *count > 0), "{owners:?}");
    assert!(link.health().connected);
    assert_eq!(link.health().channels, 60);
    link.unsubscribe(&rooms);
    for node in &cluster.nodes {
        let nobody = || async { Ok(node.command(&["PUBSUB", "SHARDCHANNELS"]).await?.list().is_empty()) };
        until("no subscription is left", PATIENCE, nobody).await.unwrap();
    }
    log.check();
}

#[tokio::test]
async fn a_channel_follows_its_slot_and_tells_of_the_way() {
    let cluster = Cluster::start().await.unwrap();
    let (link, log) = link_at(&cluster.url());
    let rooms = rooms(30);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    let (moving, done) = (&rooms[0], AtomicBool::new(false));
    let slot = slot_of(&cluster, moving).await;
    let from = cluster.owner_of(slot).await.unwrap();
    let publishing = async {
        let (mut node, mut number) = (from, 0);
        while !done.load(Ordering::Relaxed) {
            number += 1;
            log.begin(moving, number);
            publish_somewhere(&cluster, &mut node, moving, number).await;
        }
        (node, number)
    };
    let to = (from + 1) % 3;
    let moves = async {
        cluster.move_slot(slot, to).await.unwrap();
        until("it is told", PATIENCE, || async { Ok(log.interruptions(from_ref(moving)) == [1]) })
            .await
            .unwrap();
        all_on(&log, from_ref(moving)).await;
        done.store(true, Ordering::Relaxed);
    };
    let ((mut node, last), ()) = tokio::join!(publishing, moves);
    assert_eq!(node, to);
    publish_somewhere(&cluster, &mut node, moving, last + 1).await;
    got(&log, moving, last + 1).await;
    assert_eq!(log.interruptions(&rooms[1..]), [0], "the others stay where they are");
    log.check();

    cluster.move_slot(slot, from).await.unwrap();
    until("it moves back", PATIENCE, || async { Ok(log.interruptions(from_ref(moving)) == [2]) })
        .await
        .unwrap();
    all_on(&log, from_ref(moving)).await;
    log.check();
}

#[tokio::test]
async fn a_dead_node_takes_only_its_own_channels_along() {
    let mut cluster = Cluster::start().await.unwrap();
    let (link, log) = link_at(&cluster.url());
    let rooms = rooms(30);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    let (mut here, mut there) = (Vec::new(), Vec::new());
    for room in &rooms {
        let owner = cluster.owner_of(slot_of(&cluster, room).await).await.unwrap();
        if owner == 1 { here.push(room.clone()) } else { there.push(room.clone()) }
    }
    cluster.nodes[1].kill().await.unwrap();
    until("it is told", PATIENCE, || async { Ok(log.interruptions(&here) == [1]) }).await.unwrap();
    assert_eq!(log.interruptions(&there), [0]);
    assert!(!link.health().connected);
    cluster.nodes[1].restart().await.unwrap();
    all_on(&log, &rooms).await;
    let connected = || async { Ok(link.health().connected) };
    until("all connections stand", PATIENCE, connected).await.unwrap();
    log.check();
}
