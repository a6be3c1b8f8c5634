//! What is particular to Redis: servers that go, come back, forget, move and refuse.

// The helpers outside of test functions may fail like these.
#![allow(clippy::unwrap_used, clippy::panic)]

mod support;

use std::collections::HashMap;
use std::slice::from_ref;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::future::join_all;
use parking_lot::Mutex;
use proto::{Channel, NodeId, Position, PresenceEntry, Publication, UserId};
use switchboard_broker::redis::{RedisBroker, RedisConfig};
use switchboard_broker::{
    Broker, Continuity, Frame, HistoryQuery, PresenceNews, PublishError, Sink, Unavailable,
};
use testkit::{Access, Cluster, Options, Proxy, Sentinel, Standalone};

use support::{LIMIT, calls, connect, connect_as, eventually, message, room, with_id};

#[tokio::test]
async fn a_publish_is_one_command_in_one_round_trip() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    broker.publish(&room("r"), with_id(message("first"), "first")).await.unwrap();
    redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    for number in 0..20 {
        broker.publish(&room("r"), with_id(message("x"), &number.to_string())).await.unwrap();
    }
    assert_eq!(calls(&redis, "evalsha").await, 20);
    assert_eq!(calls(&redis, "xadd").await, 20);
    for other in ["eval", "script|load", "multi", "ping"] {
        assert_eq!(calls(&redis, other).await, 0, "{other}");
    }
}

#[tokio::test]
async fn publishes_that_come_together_are_few_commands_and_each_learns_its_own_place() {
    const COUNT: usize = 200;
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    let rooms = [room("r"), room("s")];
    join_all(rooms.iter().map(|room| broker.publish(room, message("first")))).await;
    redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    let publishes = (0..COUNT).map(|number| {
        let (broker, channel) = (&broker, &rooms[number % 2]);
        // Every tenth has an id, and so a command of its own.
        let text = number.to_string();
        let publish = if number % 10 == 0 { with_id(message(&text), &text) } else { message(&text) };
        async move { (text, broker.publish(channel, publish).await.unwrap().position.unwrap()) }
    });
    let published = join_all(publishes).await;
    assert_eq!(calls(&redis, "xadd").await, COUNT as u64);
    let commands = calls(&redis, "evalsha").await;
    assert!((20..100).contains(&commands), "{commands} commands");

    for (which, room) in rooms.iter().enumerate() {
        let history = broker.history(room, HistoryQuery { after: None, limit: 1000 }).await.unwrap();
        let stored: HashMap<Position, String> =
            history.entries.iter().map(|entry| (entry.step.position, text(&entry.payload))).collect();
        assert_eq!(stored.len(), 1 + COUNT / 2);
        for (text, position) in published.iter().skip(which).step_by(2) {
            assert_eq!(&stored[position], text);
        }
        for pair in history.entries.windows(2) {
            assert!(pair[0].step.position.precedes(&pair[1].step));
        }
    }
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    broker.publish(&room("r"), message("1")).await.unwrap();
    redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    broker.publish(&room("r"), message("2")).await.unwrap();
    redis.command(&["SCRIPT", "FLUSH"]).await.unwrap();
    assert_eq!(texts(&broker, &room("r"), None).await.1, ["1", "2"]);
}

#[tokio::test]
async fn a_redis_that_is_away_is_no_error() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    redis.stop().await.unwrap();
    let broker = connect(&redis.url()).await;
    assert!(!broker.health().commands);
    fails_fast(&broker).await;
    redis.restart().await.unwrap();
    eventually(&broker, message("1")).await;
    until("it is healthy", || async { broker.health().commands }).await;
}

#[tokio::test]
async fn a_refused_login_is_an_error_without_the_password() {
    let access = Access::Password("right".to_owned());
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let error = refused(&redis.url().replace("right", "guessed")).await;
    assert!(error.contains("WRONGPASS") && !error.contains("guessed"), "{error}");
    let error = refused(&redis.url().replace(":right@", "")).await;
    assert!(error.contains("NOAUTH"), "{error}");
}

#[tokio::test]
async fn a_user_who_may_do_too_little_is_told_so() {
    let (name, password) = ("app".to_owned(), "secret".to_owned());
    let access = Access::User { name, password, rules: "~* &* +get".to_owned() };
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let error = refused(&redis.url()).await;
    assert!(error.contains("NOPERM") && !error.contains("secret"), "{error}");
}

