//! What an administrator can ask nodes about sessions, and have them do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::time::Duration;

use broker::memory::{MemoryBroker, Store};
use broker::{Broker, Control, Question, SessionSeen, ask};
use proto::{Channel, ChannelOptions, ChannelRules, Kind, NodeId, Pattern, SessionId};
use serde_json::json;
use support::{Node, tenant, user};
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

#[tokio::test]
async fn who_is_online_is_known_where_presence_is_on_for_everyone() {
    let store = Store::new();
    let online = ChannelOptions { presence: true, ..ChannelOptions::default_for(Kind::Everyone) };
    let rules = ChannelRules::new(vec![(Pattern::new("all").unwrap(), online)]);
    let broker: Arc<dyn Broker> = Arc::new(MemoryBroker::new(&store, NodeId::new("a").unwrap()));
    let node = Node::on(broker, GatewayConfig::default(), rules);
    let everyone = Channel::everyone(&tenant());
    let first = node.client("ann").await;
    let _second = node.client("ann").await;
    let bob = node.client("bob").await;
    let online = async || node.broker.present(&everyone, 10).await.unwrap();
    assert_eq!(online().await.count, 2);
    drop((first, bob));
    until(async || online().await.count == 1).await;
    assert_eq!(online().await.users[0].user.as_str(), "ann");
    until(async || node.broker.sessions(&tenant()).await.unwrap() == 1).await;
}

async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap();
}
