//! What nodes keep for each other.

use std::time::Duration;

use bytes::Bytes;
use proto::{NodeId, SessionId};
use switchboard_broker::KeptKey;

use crate::node::until;
use crate::world::World;

const LONG: Duration = Duration::from_secs(60);

pub(crate) async fn what_one_node_keeps_every_node_finds(world: &World) {
    let (a, b) = world.two().await;
    let (mine, other) = (session(world, "mine"), session(world, "other"));
    assert_eq!(b.kept(&mine).await.unwrap(), None);
    a.keep(&mine, Bytes::from_static(b"\x00one"), LONG).await.unwrap();
    a.keep(&mine, Bytes::from_static(b"\x00two"), LONG).await.unwrap();
    assert_eq!(b.kept(&mine).await.unwrap().as_deref(), Some(&b"\x00two"[..]));
    assert_eq!(b.kept(&other).await.unwrap(), None);
    // The same name of another sort is another thing.
    let node = KeptKey::Node(NodeId::new(name(world, "mine")).unwrap());
    assert_eq!(b.kept(&node).await.unwrap(), None);
    b.discard(&mine).await.unwrap();
    b.discard(&mine).await.unwrap();
    assert_eq!(a.kept(&mine).await.unwrap(), None);
}

pub(crate) async fn what_is_kept_lives_as_long_as_was_said_last(world: &World) {
    let a = world.node("a").await;
    let (short, long, never) = (session(world, "short"), session(world, "long"), session(world, "never"));
    for key in [&short, &long] {
        a.keep(key, Bytes::from_static(b"x"), Duration::from_millis(500)).await.unwrap();
    }
    assert_eq!(a.prolong(&[long.clone(), never.clone()], LONG).await.unwrap(), [true, false]);
    until("its life is over", || async { a.kept(&short).await.unwrap().is_none() }).await;
    assert_eq!(a.kept(&long).await.unwrap().as_deref(), Some(&b"x"[..]));
    assert_eq!(a.prolong(&[short], LONG).await.unwrap(), [false]);
}

fn session(world: &World, text: &str) -> KeptKey {
    KeptKey::Session(SessionId::new(name(world, text)).unwrap())
}

/// Worlds may share a server.
fn name(world: &World, text: &str) -> String {
    format!("{}-{text}", world.tenant())
}