#[tokio::test]
async fn while_redis_is_away_publishing_fails_fast_and_then_goes_on() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    broker.publish(&room("r"), message("1")).await.unwrap();
    for round in 0..2 {
        if round == 0 {
            redis.pause().unwrap();
        } else {
            redis.kill().await.unwrap();
        }
        // For longer than a connection may be silent before it is given up.
        let (begun, mut tries, mut waits) = (Instant::now(), 0, 0);
        while begun.elapsed() < Duration::from_secs(7) {
            let started = Instant::now();
            fails_fast(&broker).await;
            tries += 1;
            waits += u32::from(started.elapsed() > Duration::from_millis(200));
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!(waits * 4 < tries, "{waits} of {tries} waited for what was known");
        assert!(!broker.health().commands);
        if round == 0 {
            redis.resume().unwrap();
        } else {
            redis.restart().await.unwrap();
        }
        eventually(&broker, with_id(message("back"), &round.to_string())).await;
        until("it is healthy", || async { broker.health().commands }).await;
    }
    let texts = texts(&broker, &room("r"), None).await.1;
    assert_eq!(texts.iter().filter(|text| *text == "back").count(), 2, "{texts:?}");
}

#[tokio::test]
async fn what_got_no_answer_can_be_repeated_and_is_published_once() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    broker.publish(&room("r"), message("1")).await.unwrap();
    redis.pause().unwrap();
    let outcome = broker.publish(&room("r"), with_id(message("2"), "x")).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    redis.resume().unwrap();
    eventually(&broker, with_id(message("2"), "x")).await;
    assert!(broker.publish(&room("r"), with_id(message("2"), "x")).await.unwrap().duplicate);
    assert_eq!(texts(&broker, &room("r"), None).await.1, ["1", "2"]);
}

#[tokio::test]
async fn connections_that_only_we_believe_in_are_made_anew_although_commands_keep_coming() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let broker = connect(&proxy.url()).await;
    broker.publish(&room("r"), message("first")).await.unwrap();
    proxy.forsake();
    // Over each of the connections that there are.
    for text in ["2", "3", "4", "5"] {
        eventually(&broker, with_id(message(text), text)).await;
    }
    // Reading has connections of its own.
    until("the stream is read", || async { broker.tops(&[room("r")]).await.is_ok() }).await;
    assert_eq!(texts(&broker, &room("r"), None).await.1, ["first", "2", "3", "4", "5"]);
}

#[tokio::test]
async fn a_connection_that_breaks_under_a_publish_does_not_double_it() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let broker = Arc::new(connect(&proxy.url()).await);
    broker.publish(&room("r"), message("first")).await.unwrap();
    let mut succeeded = Vec::new();
    for round in 0..10 {
        let text = format!("round {round}");
        let publishing = {
            let (broker, text) = (Arc::clone(&broker), text.clone());
            redis.pause().unwrap();
            tokio::spawn(async move { broker.publish(&room("r"), message(&text)).await })
        };
        // The server has the command and the publisher will never get the answer.
        tokio::task::yield_now().await;
        proxy.cut();
        redis.resume().unwrap();
        proxy.restore();
        if let Ok(published) = publishing.await.unwrap() {
            assert!(!published.duplicate);
            succeeded.push(text);
        }
        eventually(&broker, message("between")).await;
    }
    let mut texts = texts(&broker, &room("r"), None).await.1;
    texts.retain(|text| text.starts_with("round"));
    let published = texts.len();
    assert!(succeeded.iter().all(|text| texts.contains(text)), "{succeeded:?} of {texts:?}");
    texts.dedup();
    assert_eq!(texts.len(), published, "{texts:?}");
}

