//! An API over a broker that does as it is told.
// Each test file takes the part that it needs.
#![allow(dead_code, unreachable_pub, unused_imports, clippy::unwrap_used, clippy::indexing_slicing)]

mod credentials;
pub mod providers;
pub mod running;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, Bytes};
use broker::memory::MemoryBroker;
use broker::{
    Broker, Busiest, Directory, Earlier, Health, History, HistoryQuery, IdempotencyKey, KeptKey, Members,
    MembershipError, Page, Place, Presence, Publish, PublishError, Published, Question, Reached, Revocation,
    RoomCount, Sink, Unavailable,
};
use http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use parking_lot::Mutex;
use prometheus::{Registry, TextEncoder};
use proto::{
    Channel, ChannelOptions, ChannelRules, DeviceId, Durability, Epoch, Kind, NodeId, Nonce, Pattern,
    Position, PresenceEntry, Room, Tenant, Timestamp, UserId,
};
use serde_json::Value;
use switchboard_fanout::{Fanout, FanoutConfig};
use tokio::time::Instant;
use tower::ServiceExt;

pub use credentials::{credential, secret, token_of};

/// How the broker behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behaviour {
    Works,
    /// Refuses everything for one channel.
    FailsFor(&'static str),
    /// Never answers.
    Hangs,
}

#[derive(Default)]
struct Store {
    stored: Vec<(String, String, String)>,
    tried: HashMap<String, u64>,
    /// Each with the time of its end.
    ids: HashMap<(String, IdempotencyKey), (Position, String, Instant)>,
}

pub struct FakeBroker {
    behaviour: Behaviour,
    store: Mutex<Store>,
    /// What is not about publishing.
    pub rest: MemoryBroker,
}

impl FakeBroker {
    async fn works(&self) -> Result<(), Unavailable> {
        if self.behaviour == Behaviour::Hangs { std::future::pending().await } else { Ok(()) }
    }
}

#[async_trait]
impl Broker for FakeBroker {
    fn attach(&self, _: Arc<dyn Sink>) {}

    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, PublishError> {
        // Gives concurrent publishes the chance to overtake each other.
        tokio::task::yield_now().await;
        let name = channel.as_str().to_owned();
        *self.store.lock().tried.entry(name.clone()).or_default() += 1;
        match self.behaviour {
            Behaviour::Hangs => std::future::pending().await,
            Behaviour::FailsFor(failing) if failing == name => {
                return Err(Unavailable("told to".into()).into());
            }
            Behaviour::Works | Behaviour::FailsFor(_) => {}
        }
        // As a Redis with a dead replica and without a disk.
        let durability = publish.retention.map(|kept| kept.durability).unwrap_or_default();
        if durability == Durability::Fsync {
            return Err(PublishError::Unsupported("no disk"));
        }
        let mut store = self.store.lock();
        let fingerprint = publish.fingerprint();
        let key = publish.idempotency.map(|key| (name.clone(), key));
        let known = key.as_ref().and_then(|key| store.ids.get(key)).filter(|(.., end)| *end > Instant::now());
        if let Some((position, first, _)) = known {
            let position = Some(*position);
            return if *first == fingerprint {
                Ok(Published { position, duplicate: true })
            } else {
                Err(PublishError::Conflict)
            };
        }
        let publication = publish.publication;
        store.stored.push((name, publication.event.to_string(), publication.data.get().to_owned()));
        let position = Position { epoch: Epoch(7), offset: store.stored.len() as u64, nonce: Nonce(9) };
        if let Some(key) = key {
            let end = Instant::now() + key.1.window();
            store.ids.insert(key, (position, fingerprint, end));
        }
        if durability == Durability::Replica {
            return Err(PublishError::Unconfirmed);
        }
        Ok(Published { position: publish.retention.map(|_| position), duplicate: false })
    }

    fn subscribe(&self, _: &[Channel]) {}
    fn unsubscribe(&self, _: &[Channel]) {}

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Unavailable> {
        self.rest.history(channel, query).await
    }

    async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable> {
        self.rest.tops(channels).await
    }

