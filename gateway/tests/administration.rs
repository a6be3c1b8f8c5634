//! What an administrator can ask nodes about sessions, and have them do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use broker::memory::{MemoryBroker, Store};
use broker::{Broker, Control, Question, SessionSeen, ask};
use proto::{ChannelRules, NodeId, SessionId};
use serde_json::json;
use support::{Node, user};
use switchboard_gateway::GatewayConfig;

struct World {
    nodes: [Node; 2],
    /// As fanout would ask.
    asker: MemoryBroker,
}

impl World {
    fn new() -> Self {
        let store = Store::new();
        let node = |name| {
            let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(&store, NodeId::new(name).unwrap()));
            Node::on(broker, GatewayConfig::default(), ChannelRules::default())
        };
        Self { nodes: [node("a"), node("b")], asker: MemoryBroker::new(&store, NodeId::new("f").unwrap()) }
    }

    async fn ask(&self, name: &str, request: impl FnOnce(Question) -> Control) -> Vec<SessionSeen> {
        ask(&self.asker, &user(name), request, Duration::from_secs(20)).await.unwrap()
    }

    async fn disconnect(&self, name: &str, session: Option<SessionId>) -> Vec<SessionSeen> {
        self.ask(name, |question| Control::Disconnect { session, question }).await
    }
}

#[tokio::test]
async fn the_sessions_of_a_user_are_listed_over_all_nodes() {
    let world = World::new();
    assert!(world.ask("ann", |question| Control::Sessions { question }).await.is_empty());
    let _ann = [world.nodes[0].client("ann").await, world.nodes[1].client("ann").await];
    let _bob = world.nodes[0].client("bob").await;
    let sessions = world.ask("ann", |question| Control::Sessions { question }).await;
    assert_eq!(sessions.len(), 2);
    assert_ne!(sessions[0].session, sessions[1].session);
    for session in sessions {
        assert_eq!(session.endpoint, "/ws");
        assert!(session.since.0.abs_diff(support::now() * 1000) < 60_000, "{session:?}");
    }
}

#[tokio::test]
async fn who_is_disconnected_is_closed_everywhere_and_nobody_else() {
    let world = World::new();
    let mut ann = [world.nodes[0].client("ann").await, world.nodes[1].client("ann").await];
    let mut bob = world.nodes[0].client("bob").await;
    assert_eq!(world.disconnect("ann", None).await.len(), 2);
    for ann in &mut ann {
        assert_eq!(u16::from(ann.closed().await.code), 4502);
    }
    bob.send(json!({"type": "ping"})).await;
    bob.expect("pong").await;
}

#[tokio::test]
async fn one_session_alone_can_be_disconnected() {
    let world = World::new();
    let mut first = world.nodes[0].client("ann").await;
    let listed = world.ask("ann", |question| Control::Sessions { question }).await;
    let mut second = world.nodes[1].client("ann").await;
    let gone = world.disconnect("ann", Some(listed[0].session.clone())).await;
    assert_eq!(gone.len(), 1);
    assert_eq!(u16::from(first.closed().await.code), 4502);
    second.send(json!({"type": "ping"})).await;
    second.expect("pong").await;
    let unknown = SessionId::new("unknown").unwrap();
    assert!(world.disconnect("ann", Some(unknown)).await.is_empty());
}
