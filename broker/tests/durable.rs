//! Publishing that is confirmed by a replica or a disk: with servers that have neither, or lose them.

// The helpers outside of test functions may fail like these.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, clippy::print_stderr)]

mod support;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use proto::Durability;
use switchboard_broker::redis::{RedisBroker, RedisConfig};
use switchboard_broker::{Broker, HistoryQuery, Publish, PublishError, Unavailable};
use testkit::{Access, Cluster, Options, Proxy, Reply, Sentinel, Standalone, redis_8, until};

use support::{LIMIT, calls, confirmed, connect, eventually, room, with_id};

#[tokio::test]
async fn a_replica_confirms_what_it_has() {
    let (primary, replica) = pair().await;
    let broker = connect(&primary.url()).await;
    for number in 1..=20 {
        let published = broker.publish(&room("r"), replicated(&number.to_string())).await.unwrap();
        assert_eq!((published.position.unwrap().offset, published.duplicate), (number, false));
        // Read at the replica itself, right after the answer.
        let entries = replica.command(&["XLEN", "sb:{t/r/r}:s"]).await.unwrap();
        assert_eq!(entries, Reply::Int(i64::try_from(number).unwrap()));
    }
}

#[tokio::test]
async fn without_a_word_from_a_replica_nothing_is_confirmed_and_repeating_waits_again() {
    let (primary, replica) = pair().await;
    let broker = connect(&primary.url()).await;
    broker.publish(&room("r"), replicated("1")).await.unwrap();
    replica.pause().unwrap();
    // Each on a new connection, which has written nothing yet.
    for _ in 0..3 {
        assert_eq!(
            broker.publish(&room("r"), with_id(replicated("2"), "2")).await,
            Err(PublishError::Unconfirmed)
        );
    }
    assert_eq!(stored(&broker, "r").await, 2, "it is there, once");
    replica.resume().unwrap();
    primary.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    let again = eventually(&broker, with_id(replicated("2"), "2")).await;
    assert_eq!((again.duplicate, again.position.unwrap().offset), (true, 2));
    assert!(calls(&primary, "pexpire").await > 0, "without a write of its own there is nothing to wait for");
    let entries = replica.command(&["XLEN", "sb:{t/r/r}:s"]).await.unwrap();
    assert_eq!(entries, Reply::Int(2));
}