#[tokio::test]
async fn a_restart_interrupts_subscriptions_and_the_history_fills_the_gap() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    let sink = Arc::new(Recorder::default());
    broker.attach(Arc::clone(&sink) as Arc<dyn Sink>);
    broker.subscribe(from_ref(&room("r")));
    sink.until("the subscription is in force", |told| told == ["subscribed"]).await;
    let before = broker.publish(&room("r"), message("1")).await.unwrap().position.unwrap();
    sink.until("it arrives", |told| told == ["subscribed", "1"]).await;

    redis.kill().await.unwrap();
    sink.until("the interruption is told", |told| told == ["subscribed", "1", "interrupted"]).await;
    assert!(!broker.health().subscriptions);
    redis.restart().await.unwrap();
    eventually(&broker, with_id(message("2"), "2")).await;
    sink.until("it is in force again", |told| told.iter().filter(|word| *word == "subscribed").count() == 2)
        .await;
    eventually(&broker, with_id(message("3"), "3")).await;
    sink.until("what comes after it arrives", |told| told.last().is_some_and(|word| word == "3")).await;
    let missed = texts(&broker, &room("r"), Some(before)).await;
    assert_eq!(missed, (Continuity::Continuous, vec!["2".to_owned(), "3".to_owned()]));
    assert!(broker.health().is_ok() && broker.health().reconnects > 0);
}

#[tokio::test]
async fn a_redis_that_forgot_everything_begins_anew_and_says_so() {
    let mut redis = Standalone::start(Options { append_only: false, ..Options::default() }).await.unwrap();
    let (a, b) = (connect(&redis.url()).await, connect_as(&redis.url(), "other").await);
    let before = a.publish(&room("r"), message("1")).await.unwrap().position.unwrap();
    a.hold(&room("r"), &member("ann"), None).await.unwrap();
    b.hold(&room("r"), &member("bob"), None).await.unwrap();
    redis.restart().await.unwrap();
    eventually(&a, with_id(message("2"), "2")).await;
    assert_eq!(texts(&a, &room("r"), Some(before)).await, (Continuity::Reset, vec!["2".to_owned()]));
    until("all who are there are noted again", || async {
        a.present(&room("r"), 10).await.is_ok_and(|present| present.count == 2)
    })
    .await;
}

#[tokio::test]
async fn who_left_while_redis_was_away_is_not_seen_when_it_is_back() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let (a, b) = (connect(&redis.url()).await, connect_as(&redis.url(), "other").await);
    a.hold(&room("r"), &member("ann"), None).await.unwrap();
    b.hold(&room("r"), &member("bob"), None).await.unwrap();
    redis.kill().await.unwrap();
    assert!(a.release(&room("r"), &member("ann").user).await.is_err());
    redis.restart().await.unwrap();
    until("only the other is there", || async {
        b.present(&room("r"), 10).await.is_ok_and(|present| present.users == [member("bob")])
    })
    .await;
}

#[tokio::test]
async fn a_crowd_is_not_read_whole_for_each_who_comes_after_a_node_died() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let url = format!("{}?presenceLimit=20", redis.url());
    let (a, b) = (connect(&url).await, connect_as(&url, "other").await);
    for number in 0..40 {
        let node = if number % 4 == 0 { &b } else { &a };
        node.hold(&room("r"), &member(&number.to_string()), None).await.unwrap();
    }
    drop(b);
    redis.command(&["CONFIG", "RESETSTAT"]).await.unwrap();
    until("what was noted of those who were there is cleared up", || async {
        a.hold(&room("r"), &member("0"), None).await.unwrap();
        a.present(&room("r"), 0).await.unwrap();
        redis.command(&["HLEN", "sb:{t/r/r}:u"]).await.unwrap() == testkit::Reply::Int(31)
    })
    .await;
    // Each of these scripts asks for the nodes; whoever reads the whole channel asks once more.
    assert!(calls(&redis, "hkeys").await <= calls(&redis, "evalsha").await);
}

#[tokio::test]
async fn a_redis_that_froze_for_longer_than_a_lease_makes_nobody_leave() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (a, b) = (connect(&redis.url()).await, connect_as(&redis.url(), "other").await);
    let sink = Arc::new(Recorder::default());
    b.attach(Arc::clone(&sink) as Arc<dyn Sink>);
    b.subscribe(from_ref(&room("r")));
    sink.until("the subscription is in force", |told| told == ["subscribed"]).await;
    a.hold(&room("r"), &member("ann"), None).await.unwrap();
    sink.until("who came is told", |told| told == ["subscribed", "+ann 1"]).await;
    let lives = async |pattern| redis.command(&["KEYS", pattern]).await.unwrap().list().to_vec();
    let before = lives("sb:index:*").await;
    redis.pause().unwrap();
    tokio::time::sleep(Duration::from_secs(10)).await;
    redis.resume().unwrap();
    // Both lost their leases and live anew; what they noted before is cleared up.
    until("only the new lives are left", || async {
        let nodes = redis.command(&["ZCARD", "sb:nodes"]).await.unwrap();
        let now = lives("sb:index:*").await;
        nodes == testkit::Reply::Int(2) && now.len() == 1 && now != before
    })
    .await;
    until("who is there is noted anew", || async {
        b.present(&room("r"), 10).await.unwrap().users == [member("ann")]
    })
    .await;
    a.release(&room("r"), &member("ann").user).await.unwrap();
    sink.until("who left is told", |told| told.last().is_some_and(|word| word == "-ann 0")).await;
    let told = sink.told.lock().iter().filter(|word| word.contains("ann")).cloned().collect::<Vec<_>>();
    assert_eq!(told, ["+ann 1", "-ann 0"]);
}

