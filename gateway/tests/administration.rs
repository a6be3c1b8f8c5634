//! What an administrator can ask nodes about sessions, and have them do.
#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use broker::memory::{MemoryBroker, Store};
use broker::{Broker, Control, Directory, Question, SessionSeen, ask};
use chassis::auth::{Revoked, TokenDigest};
use proto::{Channel, ChannelOptions, ChannelRules, Kind, NodeId, Pattern, SessionId, Timestamp, UserId};
use serde_json::json;
use support::{Client, Node, tenant, token_with, user};
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
    let bob = world.ask("bob", |question| Control::Sessions { question }).await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(20) {
        assert_eq!(world.ask("bob", |question| Control::Sessions { question }).await, bob, "as ever");
    }
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

#[tokio::test]
async fn a_revoked_token_ends_its_sessions_and_begins_none() {
    let world = World::new();
    let mut ann = [world.nodes[0].client("ann").await, world.nodes[1].client("ann").await];
    let one = token_with(json!({"sub": "bob", "jti": "one"}));
    let open = async |node: usize, token: &str| {
        let mut client = Client::open(world.nodes[node].request(&format!("?token={token}"))).await.unwrap();
        client.expect("welcome").await;
        (client.next().await["type"].clone(), client)
    };
    let (_, mut first) = open(0, &one).await;
    let (_, mut other) = open(1, &token_with(json!({"sub": "bob", "jti": "two"}))).await;
    let later = Timestamp(4_000_000_000_000);
    for revoked in [
        Revoked::Token(TokenDigest::of_id(&tenant(), "one")),
        Revoked::User {
            owner: TokenDigest::of_user(&tenant(), &UserId::new("ann").unwrap()),
            upto: support::now() + 1,
        },
    ] {
        world.asker.revoke(&revoked.encode(), later).await.unwrap();
    }
    for client in ann.iter_mut().chain([&mut first]) {
        assert_eq!(u16::from(client.closed().await.code), 4504);
    }
    other.send(json!({"type": "ping"})).await;
    other.expect("pong").await;
    for node in [0, 1] {
        for token in [&one, &support::token("ann", &["*"])] {
            // The other node may need a moment more to know it.
            let (mut told, mut client) = open(node, token).await;
            while told == "auth_success" {
                client.closed().await;
                (told, client) = open(node, token).await;
            }
            assert_eq!(told, "error");
            assert_eq!(u16::from(client.closed().await.code), 4500);
        }
    }
}
