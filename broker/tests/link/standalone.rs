//! One server, which may be slow, silent, away, or of another opinion.

use std::slice::from_ref;
use std::sync::atomic::{AtomicBool, Ordering};

use switchboard_broker::{Frame, PresenceNews, Sink};
use testkit::{Access, Options, Proxy, Standalone, until};

use super::*;

#[tokio::test]
async fn what_is_published_after_subscribed_arrives_in_order() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let room = room("a");
    link.subscribe(from_ref(&room));
    all_on(&log, from_ref(&room)).await;
    for number in 1..=100 {
        publish(&redis, &room, number).await;
    }
    got(&log, &room, 100).await;
    assert_eq!(log.of(&room).len(), 101);
    assert!(link.health().connected);
    assert_eq!((link.health().channels, link.health().reconnects), (1, 0));

    link.unsubscribe(from_ref(&room));
    let nobody = || async { Ok(redis.command(&["PUBSUB", "CHANNELS"]).await?.list().is_empty()) };
    until("the server has no subscription", PATIENCE, nobody).await.unwrap();
    log.check();
    link.close().await;
    let no_client = || async { Ok(redis.info("pubsub_clients").await.unwrap_or("0".to_owned()) == "0") };
    until("the connection is closed", PATIENCE, no_client).await.unwrap();
}

#[tokio::test]
async fn a_killed_connection_is_told_and_made_again() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let rooms = rooms(3);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[0], 1).await;
    got(&log, &rooms[0], 1).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    until("it is told", PATIENCE, || async { Ok(log.interruptions(&rooms) == [1]) }).await.unwrap();
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[0], 7).await;
    got(&log, &rooms[0], 7).await;
    assert_eq!(
        log.of(&rooms[0]),
        [Subscribed, Event::Frame(1), Interrupted, Subscribed, Event::Frame(7)],
        "what was lost lies between the two"
    );
    assert_eq!(link.health().reconnects, 1);
    log.check();
}

#[tokio::test]
async fn a_server_that_falls_silent_is_noticed_and_nothing_is_taken_for_granted() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let (link, log) = link_at(&proxy.url());
    let room = room("a");
    link.subscribe(from_ref(&room));
    all_on(&log, from_ref(&room)).await;
    publish(&redis, &room, 1).await;
    got(&log, &room, 1).await;
    proxy.stall(true);
    publish(&redis, &room, 2).await;
    until("it is told", PATIENCE, || async { Ok(log.interruptions(from_ref(&room)) == [1]) }).await.unwrap();
    assert!(!link.health().connected);
    proxy.stall(false);
    all_on(&log, from_ref(&room)).await;
    publish(&redis, &room, 3).await;
    got(&log, &room, 3).await;
    assert_eq!(log.of(&room), [Subscribed, Event::Frame(1), Interrupted, Subscribed, Event::Frame(3)]);
    log.check();
}

#[tokio::test]
async fn wishes_of_all_kinds_come_true_after_the_server_was_away() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let (before, given_up, meanwhile) = (room("before"), room("given_up"), room("meanwhile"));
    link.subscribe(&[before.clone(), given_up.clone()]);
    all_on(&log, &[before.clone(), given_up.clone()]).await;
    redis.kill().await.unwrap();
    until("it is told", PATIENCE, || async { Ok(!log.is_on(&before)) }).await.unwrap();
    link.unsubscribe(from_ref(&given_up));
    link.subscribe(from_ref(&meanwhile));
    assert!(!link.health().connected);
    assert_eq!(link.health().channels, 0);
    redis.restart().await.unwrap();
    all_on(&log, &[before.clone(), meanwhile.clone()]).await;
    assert_eq!(redis.info("pubsub_channels").await.unwrap(), "2");
    assert_eq!(link.health().channels, 2);
    assert!(!log.is_on(&given_up));
    log.check();
}

#[tokio::test]
async fn twenty_thousand_channels_are_interrupted_at_once_and_come_back() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let rooms = rooms(20_000);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    until("all of them are told", PATIENCE, || async { Ok(log.interruptions(&rooms) == [1]) }).await.unwrap();
    all_on(&log, &rooms).await;
    assert_eq!(redis.info("pubsub_channels").await.unwrap(), "20000");
    assert_eq!(link.health().channels, 20_000);
    publish(&redis, &rooms[19_999], 1).await;
    got(&log, &rooms[19_999], 1).await;
    log.check();
}