#[tokio::test]
async fn a_connection_that_breaks_while_waiting_confirms_nothing() {
    let (primary, replica) = pair().await;
    let proxy = Proxy::start(primary.address()).await.unwrap();
    let broker = std::sync::Arc::new(connect(&proxy.url()).await);
    eventually(&broker, replicated("1")).await;
    replica.pause().unwrap();
    for round in 2..5 {
        let publishing = tokio::spawn({
            let broker = broker.clone();
            async move { broker.publish(&room("r"), replicated(&round.to_string())).await }
        });
        until("it is stored", LIMIT, || async { Ok(stored_at(&primary, "r").await >= round) }).await.unwrap();
        proxy.cut();
        proxy.restore();
        let outcome = publishing.await.unwrap();
        assert!(
            matches!(outcome, Err(PublishError::Unconfirmed | PublishError::Unavailable(_))),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_server_without_replicas_confirms_nothing_and_says_so_in_time() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    let started = Instant::now();
    assert_eq!(broker.publish(&room("r"), replicated("1")).await, Err(PublishError::Unconfirmed));
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
}

#[tokio::test]
async fn publishes_that_come_together_wait_together() {
    let (primary, _replica) = pair().await;
    let broker = std::sync::Arc::new(connect(&primary.url()).await);
    primary.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    // Few enough that all of them have their turn in time, on a busy machine too.
    let publishing = (0..100).map(|number: u32| {
        let broker = broker.clone();
        let channel = room(&(number % 7).to_string());
        tokio::spawn(async move { broker.publish(&channel, replicated(&number.to_string())).await.unwrap() })
    });
    for publishing in publishing.collect::<Vec<_>>() {
        publishing.await.unwrap();
    }
    assert_eq!(calls(&primary, "xadd").await, 100);
    let waits = calls(&primary, "wait").await;
    assert!(waits < 50, "{waits} waits");
}

#[tokio::test]
async fn a_redis_that_cannot_tell_of_its_disk_refuses_before_anything_is_stored() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let version = redis.info("redis_version").await.unwrap();
    if !version.starts_with("7.0") && !version.starts_with('6') {
        eprintln!("SKIPPED: Redis {version} has WAITAOF");
        return;
    }
    let broker = connect(&redis.url()).await;
    let Err(PublishError::Unsupported(reason)) = broker.publish(&room("r"), synced("1")).await else {
        panic!()
    };
    assert!(reason.contains("7.2"), "{reason}");
    assert_eq!(stored(&broker, "r").await, 0);
}

#[tokio::test]
async fn a_disk_confirms_what_it_has() {
    let Some(program) = redis_8() else { return };
    let config = vec!["appendfsync everysec".to_owned()];
    let options = Options { config, ..options_of(program) };
    let redis = Standalone::start(options).await.unwrap();
    let broker = connect(&redis.url()).await;
    for number in 1..=3 {
        let published = broker.publish(&room("r"), synced(&number.to_string())).await.unwrap();
        assert_eq!(published.position.unwrap().offset, number);
    }
    let again = with_id(synced("4"), "4");
    assert!(!broker.publish(&room("r"), again.clone()).await.unwrap().duplicate);
    assert!(broker.publish(&room("r"), again).await.unwrap().duplicate);
    // A disk that is never told to write confirms nothing.
    redis.command(&["CONFIG", "SET", "appendfsync", "no"]).await.unwrap();
    assert_eq!(broker.publish(&room("r"), synced("5")).await, Err(PublishError::Unconfirmed));
    assert_eq!(stored(&broker, "r").await, 5);
}

#[tokio::test]
async fn a_redis_without_a_file_refuses_before_anything_is_stored() {
    let Some(program) = redis_8() else { return };
    let redis = Standalone::start(Options { append_only: false, ..options_of(program) }).await.unwrap();
    let broker = connect(&redis.url()).await;
    let Err(PublishError::Unsupported(reason)) = broker.publish(&room("r"), synced("1")).await else {
        panic!()
    };
    assert!(reason.contains("append-only"), "{reason}");
    assert_eq!(stored(&broker, "r").await, 0);
}

#[tokio::test]
async fn a_user_who_may_not_wait_is_refused_before_anything_is_stored() {
    let (name, password) = ("app".to_owned(), "secret".to_owned());
    let rules = format!("{} -wait", RedisConfig::ACL.replace("PREFIX", "sb"));
    let access = Access::User { name, password, rules };
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let broker = connect(&redis.url()).await;
    let outcome = broker.publish(&room("r"), replicated("1")).await;
    assert!(matches!(outcome, Err(PublishError::Unsupported(_))), "{outcome:?}");
    assert_eq!(stored(&broker, "r").await, 0);
}

#[tokio::test]
async fn in_a_cluster_the_node_that_stores_it_is_the_one_that_waits() {
    let cluster = Cluster::start().await.unwrap();
    let broker = connect(&cluster.url()).await;
    let owner = cluster.owner_of(cluster.slot_of("{t/r/r}").await.unwrap()).await.unwrap();
    // No node has a replica yet: it is stored and not confirmed.
    assert_eq!(
        broker.publish(&room("r"), with_id(replicated("1"), "1")).await,
        Err(PublishError::Unconfirmed)
    );
    let replica = replica_of(&cluster, owner).await;
    eventually(&broker, with_id(replicated("1"), "1")).await;
    broker.publish(&room("r"), replicated("2")).await.unwrap();
    assert_eq!(stored_at(&cluster.nodes[owner], "r").await, 2);
    drop(replica);
}

#[tokio::test]
async fn a_slot_that_moves_takes_its_publishes_along() {
    let cluster = Cluster::start().await.unwrap();
    let broker = connect(&cluster.url()).await;
    let slot = cluster.slot_of("{t/r/r}").await.unwrap();
    let owner = cluster.owner_of(slot).await.unwrap();
    let next = (owner + 1) % 3;
    assert_eq!(
        broker.publish(&room("r"), with_id(replicated("1"), "1")).await,
        Err(PublishError::Unconfirmed)
    );
    let replica = replica_of(&cluster, next).await;
    cluster.begin_move(slot, next).await.unwrap();
    let port = cluster.nodes[next].port().to_string();
    let mut migrate = vec!["MIGRATE", "127.0.0.1", &port, "", "0", "2000", "KEYS"];
    migrate.extend(["sb:{t/r/r}:m", "sb:{t/r/r}:s"]);
    cluster.nodes[owner].command(&migrate).await.unwrap();
    // The slot is still at its old owner, which sends us on for what it no longer has.
    broker.publish(&room("r"), replicated("2")).await.unwrap();
    cluster.finish_move(slot, next).await.unwrap();
    assert_eq!(stored_at(&cluster.nodes[next], "r").await, 2);
    let published = eventually(&broker, with_id(replicated("1"), "1")).await;
    assert!(published.duplicate, "the record moved with it");
    drop(replica);
}

#[tokio::test]
async fn after_a_failover_the_new_primary_is_asked() {
    let mut redis = Sentinel::start().await.unwrap();
    let broker = connect(&redis.url()).await;
    eventually(&broker, with_id(replicated("1"), "1")).await;
    redis.servers[0].kill().await.unwrap();
    redis.failed_over(1).await.unwrap();
    // What a replica confirmed survives. The new primary has no replica, which it tells.
    until("the new primary answers", LIMIT, || async {
        Ok(broker.publish(&room("r"), with_id(replicated("1"), "1")).await == Err(PublishError::Unconfirmed))
    })
    .await
    .unwrap();
    assert_eq!(stored(&broker, "r").await, 1);
}

#[tokio::test]
async fn while_redis_is_away_they_fail_like_others() {
    let (mut primary, _replica) = pair().await;
    let broker = connect(&primary.url()).await;
    broker.publish(&room("r"), replicated("1")).await.unwrap();
    primary.kill().await.unwrap();
    let started = Instant::now();
    let outcome = broker.publish(&room("r"), replicated("2")).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(Unavailable(_)))), "{outcome:?}");
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    primary.restart().await.unwrap();
    eventually(&broker, replicated("2")).await;
}

