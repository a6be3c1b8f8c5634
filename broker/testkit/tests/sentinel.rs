//! What tests may rely on when they start a primary and a replica behind sentinels.

use switchboard_testkit::{Reply, Sentinel, Server};

#[tokio::test]
async fn the_replica_follows_and_the_sentinels_are_named() {
    let redis = Sentinel::start().await.unwrap();
    let [a, b, c] = redis.sentinels.each_ref().map(Server::port);
    let nodes = format!("127.0.0.1:{a}?node=127.0.0.1:{b}&node=127.0.0.1:{c}");
    assert_eq!(redis.url(), format!("redis-sentinel://{nodes}&sentinelServiceName=mymaster"));
    assert_eq!(redis.primary().await.unwrap(), 0);
    redis.servers[0].command(&["SET", "greeting", "hello"]).await.unwrap();
    assert_eq!(redis.servers[0].command(&["WAIT", "1", "4000"]).await.unwrap(), Reply::Int(1));
    let copy = redis.servers[1].command(&["GET", "greeting"]).await.unwrap();
    assert_eq!(copy, Reply::Bytes(b"hello".to_vec()));
}

#[tokio::test]
async fn a_failover_makes_the_replica_the_primary() {
    let redis = Sentinel::start().await.unwrap();
    assert_eq!(redis.failover().await.unwrap(), 1);
    assert_eq!(redis.primary().await.unwrap(), 1);
    redis.servers[1].command(&["SET", "greeting", "hello"]).await.unwrap();
}

#[tokio::test]
async fn a_killed_primary_is_replaced() {
    let mut redis = Sentinel::start().await.unwrap();
    redis.servers[0].kill().await.unwrap();
    redis.failed_over(1).await.unwrap();
    redis.servers[1].command(&["SET", "greeting", "hello"]).await.unwrap();
}
