//! Against real servers, of each topology.

use std::time::{Duration, Instant};

use proto::{
    Channel, EventName, MessageId, NodeId, Position, PresenceEntry, Profile, Publication, Room, Tenant,
    Timestamp, UserId,
};
use serde_json::value::RawValue;
use testkit::{Cluster, Options, Sentinel, Standalone, until};

use super::{RedisBroker, RedisConfig};
use crate::{Broker, Continuity, HistoryQuery, IdempotencyKey, Publish, PublishError, Retention};

const LIMIT: Duration = Duration::from_secs(20);

fn room(name: &str) -> Channel {
    Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
}

fn message(text: &str) -> Publish {
    Publish {
        publication: Publication {
            event: EventName::new("chat").unwrap(),
            data: RawValue::from_string(format!("{text:?}")).unwrap(),
            id: None,
            from: None,
            timestamp: Timestamp(1),
        },
        retention: Some(Retention { size: 100, age: Duration::from_secs(60) }),
        idempotency: None,
    }
}

fn with_id(text: &str, id: &str) -> Publish {
    let id = IdempotencyKey::new("user:1", &MessageId::new(id).unwrap());
    Publish { idempotency: Some(id), ..message(text) }
}

fn user(name: &str) -> PresenceEntry {
    let profile = Profile::new(format!(r#"{{"of": "{name}"}}"#)).unwrap();
    PresenceEntry {
        user: UserId::new(name).unwrap(),
        name: Some(name.to_uppercase()),
        profile: Some(profile),
    }
}

async fn connect(url: &str, node: &str) -> RedisBroker {
    RedisBroker::connect(RedisConfig::parse(url).unwrap(), NodeId::new(node).unwrap()).await.unwrap()
}

async fn texts(
    broker: &RedisBroker,
    channel: &Channel,
    after: Option<Position>,
) -> (Continuity, Vec<String>) {
    let history = broker.history(channel, HistoryQuery { after, limit: 100 }).await.unwrap();
    let texts = history
        .entries
        .iter()
        .map(|entry| Publication::decode(&entry.payload).unwrap().data.get().to_owned());
    (history.continuity, texts.collect())
}

/// What holds on every topology.
async fn keeps_streams(broker: &RedisBroker) {
    let channels = (0..40).map(|at| room(&format!("stream-{at}"))).collect::<Vec<_>>();
    let starts = broker.tops(&channels).await.unwrap();
    assert_eq!(broker.tops(&channels).await.unwrap(), starts, "an epoch that was given out stands");
    for (channel, start) in channels.iter().zip(&starts) {
        assert_eq!(start.offset, 0);
        let one = broker.publish(channel, message("1")).await.unwrap().position.unwrap();
        let two = broker.publish(channel, message("2")).await.unwrap().position.unwrap();
        assert_eq!((one.epoch, one.offset, two.offset), (start.epoch, 1, 2));
        assert_eq!(texts(broker, channel, Some(*start)).await.1, [r#""1""#, r#""2""#]);
        assert_eq!(
            texts(broker, channel, Some(one)).await,
            (Continuity::Continuous, vec![r#""2""#.to_owned()])
        );
        assert_eq!(broker.tops(std::slice::from_ref(channel)).await.unwrap(), [two]);
    }
    let channel = room("ids");
    let first = broker.publish(&channel, with_id("a", "1")).await.unwrap();
    let again = broker.publish(&channel, with_id("a", "1")).await.unwrap();
    assert!(!first.duplicate && again.duplicate);
    assert_eq!(first.position, again.position);
    assert_eq!(broker.publish(&channel, with_id("b", "1")).await, Err(PublishError::Conflict));
    let signal = Publish { retention: None, ..with_id("c", "2") };
    assert!(!broker.publish(&channel, signal.clone()).await.unwrap().duplicate);
    assert!(broker.publish(&channel, signal).await.unwrap().duplicate);
    let signal = Publish { retention: None, ..message("d") };
    assert_eq!(broker.publish(&channel, signal).await.unwrap().position, None);
    assert_eq!(texts(broker, &channel, None).await.1, [r#""a""#]);
}

#[tokio::test]
async fn a_single_server_keeps_streams() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    keeps_streams(&broker).await;
    broker.close().await;
}

#[tokio::test]
async fn a_cluster_keeps_streams() {
    let redis = Cluster::start().await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    keeps_streams(&broker).await;
    broker.close().await;
}

#[tokio::test]
async fn a_primary_named_by_sentinels_keeps_streams() {
    let redis = Sentinel::start().await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    keeps_streams(&broker).await;
    broker.close().await;
}

/// What holds on every topology.
async fn knows_who_is_there(a: &RedisBroker, b: &RedisBroker) {
    let room = room("presence");
    assert_eq!(a.hold(&room, &user("ann")).await.unwrap(), 1);
    assert_eq!(a.hold(&room, &user("ann")).await.unwrap(), 1);
    assert_eq!(b.hold(&room, &user("ann")).await.unwrap(), 1);
    assert_eq!(b.hold(&room, &user("bob")).await.unwrap(), 2);
    a.release(&room, &user("ann").user).await.unwrap();
    let mut there = a.present(&room, 10).await.unwrap();
    there.users.sort_by(|a, b| a.user.cmp(&b.user));
    assert_eq!((there.count, there.users), (2, vec![user("ann"), user("bob")]));
    assert_eq!(a.present(&room, 1).await.unwrap().users.len(), 1);
    b.release(&room, &user("ann").user).await.unwrap();
    assert_eq!(a.present(&room, 10).await.unwrap().users, [user("bob")]);
    assert_eq!(a.hold(&room, &user("ann")).await.unwrap(), 2);
    b.close().await;
    let alone = || async { Ok(a.present(&room, 10).await?.users == [user("ann")]) };
    until("the closed node is not seen", LIMIT, alone).await.unwrap();
    assert_eq!(a.present(&room, 10).await.unwrap().count, 1);
    assert_eq!(a.hold(&room, &user("cat")).await.unwrap(), 2);
}

#[tokio::test]
async fn a_single_server_knows_who_is_there() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (a, b) = (connect(&redis.url(), "a").await, connect(&redis.url(), "b").await);
    knows_who_is_there(&a, &b).await;
    a.close().await;
}

#[tokio::test]
async fn a_cluster_knows_who_is_there() {
    let redis = Cluster::start().await.unwrap();
    let (a, b) = (connect(&redis.url(), "a").await, connect(&redis.url(), "b").await);
    knows_who_is_there(&a, &b).await;
    a.close().await;
}

#[tokio::test]
async fn a_publish_is_one_command_in_one_round_trip() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    broker.publish(&room("r"), with_id("first", "first")).await.unwrap();
    redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    for at in 0..20 {
        broker.publish(&room("r"), with_id("x", &at.to_string())).await.unwrap();
    }
    assert_eq!(calls(&redis, "evalsha").await, 20);
    assert_eq!(calls(&redis, "eval").await, 0);
    assert_eq!(calls(&redis, "xadd").await, 20);
    // Nothing else than what the script itself calls, the lease and our own question.
    for other in ["script|load", "multi", "ping", "wait"] {
        assert_eq!(calls(&redis, other).await, 0, "{other}");
    }
    broker.close().await;
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    broker.publish(&room("r"), message("1")).await.unwrap();
    redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    broker.publish(&room("r"), message("2")).await.unwrap();
    assert_eq!(texts(&broker, &room("r"), None).await.1, [r#""1""#, r#""2""#]);
    broker.close().await;
}

#[tokio::test]
async fn without_redis_a_publish_fails_within_a_second_and_goes_on_when_it_is_back() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url(), "n1").await;
    broker.publish(&room("r"), message("1")).await.unwrap();

    redis.pause().unwrap();
    fails_fast(&broker).await;
    redis.resume().unwrap();
    let back = || async { Ok(broker.publish(&room("r"), with_id("2", "2")).await.is_ok()) };
    until("a publish succeeds", LIMIT, back).await.unwrap();

    redis.kill().await.unwrap();
    fails_fast(&broker).await;
    fails_fast(&broker).await;
    assert!(!broker.health().commands);
    redis.restart().await.unwrap();
    until("a publish succeeds", LIMIT, || async {
        Ok(broker.publish(&room("r"), with_id("3", "3")).await.is_ok())
    })
    .await
    .unwrap();
    assert!(broker.health().commands);
    let texts = texts(&broker, &room("r"), None).await.1;
    assert_eq!(texts.iter().filter(|text| *text == r#""3""#).count(), 1, "{texts:?}");
    broker.close().await;
}

/// That a publish fails before a second has passed. Tries again what the server answered just before it went.
async fn fails_fast(broker: &RedisBroker) {
    let started = Instant::now();
    let outcome = broker.publish(&room("r"), message("lost")).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    // What is promised is a second; a busy machine may stretch it.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_redis_that_is_away_is_no_error_and_a_refused_login_is() {
    let access = testkit::Access::Password("right".to_owned());
    let mut redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let node = || NodeId::new("n1").unwrap();
    let wrong = RedisConfig::parse(&redis.url().replace("right", "wrong")).unwrap();
    let error = RedisBroker::connect(wrong, node()).await.err().unwrap().to_string();
    assert!(error.contains("WRONGPASS") && !error.contains("wrong@"), "{error}");

    redis.stop().await.unwrap();
    let broker = RedisBroker::connect(RedisConfig::parse(&redis.url()).unwrap(), node()).await.unwrap();
    assert!(!broker.health().commands);
    fails_fast(&broker).await;
    redis.restart().await.unwrap();
    until("a publish succeeds", LIMIT, || async {
        Ok(broker.publish(&room("r"), message("1")).await.is_ok())
    })
    .await
    .unwrap();
    broker.close().await;
}

#[tokio::test]
async fn a_user_who_may_not_do_enough_is_told_so() {
    let access = testkit::Access::User {
        name: "app".to_owned(),
        password: "secret".to_owned(),
        rules: "~* &* +get".to_owned(),
    };
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let config = RedisConfig::parse(&redis.url()).unwrap();
    let error = RedisBroker::connect(config, NodeId::new("n1").unwrap()).await.err().unwrap().to_string();
    assert!(error.contains("NOPERM") && !error.contains("secret"), "{error}");
}

/// How often the server ran a command since its statistics were reset.
async fn calls(redis: &Standalone, command: &str) -> u64 {
    let stats = redis.command(&["INFO", "commandstats"]).await.unwrap().text();
    let prefix = format!("cmdstat_{command}:calls=");
    stats
        .lines()
        .find_map(|line| line.strip_prefix(&prefix)?.split(',').next()?.parse().ok())
        .unwrap_or_default()
}