#[tokio::test]
async fn what_redis_refuses_leaves_nothing_behind() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let broker = connect(&redis.url()).await;
    let first = broker.publish(&room("r"), message("1")).await.unwrap().position.unwrap();
    for (option, on, off) in [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")] {
        redis.command(&["CONFIG", "SET", option, on]).await.unwrap();
        for channel in ["r", "new"] {
            let outcome = broker.publish(&room(channel), with_id(message("2"), "x")).await;
            assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{option}: {outcome:?}");
        }
        redis.command(&["CONFIG", "SET", option, off]).await.unwrap();
    }
    assert_eq!(broker.tops(&[room("r")]).await.unwrap(), [first]);
    let published = broker.publish(&room("r"), with_id(message("2"), "x")).await.unwrap();
    assert_eq!((published.duplicate, published.position.unwrap().offset), (false, 2));
    assert_eq!(texts(&broker, &room("r"), Some(first)).await, (Continuity::Continuous, vec!["2".to_owned()]));
}

#[tokio::test]
async fn publishing_goes_on_while_slots_of_a_cluster_move() {
    let cluster = Cluster::start().await.unwrap();
    let broker = Arc::new(connect(&cluster.url()).await);
    let sink = Arc::new(Recorder::default());
    broker.attach(Arc::clone(&sink) as Arc<dyn Sink>);
    broker.subscribe(from_ref(&room("r")));
    sink.until("the subscription is in force", |told| told == ["subscribed"]).await;
    let start = broker.tops(&[room("r")]).await.unwrap().remove(0);

    let slot = cluster.slot_of("{t/r/r}").await.unwrap();
    let publishing = {
        let broker = Arc::clone(&broker);
        tokio::spawn(async move {
            for number in 0..300 {
                // With the same id until it is in.
                eventually(&broker, with_id(message(&number.to_string()), &number.to_string())).await;
            }
        })
    };
    let owner = cluster.owner_of(slot).await.unwrap();
    for to in [(owner + 1) % 3, (owner + 2) % 3, owner] {
        cluster.begin_move(slot, to).await.unwrap();
        cluster.finish_move(slot, to).await.unwrap();
    }
    publishing.await.unwrap();
    let (continuity, stored) = texts(&broker, &room("r"), Some(start)).await;
    assert_eq!(continuity, Continuity::Continuous);
    assert_eq!(stored, (0..300).map(|number| number.to_string()).collect::<Vec<_>>());
    until("the subscription follows", || async {
        let text = format!("after {}", sink.told.lock().len());
        eventually(&broker, message(&text)).await;
        let arrived = || async { Ok(sink.told.lock().last() == Some(&text)) };
        testkit::until("it arrives", Duration::from_secs(1), arrived).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn a_cluster_that_lost_a_node_fails_fast_and_is_whole_again_with_it() {
    let mut cluster = Cluster::start().await.unwrap();
    let broker = connect(&cluster.url()).await;
    let rooms = (0..12).map(|number| room(&number.to_string())).collect::<Vec<_>>();
    broker.tops(&rooms).await.unwrap();
    cluster.nodes[0].kill().await.unwrap();
    for channel in &rooms {
        let started = Instant::now();
        // A room of another node may still be served.
        drop(broker.publish(channel, message("1")).await);
        assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    }
    cluster.nodes[0].restart().await.unwrap();
    cluster.complete().await.unwrap();
    for channel in &rooms {
        until("every room is served", || async { broker.publish(channel, message("2")).await.is_ok() }).await;
    }
    until("it is healthy", || async { broker.health().commands }).await;
}

#[tokio::test]
async fn after_a_failover_publishing_goes_on_at_the_new_primary() {
    let mut redis = Sentinel::start().await.unwrap();
    let broker = connect(&redis.url()).await;
    let first = broker.publish(&room("r"), message("1")).await.unwrap().position.unwrap();
    let replica = &redis.servers[1];
    until("the replica has it", || async {
        replica.command(&["EXISTS", "sb:{t/r/r}:s"]).await.unwrap() == testkit::Reply::Int(1)
    })
    .await;
    redis.servers[0].kill().await.unwrap();
    fails_fast(&broker).await;
    redis.failed_over(1).await.unwrap();
    eventually(&broker, with_id(message("2"), "2")).await;
    assert_eq!(texts(&broker, &room("r"), Some(first)).await, (Continuity::Continuous, vec!["2".to_owned()]));
}

#[tokio::test]
async fn a_primary_that_sentinels_replaced_is_left_though_it_still_answers() {
    let redis = Sentinel::start().await.unwrap();
    let broker = connect(&redis.url()).await;
    broker.publish(&room("r"), message("1")).await.unwrap();
    let new = redis.depose().await.unwrap();
    until("a room is published to at the new primary", || async {
        let published = broker.publish(&room("later"), message("2")).await;
        let stream = redis.servers[new].command(&["EXISTS", "sb:{t/r/later}:s"]).await.unwrap();
        published.is_ok() && stream == testkit::Reply::Int(1)
    })
    .await;
    assert_eq!(redis.servers[1 - new].info("role").await.unwrap(), "master");
}

async fn refused(url: &str) -> String {
    let config = RedisConfig::parse(url).unwrap();
    let Err(Unavailable(error)) = RedisBroker::connect(config, NodeId::new("node").unwrap()).await else {
        panic!("the login is not refused");
    };
    error
}

/// That a publish fails before a second has passed.
async fn fails_fast(broker: &RedisBroker) {
    let started = Instant::now();
    let outcome = broker.publish(&room("lost"), message("lost")).await;
    assert!(matches!(outcome, Err(PublishError::Unavailable(_))), "{outcome:?}");
    // What is promised is a second. A busy machine may be late to look at the clock.
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

/// Reads a stream.
async fn texts(
    broker: &RedisBroker,
    channel: &Channel,
    after: Option<Position>,
) -> (Continuity, Vec<String>) {
    let history = broker.history(channel, HistoryQuery { after, limit: 1000 }).await.unwrap();
    (history.continuity, history.entries.iter().map(|entry| text(&entry.payload)).collect())
}

fn text(payload: &Bytes) -> String {
    serde_json::from_str(Publication::decode(payload).unwrap().data.get()).unwrap()
}

async fn until<Looking: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> Looking) {
    testkit::until(what, LIMIT, || {
        let looking = holds();
        async { Ok(looking.await) }
    })
    .await
    .unwrap();
}

fn member(name: &str) -> PresenceEntry {
    PresenceEntry { user: UserId::new(name).unwrap(), name: None, profile: None }
}

/// Notes what the sink is told, a word for each.
#[derive(Default)]
struct Recorder {
    told: Mutex<Vec<String>>,
}

impl Recorder {
    async fn until(&self, what: &str, holds: impl Fn(&[String]) -> bool) {
        until(what, || async { holds(&self.told.lock()) }).await;
    }
}

impl Sink for Recorder {
    fn frame(&self, _channel: &str, frame: Frame) {
        self.told.lock().push(text(&frame.payload));
    }

    fn presence(&self, _channel: &str, news: PresenceNews) {
        self.told.lock().push(match news {
            PresenceNews::Joined { user, count } => format!("+{} {count}", user.user),
            PresenceNews::Left { user, count } => format!("-{} {count}", user.user),
            PresenceNews::Count(count) => format!("={count}"),
        });
    }

    fn control(&self, _channel: &str, payload: Bytes) {
        self.told.lock().push(String::from_utf8_lossy(&payload).into_owned());
    }

    fn subscribed(&self, _channels: &[Channel]) {
        self.told.lock().push("subscribed".to_owned());
    }

    fn interrupted(&self, _channels: &[Channel]) {
        self.told.lock().push("interrupted".to_owned());
    }

    fn flush(&self) {}
}