#[tokio::test]
async fn what_overflows_at_the_server_is_told() {
    let limit = "client-output-buffer-limit pubsub 256kb 256kb 1".to_owned();
    let redis = Standalone::start(Options { config: vec![limit], ..Options::default() }).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let (link, log) = link_at(&proxy.url());
    let room = room("a");
    link.subscribe(from_ref(&room));
    all_on(&log, from_ref(&room)).await;
    proxy.stall(true);
    let padding = "x".repeat(256 << 10);
    for number in 1..=60 {
        let message = message(number) + &padding;
        redis.command(&["PUBLISH", &name(&room), &message]).await.unwrap();
    }
    proxy.stall(false);
    until("it is told", PATIENCE, || async { Ok(log.interruptions(from_ref(&room)) == [1]) }).await.unwrap();
    all_on(&log, from_ref(&room)).await;
    publish(&redis, &room, 61).await;
    got(&log, &room, 61).await;
    log.check();
}

#[tokio::test]
async fn a_message_that_cannot_be_read_counts_as_a_gap() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let room = room("a");
    link.subscribe(from_ref(&room));
    all_on(&log, from_ref(&room)).await;
    publish(&redis, &room, 1).await;
    redis.command(&["PUBLISH", &name(&room), "not ours"]).await.unwrap();
    publish(&redis, &room, 2).await;
    got(&log, &room, 2).await;
    assert_eq!(log.of(&room), [Subscribed, Event::Frame(1), Interrupted, Subscribed, Event::Frame(2)]);
}

#[tokio::test]
async fn a_user_with_few_rights_gets_what_it_may_have() {
    let rules = "+subscribe +unsubscribe resetchannels &sb:{t/r/r*".to_owned();
    let access = Access::User { name: "app".to_owned(), password: "secret".to_owned(), rules };
    let redis = Standalone::start(Options { access, ..Options::default() }).await.unwrap();
    let (link, log) = link_at(&redis.url());
    let (rooms, forbidden) = (rooms(100), room("x"));
    link.subscribe(from_ref(&forbidden));
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[7], 1).await;
    got(&log, &rooms[7], 1).await;
    assert_eq!(log.of(&forbidden), []);
    assert_eq!(link.health().channels, 100);
}

#[tokio::test]
async fn a_link_with_tls_logs_in_and_comes_back() {
    let rules = "+subscribe +unsubscribe resetchannels &sb:*".to_owned();
    let access = Access::User { name: "app".to_owned(), password: "secret".to_owned(), rules };
    let redis = Standalone::start(Options { access, tls: true, ..Options::default() }).await.unwrap();
    let authority = redis.home().join("authority.pem");
    std::fs::write(&authority, redis.ca_pem().unwrap()).unwrap();
    let (link, log) = link_at(&format!("{}?ca={}", redis.url(), authority.display()));
    let rooms = rooms(1000);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap();
    until("it is told", PATIENCE, || async { Ok(log.interruptions(&rooms) == [1]) }).await.unwrap();
    all_on(&log, &rooms).await;
    publish(&redis, &rooms[999], 1).await;
    got(&log, &rooms[999], 1).await;
    log.check();
}

/// Panics at the first frame.
#[derive(Default)]
struct Clumsy {
    log: Log,
    panicked: AtomicBool,
}

impl Sink for Clumsy {
    fn frame(&self, channel: &str, frame: Frame) {
        assert!(self.panicked.swap(true, Ordering::Relaxed), "as it was told to");
        self.log.frame(channel, frame);
    }

    fn presence(&self, channel: &str, news: PresenceNews) {
        self.log.presence(channel, news);
    }

    fn control(&self, channel: &str, payload: Bytes) {
        self.log.control(channel, payload);
    }

    fn subscribed(&self, channels: &[Channel]) {
        self.log.subscribed(channels);
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.log.interrupted(channels);
    }

    fn flush(&self) {}
}

#[tokio::test]
async fn a_sink_that_panics_is_told_that_it_missed_something() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let (sink, rooms) = (Arc::new(Clumsy::default()), rooms(2));
    let link = link_to(&redis.url(), sink.clone());
    link.subscribe(&rooms);
    all_on(&sink.log, &rooms).await;
    publish(&redis, &rooms[0], 1).await;
    until("it is told", PATIENCE, || async { Ok(sink.log.interruptions(&rooms) == [1]) }).await.unwrap();
    all_on(&sink.log, &rooms).await;
    publish(&redis, &rooms[0], 2).await;
    got(&sink.log, &rooms[0], 2).await;
    sink.log.check();
}
