//! Real sockets against a real listener.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::http::StatusCode;
use axum::routing::{any, get};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prometheus::Registry;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;

const LONG: Duration = Duration::from_secs(20);

/// A listener with a router that can answer, wait, and upgrade.
struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    registry: Registry,
    capacity: Capacity,
    entered: Arc<Notify>,
    release: Arc<Notify>,
    upgraded: Arc<Mutex<Vec<(TcpStream, ConnectionGuard)>>>,
    task: JoinHandle<usize>,
}

fn start(config: ListenerConfig, grace: Duration) -> Running {
    let registry = Registry::new();
    let metrics = ListenerMetrics::register(&registry).unwrap();
    let capacity = Capacity::new(config.max_connections, metrics.of("main"));
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let upgraded = Arc::new(Mutex::new(Vec::new()));
    let slow = {
        let (entered, release) = (Arc::clone(&entered), Arc::clone(&release));
        async move || {
            entered.notify_one();
            release.notified().await;
            "late"
        }
    };
    let upgrade = {
        let upgraded = Arc::clone(&upgraded);
        async move |Extension(guard): Extension<ConnectionGuard>, mut request: axum::extract::Request| {
            let on_upgrade = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let io = on_upgrade.await.unwrap().downcast::<TokioIo<TcpStream>>().unwrap().io;
                upgraded.lock().push((io.into_inner(), guard));
            });
            (StatusCode::SWITCHING_PROTOCOLS, [("connection", "upgrade"), ("upgrade", "echo")])
        }
    };
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/slow", get(slow))
        .route("/upgrade", any(upgrade));
    let probes = Router::new().route("/livez", get(async || "alive"));
    let address = "127.0.0.1:0".parse().unwrap();
    let listener = Listener::bind(address, config, capacity.clone()).unwrap().when_full(probes);
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(listener.serve(router, stop.clone(), grace));
    Running { address, stop, registry, capacity, entered, release, upgraded, task }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn send(&self, text: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Asks once on a connection of its own and reads to its end.
    async fn ask(&self, path: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n");
        rest(&mut self.send(&request).await).await
    }

    async fn upgrade(&self) -> TcpStream {
        let request = "GET /upgrade HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n";
        let mut stream = self.send(request).await;
        assert!(head(&mut stream).await.starts_with("HTTP/1.1 101 "));
        stream
    }

    /// The sum of a metric over those of its series that have this label value.
    fn metric(&self, name: &str, value: &str) -> f64 {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name).unwrap();
        let series =
            family.get_metric().iter().filter(|m| m.get_label().iter().any(|label| label.value() == value));
        series.map(|m| m.get_counter().get_value() + m.get_gauge().get_value()).sum()
    }

    async fn until_connections(&self, count: f64) {
        until(|| self.metric("switchboard_listener_connections", "main") == count).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn until(mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + LONG;
    while !holds() {
        assert!(Instant::now() < deadline, "it did not come about");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Everything up to the end of the connection, however it ends.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    _ = tokio::time::timeout(LONG, stream.read_to_end(&mut text)).await.expect("the connection stays open");
    String::from_utf8(text).unwrap()
}

/// Up to the empty line.
async fn head(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(tokio::time::timeout(LONG, stream.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(text).unwrap()
}

#[tokio::test]
async fn a_request_is_answered_and_its_connection_counted() {
    let running = start(ListenerConfig::default(), LONG);
    let mut stream = running.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let answer = rest(&mut stream).await;
    assert!(answer.ends_with("hello"), "{answer}");
    running.until_connections(0.0).await;
    assert_eq!(running.metric("switchboard_listener_accepted_total", "main"), 1.0);
}

#[tokio::test]
async fn a_connection_that_says_nothing_is_closed() {
    let config = ListenerConfig { silence_timeout: Duration::from_millis(50), ..ListenerConfig::default() };
    let running = start(config, LONG);
    let mut stream = running.connect().await;
    assert_eq!(rest(&mut stream).await, "");
    until(|| running.metric("switchboard_listener_closed_total", "silent") == 1.0).await;
    running.until_connections(0.0).await;
}

#[tokio::test]
async fn a_head_that_trickles_in_is_cut_off() {
    let config = ListenerConfig { header_timeout: Duration::from_millis(100), ..ListenerConfig::default() };
    let running = start(config, LONG);
    let stream = running.send("GET / HTTP/1.1\r\n").await;
    let (mut reader, mut writer) = stream.into_split();
    // Each line comes well within any timeout of its own.
    let trickle = tokio::spawn(async move {
        while writer.write_all(b"x: y\r\n").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let mut text = Vec::new();
    _ = tokio::time::timeout(LONG, reader.read_to_end(&mut text)).await.expect("the connection stays open");
    assert_eq!(text, b"");
    until(|| running.metric("switchboard_listener_closed_total", "slow") == 1.0).await;
    tokio::time::timeout(LONG, trickle).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_request_that_takes_longer_than_its_head_may_is_answered() {
    let config = ListenerConfig { header_timeout: Duration::from_millis(20), ..ListenerConfig::default() };
    let running = start(config, LONG);
    let mut stream = running.send("GET /slow HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    running.entered.notified().await;
    tokio::time::sleep(Duration::from_millis(60)).await;
    running.release.notify_one();
    assert!(rest(&mut stream).await.ends_with("late"));
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_time() {
    let config = ListenerConfig { idle_timeout: Duration::from_millis(100), ..ListenerConfig::default() };
    let running = start(config, LONG);
    let mut stream = running.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    assert!(rest(&mut stream).await.starts_with("HTTP/1.1 200 "));
    running.until_connections(0.0).await;
}

#[tokio::test]
async fn a_head_that_is_too_large_or_not_http_is_refused() {
    let running = start(ListenerConfig { header_size: 0, ..ListenerConfig::default() }, LONG);
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}\r\n\r\n", "y".repeat(9000));
    let answer = rest(&mut running.send(&large).await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let answer = rest(&mut running.send("\x16\x03\x01 hello\r\n\r\n").await).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    until(|| running.metric("switchboard_listener_closed_total", "malformed") == 2.0).await;
}

#[tokio::test]
async fn who_finds_no_place_is_told_when_to_come_back() {
    let running = start(ListenerConfig { max_connections: 2, ..ListenerConfig::default() }, LONG);
    let first = running.connect().await;
    let _second = running.connect().await;
    running.until_connections(2.0).await;

    let answer = running.ask("/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let retry = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((2..=10).contains(&retry.parse::<u32>().unwrap()));
    assert!(head.contains("content-type: application/problem+json"), "{head}");
    assert_eq!(serde_json::from_str::<Value>(body).unwrap()["code"], "unavailable");
    assert_eq!(running.metric("switchboard_listener_refused_total", "told"), 1.0);

    drop(first);
    running.until_connections(1.0).await;
    assert!(running.ask("/").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn probes_are_answered_when_all_places_are_taken() {
    let running = start(ListenerConfig { max_connections: 1, ..ListenerConfig::default() }, LONG);
    let _only = running.connect().await;
    running.until_connections(1.0).await;
    assert!(running.ask("/livez").await.ends_with("alive"));
}

#[tokio::test]
async fn refusals_have_a_bound_of_their_own() {
    let running = start(ListenerConfig { max_connections: 1, ..ListenerConfig::default() }, LONG);
    let mut held = vec![running.connect().await];
    running.until_connections(1.0).await;
    // As many as can be told wait for their answer without asking for it; the next one is dropped.
    for _ in 0..=64 {
        held.push(running.connect().await);
    }
    until(|| running.metric("switchboard_listener_refused_total", "dropped") == 1.0).await;
    assert_eq!(running.metric("switchboard_listener_refused_total", "told"), 64.0);
}

#[tokio::test]
async fn an_upgraded_connection_is_a_socket_again_and_keeps_its_place() {
    let running = start(ListenerConfig { max_connections: 1, ..ListenerConfig::default() }, LONG);
    let mut client = running.upgrade().await;
    until(|| running.upgraded.lock().len() == 1).await;
    assert!(running.ask("/").await.starts_with("HTTP/1.1 503 "));

    let (mut server, guard) = running.upgraded.lock().pop().unwrap();
    assert!(server.nodelay().unwrap(), "set on the listening socket, handed down by the kernel");
    assert!(socket2::SockRef::from(&server).keepalive().unwrap());
    server.write_all(b"hello").await.unwrap();
    let mut buffer = [0; 5];
    client.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"hello");
    assert_eq!(running.capacity.free(), 0);
    drop((server, guard));
    until(|| running.capacity.free() == 1).await;
    assert!(running.ask("/").await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn a_stop_lets_requests_in_flight_finish_and_closes_what_is_idle() {
    let mut running = start(ListenerConfig::default(), LONG);
    let mut silent = running.connect().await;
    let mut idle = running.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    head(&mut idle).await;
    let mut upgraded = running.upgrade().await;
    let mut busy = running.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    running.entered.notified().await;
    running.until_connections(4.0).await;

    running.stop.cancel();
    rest(&mut idle).await;
    assert_eq!(rest(&mut silent).await, "");
    assert!(TcpStream::connect(running.address).await.is_err(), "nobody may come in any more");
    running.release.notify_one();
    let answer = rest(&mut busy).await;
    assert!(answer.contains("connection: close") && answer.ends_with("late"), "{answer}");
    assert_eq!((&mut running.task).await.unwrap(), 0);

    let (mut server, _guard) = running.upgraded.lock().pop().unwrap();
    server.write_all(b"x").await.unwrap();
    assert_eq!(upgraded.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_request_that_outlasts_the_grace_is_cut_off() {
    let mut running = start(ListenerConfig::default(), Duration::from_millis(50));
    let mut busy = running.send("GET /slow HTTP/1.1\r\nhost: a\r\n\r\n").await;
    running.entered.notified().await;
    running.stop.cancel();
    assert_eq!(rest(&mut busy).await, "");
    assert_eq!((&mut running.task).await.unwrap(), 1);
    assert_eq!(running.capacity.free(), 50_000);
}

#[tokio::test]
async fn listeners_may_share_an_address_and_their_places() {
    let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
    let capacity = Capacity::new(1, metrics.of("main"));
    let shared = ListenerConfig { share_port: true, ..ListenerConfig::default() };
    let first = Listener::bind("127.0.0.1:0".parse().unwrap(), shared, capacity.clone()).unwrap();
    Listener::bind(first.local_addr().unwrap(), shared, capacity.clone()).unwrap();
    let alone = ListenerConfig::default();
    assert!(Listener::bind(first.local_addr().unwrap(), alone, capacity).is_err());
}