/// A primary and a replica that is in step.
async fn pair() -> (Standalone, Standalone) {
    let config = vec!["repl-diskless-sync-delay 0".to_owned()];
    let primary = Standalone::start(Options { config, ..Options::default() }).await.unwrap();
    let config = vec![format!("replicaof 127.0.0.1 {}", primary.port())];
    let replica = Standalone::start(Options { config, ..Options::default() }).await.unwrap();
    until("the replica is in step", LIMIT, || async {
        Ok(replica.info("master_link_status").await? == "up")
    })
    .await
    .unwrap();
    in_step(&primary).await;
    (primary, replica)
}

/// Waits until a primary has heard of its replica how far that is, which is later than the replica thinks itself in step. Only
/// then it sends what is written.
async fn in_step(primary: &Standalone) {
    until("the primary has heard of its replica", LIMIT, || async {
        let replica = primary.info("slave0").await.unwrap_or_default();
        let offset = replica.split(',').find_map(|field| field.strip_prefix("offset=")?.parse::<u64>().ok());
        Ok(offset.is_some_and(|offset| offset > 0))
    })
    .await
    .unwrap();
}

/// Gives a node of a cluster a replica, and waits until it is in step.
async fn replica_of(cluster: &Cluster, node: usize) -> Standalone {
    let config = ["cluster-enabled yes", "cluster-announce-ip 127.0.0.1"].map(str::to_owned).to_vec();
    let replica = Standalone::start(Options { config, ..Options::default() }).await.unwrap();
    let port = cluster.nodes[node].port().to_string();
    replica.command(&["CLUSTER", "MEET", "127.0.0.1", &port]).await.unwrap();
    let id = cluster.nodes[node].command(&["CLUSTER", "MYID"]).await.unwrap().text();
    until("it may replicate", LIMIT, || async {
        Ok(replica.command(&["CLUSTER", "REPLICATE", &id]).await.is_ok())
    })
    .await
    .unwrap();
    until("the replica is in step", LIMIT, || async {
        Ok(replica.info("master_link_status").await? == "up")
    })
    .await
    .unwrap();
    in_step(&cluster.nodes[node]).await;
    replica
}

fn options_of(program: PathBuf) -> Options {
    Options { program, ..Options::default() }
}

async fn stored(broker: &RedisBroker, name: &str) -> usize {
    broker.history(&room(name), HistoryQuery { after: None, limit: 1000 }).await.unwrap().entries.len()
}

async fn stored_at(server: &Standalone, name: &str) -> i64 {
    match server.command(&["XLEN", &format!("sb:{{t/r/{name}}}:s")]).await.unwrap() {
        Reply::Int(entries) => entries,
        other => panic!("{other:?}"),
    }
}

fn replicated(text: &str) -> Publish {
    confirmed(text, Durability::Replica)
}

fn synced(text: &str) -> Publish {
    confirmed(text, Durability::Fsync)
}
