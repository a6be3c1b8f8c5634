//! What tests may rely on when they put a failing network before a server.

use std::io::ErrorKind;
use std::time::Duration;

use switchboard_testkit::{Options, Proxy, Standalone, until};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(5);

async fn ping(client: &mut TcpStream) -> std::io::Result<String> {
    client.write_all(b"PING\r\n").await?;
    pong(client).await
}

async fn pong(client: &mut TcpStream) -> std::io::Result<String> {
    let mut answer = [0; 7];
    timeout(PATIENCE, client.read_exact(&mut answer)).await??;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[tokio::test]
async fn bytes_pass_in_both_directions() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ping(&mut client).await.unwrap(), "+PONG\r\n");
    assert_eq!(proxy.connections(), 1);
    drop(client);
    until("the connection is forgotten", PATIENCE, || async { Ok(proxy.connections() == 0) }).await.unwrap();
}

#[tokio::test]
async fn a_cut_breaks_old_and_new_connections_until_it_is_restored() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ping(&mut client).await.unwrap();

    proxy.cut();
    let end = timeout(PATIENCE, client.read_u8()).await.unwrap().unwrap_err();
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    let mut late = TcpStream::connect(proxy.address()).await.unwrap();
    assert_ne!(ping(&mut late).await.unwrap_err().kind(), ErrorKind::TimedOut);
    proxy.stall(false);
    let mut later = TcpStream::connect(proxy.address()).await.unwrap();
    assert_ne!(ping(&mut later).await.unwrap_err().kind(), ErrorKind::TimedOut);

    proxy.restore();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ping(&mut client).await.unwrap(), "+PONG\r\n");
}

#[tokio::test]
async fn a_stall_delays_bytes_and_loses_none() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ping(&mut client).await.unwrap();

    proxy.stall(true);
    client.write_all(b"PING\r\n").await.unwrap();
    let silence = timeout(Duration::from_millis(200), client.read_u8()).await;
    assert!(silence.is_err(), "{silence:?}");

    proxy.stall(false);
    assert_eq!(pong(&mut client).await.unwrap(), "+PONG\r\n");
}

#[tokio::test]
async fn a_dropped_proxy_closes_its_connections() {
    let redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    ping(&mut client).await.unwrap();
    drop(proxy);
    assert!(timeout(PATIENCE, client.read_u8()).await.unwrap().is_err());
}

#[tokio::test]
async fn a_target_that_is_away_breaks_the_connection_and_works_when_it_is_back() {
    let mut redis = Standalone::start(Options::default()).await.unwrap();
    let proxy = Proxy::start(redis.address()).await.unwrap();
    redis.kill().await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_ne!(ping(&mut client).await.unwrap_err().kind(), ErrorKind::TimedOut);
    redis.restart().await.unwrap();
    let mut client = TcpStream::connect(proxy.address()).await.unwrap();
    assert_eq!(ping(&mut client).await.unwrap(), "+PONG\r\n");
}
