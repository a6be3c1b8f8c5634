//! What happens when the process has no descriptor left. Alone in its binary: the limit is that of a whole process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs::File;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use prometheus::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use switchboard_chassis::listener::{Capacity, Listener, ListenerConfig, ListenerMetrics};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

const LONG: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_listener_without_descriptors_waits_with_pauses_and_goes_on() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), maximum }).unwrap();

    let registry = Registry::new();
    let metrics = ListenerMetrics::register(&registry).unwrap();
    let config = ListenerConfig::default();
    let capacity = Capacity::new(10, metrics.of("main"));
    let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config, capacity).unwrap();
    // The kernel takes the connection although nobody accepts it yet.
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();

    let held: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let stop = CancellationToken::new();
    let router = Router::new().route("/", get(async || "hello"));
    let serving = tokio::spawn(listener.serve(router, stop.clone(), LONG));
    let failures = || {
        let families = registry.gather();
        let family = families
            .iter()
            .find(|family| family.name() == "switchboard_listener_accept_errors_total")
            .unwrap();
        let failures: f64 = family.get_metric().iter().map(|metric| metric.get_counter().get_value()).sum();
        failures
    };
    timeout(LONG, async {
        while failures() < 3.0 {
            sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .unwrap();
    // Without pauses there would be thousands by now.
    assert!(failures() < 50.0, "{}", failures());

    drop(held);
    let mut answer = String::new();
    timeout(LONG, client.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.ends_with("hello"), "{answer}");
    stop.cancel();
    assert_eq!(timeout(LONG, serving).await.unwrap().unwrap(), 0);
}
