//! A primary that is replaced.

use std::slice::from_ref;

use testkit::{Reply, Sentinel, until};

use super::*;

#[tokio::test]
async fn a_planned_failover_is_followed() {
    let group = Sentinel::start().await.unwrap();
    let user = "watcher on >secret +sentinel|master +sentinel|get-master-addr-by-name";
    for sentinel in &group.sentinels {
        let words: Vec<&str> = ["ACL", "SETUSER"].into_iter().chain(user.split(' ')).collect();
        sentinel.command(&words).await.unwrap();
    }
    let login = "&sentinelUsername=watcher&sentinelPassword=secret";
    let (link, log) = link_at(&(group.url() + login));
    let room = room("a");
    link.subscribe(from_ref(&room));
    all_on(&log, from_ref(&room)).await;
    let old = group.primary().await.unwrap();
    publish(&group.servers[old], &room, 1).await;
    got(&log, &room, 1).await;

    let new = group.failover().await.unwrap();
    assert_ne!(old, new);
    let ours = || async {
        let counts = group.servers[new].command(&["PUBSUB", "NUMSUB", &name(&room)]).await?;
        Ok(counts.list().last() == Some(&Reply::Int(1)) && log.is_on(&room))
    };
    until("the new primary has the subscription", PATIENCE, ours).await.unwrap();
    publish(&group.servers[new], &room, 2).await;
    got(&log, &room, 2).await;
    assert!(log.interruptions(from_ref(&room))[0] >= 1);
    assert!(link.health().connected);
    log.check();
}

#[tokio::test]
async fn a_dead_primary_is_replaced() {
    let mut group = Sentinel::start().await.unwrap();
    let (link, log) = link_at(&group.url());
    let rooms = rooms(50);
    link.subscribe(&rooms);
    all_on(&log, &rooms).await;
    let old = group.primary().await.unwrap();
    group.servers[old].kill().await.unwrap();
    until("it is told", PATIENCE, || async { Ok(log.interruptions(&rooms) == [1]) }).await.unwrap();
    let new = 1 - old;
    group.failed_over(new).await.unwrap();
    all_on(&log, &rooms).await;
    publish(&group.servers[new], &rooms[7], 2).await;
    got(&log, &rooms[7], 2).await;
    assert!(link.health().connected);
    log.check();
}
