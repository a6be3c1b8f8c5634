//! A gateway on a real socket, and clients that speak the native protocol to it.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests; no test uses all of them"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broker::memory::{MemoryBroker, Store};
use broker::{Broker, Publish, Published, Retention};
use chassis::auth::{Algorithm, Grant, Key, Keys, Minter, Rules, Scopes, Verifier};
use chassis::listener::{Capacity, Listener, ListenerConfig, ListenerMetrics};
use futures_util::{SinkExt, StreamExt};
use prometheus::Registry;
use proto::{
    Channel, ChannelRules, Durability, EventName, NodeId, Pattern, Publication, Room, Tenant, Timestamp,
    UserId,
};
use serde_json::{Value, json};
use switchboard_gateway::{Gateway, GatewayConfig};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;

const SECRET: &str = "a secret of the tests, long enough for HS256";

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub gateway: Arc<Gateway>,
    pub broker: Arc<dyn Broker>,
    pub registry: Registry,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    /// One node alone.
    pub fn start() -> Self {
        Self::with(GatewayConfig::default(), ChannelRules::default())
    }

    pub fn with(config: GatewayConfig, rules: ChannelRules) -> Self {
        let broker = MemoryBroker::new(&Store::default(), NodeId::new("node-1").unwrap());
        Self::on(Arc::new(broker), config, rules)
    }

    pub fn on(broker: Arc<dyn Broker>, config: GatewayConfig, rules: ChannelRules) -> Self {
        let registry = Registry::new();
        let key = Key::from_secret(Algorithm::Hs256, &SECRET.into(), None).unwrap();
        let verifier = Arc::new(Verifier::new(Rules::default(), Keys::new(vec![key])));
        let id = NodeId::new("node-1").unwrap();
        let gateway = Gateway::new(config, &id, Arc::clone(&broker), verifier, rules, &registry).unwrap();
        let gateway = Arc::new(gateway);
        let metrics = ListenerMetrics::register(&registry).unwrap();
        let config = ListenerConfig::default();
        let capacity = Capacity::new(config.max_connections, metrics.of("main"));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config, capacity).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(listener.serve(gateway.router(), stop.clone(), Duration::from_secs(1)));
        Self { gateway, broker, registry, address, stop }
    }

    pub fn request(&self, query: &str) -> Request {
        format!("ws://{}/ws{query}", self.address).into_client_request().unwrap()
    }

    /// A client that is connected and authenticated.
    pub async fn client(&self, user: &str) -> Client {
        let mut client =
            Client::open(self.request(&format!("?token={}", token(user, &["*"])))).await.unwrap();
        client.expect("welcome").await;
        client.expect("auth_success").await;
        client
    }

    /// Publishes as a backend would.
    pub async fn publish(&self, channel: &Channel, event: &str, data: Value) -> Published {
        let publication = Publication {
            event: EventName::new(event).unwrap(),
            data: serde_json::value::to_raw_value(&data).unwrap(),
            binary: proto::BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(0),
        };
        let retention =
            Some(Retention { size: 100_000, age: Duration::from_secs(60), durability: Durability::Memory });
        self.broker
            .publish(channel, Publish { publication, retention, idempotency: None, outbox: None })
            .await
            .unwrap()
    }

    /// The value of a metric that has no labels, or of all its labels together.
    pub fn metric(&self, name: &str) -> f64 {
        let family = self.registry.gather().into_iter().find(|family| family.name() == name);
        let metrics = family.map(|mut family| family.take_metric()).unwrap_or_default();
        metrics.iter().map(|one| one.get_counter().get_value() + one.get_gauge().get_value()).sum()
    }
}

pub fn room(name: &str) -> Channel {
    Channel::room(&tenant(), &Room::new(name).unwrap())
}

pub fn user(name: &str) -> Channel {
    Channel::user(&tenant(), &UserId::new(name).unwrap())
}

pub fn tenant() -> Tenant {
    Tenant::new("default").unwrap()
}

pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub fn token(user: &str, rooms: &[&str]) -> String {
    token_for(user, rooms, Duration::from_secs(600), now())
}

pub fn token_for(user: &str, rooms: &[&str], lifetime: Duration, at: u64) -> String {
    let minter = Minter::new(Algorithm::Hs256, &SECRET.into(), None, Rules::default()).unwrap();
    let grant = Grant {
        user: UserId::new(user).unwrap(),
        tenant: None,
        name: Some(user.to_uppercase()),
        rooms: rooms.iter().map(|room| Pattern::new(*room).unwrap()).collect(),
        scopes: Scopes::default(),
        lifetime,
    };
    minter.mint(&grant, at).unwrap()
}

pub fn is_news(frame: &Value) -> bool {
    frame["type"] == "member_joined" || frame["type"] == "member_left"
}

/// A token with these claims, and no others than those that every token has.
pub fn token_with(claims: Value) -> String {
    let minter = Minter::new(Algorithm::Hs256, &SECRET.into(), None, Rules::default()).unwrap();
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    minter.mint_claims(claims, Duration::from_secs(600), now()).unwrap()
}

pub struct Client(pub WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Client {
    pub async fn open(request: Request) -> Result<Self, Error> {
        let stream = TcpStream::connect(request.uri().authority().unwrap().as_str()).await?;
        let (socket, _) = tokio_tungstenite::client_async(request, MaybeTlsStream::Plain(stream)).await?;
        Ok(Self(socket))
    }

    pub async fn send(&mut self, frame: Value) {
        self.0.send(Message::text(frame.to_string())).await.unwrap();
    }

    /// The next frame that is no news of who comes and goes, which arrives whenever it does.
    pub async fn next(&mut self) -> Value {
        loop {
            let frame = self.any().await;
            if !is_news(&frame) {
                return frame;
            }
        }
    }

    /// The next frame, which tells who came or went.
    pub async fn news(&mut self) -> Value {
        let frame = self.any().await;
        assert!(is_news(&frame), "{frame}");
        frame
    }

    /// The next frame, whatever it tells.
    pub async fn any(&mut self) -> Value {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("a frame in time") {
                Some(Ok(Message::Text(text))) => return serde_json::from_str(&text).unwrap(),
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                other => panic!("a text frame, not {other:?}"),
            }
        }
    }

    /// The next frame, which has this type.
    pub async fn expect(&mut self, kind: &str) -> Value {
        let frame = self.next().await;
        assert_eq!(frame["type"], kind, "{frame}");
        frame
    }

    /// Sends a request and waits for the frame that answers it; nothing else may come before.
    pub async fn ask(&mut self, request: Value) -> Value {
        self.send(request).await;
        self.next().await
    }

    pub async fn join(&mut self, room: &str) -> Value {
        let joined = self.ask(json!({"type": "join", "room": room})).await;
        assert_eq!(joined["type"], "joined", "{joined}");
        joined
    }

    /// What ends the connection; frames before it are skipped.
    pub async fn closed(&mut self) -> CloseFrame {
        loop {
            match timeout(PATIENCE, self.0.next()).await.expect("an end in time") {
                Some(Ok(Message::Close(frame))) => return frame.expect("a code"),
                Some(Ok(_)) => {}
                other => panic!("a close frame, not {other:?}"),
            }
        }
    }
}