    async fn hold(
        &self,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<u64, Unavailable> {
        self.rest.hold(channel, user, outbox).await
    }

    async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable> {
        self.rest.release(channel, user).await
    }

    async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable> {
        self.rest.present(channel, limit).await
    }

    async fn control(&self, channel: &Channel, payload: Bytes) -> Result<u64, Unavailable> {
        self.rest.control(channel, payload).await
    }

    async fn answer(&self, question: &Question, answer: Bytes) -> Result<(), Unavailable> {
        self.rest.answer(question, answer).await
    }

    async fn answers(
        &self,
        question: &Question,
        count: u64,
        patience: Duration,
    ) -> Result<Vec<Bytes>, Unavailable> {
        self.rest.answers(question, count, patience).await
    }

    async fn keep(&self, key: &KeptKey, value: Bytes, life: Duration) -> Result<(), Unavailable> {
        self.rest.keep(key, value, life).await
    }

    async fn kept(&self, key: &KeptKey) -> Result<Option<Bytes>, Unavailable> {
        self.rest.kept(key).await
    }

    async fn prolong(&self, keys: &[KeptKey], life: Duration) -> Result<Vec<bool>, Unavailable> {
        self.rest.prolong(keys, life).await
    }

    async fn discard(&self, key: &KeptKey) -> Result<(), Unavailable> {
        self.rest.discard(key).await
    }

    async fn set_memberships(
        &self,
        tenant: &Tenant,
        user: &UserId,
        join: &[Room],
        leave: &[Room],
    ) -> Result<(), MembershipError> {
        self.works().await?;
        self.rest.set_memberships(tenant, user, join, leave).await
    }

    async fn memberships(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<Room>, Unavailable> {
        self.works().await?;
        self.rest.memberships(tenant, user).await
    }

    async fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Members, Unavailable> {
        self.works().await?;
        self.rest.members(tenant, room, after, limit).await
    }

    async fn claim(&self, place: &Place, again: bool) -> Result<bool, Unavailable> {
        self.rest.claim(place, again).await
    }

    async fn waive(&self, place: &Place) -> Result<(), Unavailable> {
        self.rest.waive(place).await
    }

    async fn reach(&self, reached: &Reached) -> Result<(), Unavailable> {
        self.rest.reach(reached).await
    }

    async fn reached(&self, user: &Channel, device: &DeviceId) -> Result<Option<Position>, Unavailable> {
        self.rest.reached(user, device).await
    }

    fn health(&self) -> Health {
        Health::default()
    }

    async fn close(&self) {}
}

#[async_trait]
impl Directory for FakeBroker {
    async fn present_page(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<Page<PresenceEntry>, Unavailable> {
        self.rest.present_page(channel, from, limit).await
    }

    async fn rooms(&self, tenant: &Tenant, from: u64, limit: usize) -> Result<Page<RoomCount>, Unavailable> {
        self.rest.rooms(tenant, from, limit).await
    }

    async fn busiest(&self, tenant: &Tenant, limit: usize) -> Result<Busiest, Unavailable> {
        self.rest.busiest(tenant, limit).await
    }

    async fn report_sessions(&self, tenant: &Tenant, sessions: u64) -> Result<(), Unavailable> {
        self.rest.report_sessions(tenant, sessions).await
    }

    async fn sessions(&self, tenant: &Tenant) -> Result<u64, Unavailable> {
        self.rest.sessions(tenant).await
    }

    async fn revoke(&self, text: &str, until: Timestamp) -> Result<bool, Unavailable> {
        self.rest.revoke(text, until).await
    }

    async fn revoked(&self, after: u64, limit: usize) -> Result<Vec<Revocation>, Unavailable> {
        self.rest.revoked(after, limit).await
    }

    async fn earlier(
        &self,
        channel: &Channel,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Earlier, Unavailable> {
        self.rest.earlier(channel, before, limit).await
    }
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub text: String,
    pub json: Value,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Checks that this is a problem of this status and code, and returns it.
    pub fn problem(&self, status: u16, code: &str) -> &Value {
        assert_eq!(self.status, status, "{}", self.text);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(
            (&self.json["status"], &self.json["code"]),
            (&status.into(), &code.into()),
            "{}",
            self.text
        );
        assert!(["type", "title", "detail"].iter().all(|key| self.json[key].is_string()), "{}", self.text);
        &self.json
    }
}

pub struct Api {
    pub router: Router,
    pub fanout: Fanout,
    pub broker: Arc<FakeBroker>,
    /// What the API takes for the outbox; it publishes as well.
    pub outbox: Arc<MemoryBroker>,
    pub registry: Registry,
}

impl Api {
    pub fn new() -> Self {
        Self::with(Behaviour::Works)
    }

    pub fn with(behaviour: Behaviour) -> Self {
        Self::configured(behaviour, FanoutConfig::default())
    }

    pub fn configured(behaviour: Behaviour, config: FanoutConfig) -> Self {
        Self::build(behaviour, config, rules())
    }

    pub fn ruled(rules: ChannelRules) -> Self {
        Self::build(Behaviour::Works, FanoutConfig::default(), rules)
    }

    fn build(behaviour: Behaviour, config: FanoutConfig, rules: ChannelRules) -> Self {
        let store = broker::memory::Store::default();
        let [rest, outbox] = [(); 2].map(|()| MemoryBroker::new(&store, NodeId::new("test").unwrap()));
        let outbox = Arc::new(outbox);
        let broker = Arc::new(FakeBroker { behaviour, store: Mutex::default(), rest });
        let registry = Registry::new();
        let fanout =
            Fanout::new(config, broker.clone(), outbox.clone(), credentials::callers(), rules, &registry)
                .unwrap();
        Self { router: fanout.router(), fanout, broker, outbox, registry }
    }

    /// From now on nobody tracks who is online.
    pub fn without_presence(&mut self) {
        let rules = ChannelRules::default();
        let (broker, callers) = (self.broker.clone(), credentials::callers());
        let fanout = Fanout::new(
            FanoutConfig::default(),
            broker,
            self.outbox.clone(),
            callers,
            rules,
            &Registry::new(),
        )
        .unwrap();
        self.router = fanout.router();
    }

    pub async fn post(&self, path: &str, body: &str) -> Answer {
        self.call(post(path, "acme").body(body.to_owned().into()).unwrap()).await
    }

    /// A call of administration.
    pub async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, format!("Bearer {}", credential("admin")))
            .header(header::CONTENT_TYPE, "application/json");
        let body = body.map_or_else(Body::empty, |body| body.to_string().into());
        self.call(request.body(body).unwrap()).await
    }

    pub async fn call(&self, request: Request<Body>) -> Answer {
        call(self.router.clone(), request).await
    }

    /// What was stored: channel, event and data.
    pub fn stored(&self) -> Vec<(String, String, String)> {
        self.broker.store.lock().stored.clone()
    }

    /// How often a publish to a channel was tried.
    pub fn tried(&self, channel: &str) -> u64 {
        self.broker.store.lock().tried.get(channel).copied().unwrap_or_default()
    }

    /// The lines of the metrics that begin with this.
    pub fn metric(&self, prefix: &str) -> Vec<String> {
        let text = TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap();
        text.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }
}

/// The defaults, with presence for everyone of the tenant.
fn rules() -> ChannelRules {
    let online = ChannelOptions { presence: true, ..ChannelOptions::default_for(Kind::Everyone) };
    ChannelRules::new(vec![(Pattern::new("all").unwrap(), online)])
}

/// A call by someone that [`credential`] knows.
pub fn post(path: &str, name: &str) -> http::request::Builder {
    Request::post(path)
        .header(header::AUTHORIZATION, format!("Bearer {}", credential(name)))
        .header(header::CONTENT_TYPE, "application/json")
}

pub async fn call(router: Router, request: Request<Body>) -> Answer {
    let (head, body) = router.oneshot(request).await.unwrap().into_parts();
    let text = String::from_utf8(body.collect().await.unwrap().to_bytes().into()).unwrap();
    let json = serde_json::from_str(&text).unwrap_or_default();
    Answer { status: head.status.as_u16(), headers: head.headers, text, json }
}
