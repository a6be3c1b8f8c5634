//! The broker that joins the nodes of a cluster through Redis.

mod answers;
mod argument;
mod breaker;
mod commands;
mod config;
mod devices;
mod doubter;
mod kept;
mod keys;
mod leases;
pub mod link;
mod memberships;
mod note;
mod outbox;
mod places;
mod presence;
mod publishing;
mod reply;
mod retry;
mod revocations;
mod roll;
mod store;
mod successor;
pub mod wire;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proto::{Channel, DeviceId, NodeId, Position, PresenceEntry, Room, Tenant, Timestamp, UserId};
use tokio_util::sync::CancellationToken;

use crate::{
    Broker, Busiest, Control, Directory, Earlier, Health, History, HistoryQuery, KeptKey, Members,
    MembershipChange, MembershipError, Page, Place, Presence, Publish, PublishError, Published, Question,
    Reached, Revocation, RoomCount, Sink, Unavailable,
};
use answers::Answers;
use commands::Commands;
pub use config::{Address, ConfigError, Credentials, RedisConfig, Topology};
use devices::Devices;
use kept::Kept;
use keys::Keys;
use leases::RENEWAL;
use link::Link;
use link::finder::Finder;
use memberships::Memberships;
use outbox::Outboxes;
use places::Places;
use presence::{News, Present};
use publishing::Publishing;
use revocations::Revocations;
use store::Store;

/// How many connections to one server share its channels. Reading what Redis pushes takes a fraction of a core.
const SHARDS: u16 = 1;

/// How often to look for nodes that died and for channels whose number of users is to be told.
const LOOK: Duration = Duration::from_secs(1);

/// One node's connections to a Redis that it shares with the others. Dropping it ends them.
pub struct RedisBroker {
    commands: Commands,
    store: Store,
    outboxes: Outboxes,
    present: Present,
    memberships: Memberships,
    answers: Answers,
    revocations: Revocations,
    places: Places,
    kept: Kept,
    devices: Devices,
    link: Link,
    closed: CancellationToken,
}

impl RedisBroker {
    /// Connects. A Redis that is away is no error: it is tried again until it is there, and [`Broker::health`] says so
    /// meanwhile.
    ///
    /// # Errors
    /// When Redis refuses the login, or lets the user do too little (see [`RedisConfig::ACL`]).
    pub async fn connect(config: RedisConfig, node: NodeId) -> Result<Self, Unavailable> {
        let commands = Commands::connect(&config).await?;
        let keys = Keys::new(config.prefix());
        let outboxes = Outboxes::new(commands.clone(), keys.clone());
        let publishing = Arc::new(Publishing::new(&config, keys.clone()));
        let closed = CancellationToken::new();
        if matches!(config.topology(), Topology::Sentinel { .. }) {
            let follow = successor::follow(Finder::new(&config), commands.clone(), publishing.clone());
            let closed = closed.clone();
            tokio::spawn(async move { closed.run_until_cancelled(follow).await });
        }
        let store =
            Store::new(commands.clone(), publishing, keys.clone(), outboxes.clone(), config.is_cluster());
        let verb = if config.is_cluster() { "SPUBLISH" } else { "PUBLISH" };
        let news = News { verb, limit: config.presence_limit() };
        let present = Present::new(commands.clone(), keys.clone(), node, news);
        let memberships = Memberships::new(commands.clone(), keys.clone());
        let revocations = Revocations::new(commands.clone(), keys.clone());
        let answers = Answers::new(commands.clone(), keys.clone());
        let places = Places::new(commands.clone(), keys.clone(), verb);
        let kept = Kept::new(commands.clone(), keys.clone());
        let devices = Devices::new(commands.clone(), keys.clone());
        let link = Link::new(config, Arc::new(move |channel| keys.channel(channel)), SHARDS);
        if let Err(error) = present.renew().await {
            if commands::forbids(&error) {
                closed.cancel();
                commands.close().await;
                return Err(error);
            }
            tracing::warn!(%error, "this node is not seen by others yet");
        }
        tokio::spawn(stay(present.clone(), closed.clone()));
        tokio::spawn(look_around(present.clone(), closed.clone()));
        Ok(Self {
            commands,
            store,
            outboxes,
            present,
            memberships,
            answers,
            revocations,
            places,
            kept,
            devices,
            link,
            closed,
        })
    }
}

#[async_trait]
impl Broker for RedisBroker {
    /// Starts to connect for subscriptions, on the runtime that this is called in.
    fn attach(&self, sink: Arc<dyn Sink>) {
        self.link.attach(sink);
    }

    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, PublishError> {
        self.store.publish(channel, &publish).await
    }

    fn subscribe(&self, channels: &[Channel]) {
        self.link.subscribe(channels);
    }

    fn unsubscribe(&self, channels: &[Channel]) {
        self.link.unsubscribe(channels);
    }

    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Unavailable> {
        self.store.history(channel, query).await
    }

    async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable> {
        self.store.tops(channels).await
    }

    async fn hold(
        &self,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<u64, Unavailable> {
        self.present.hold(channel, user, outbox).await
    }

    async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable> {
        self.present.release(channel, user).await
    }

    async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable> {
        self.present.present(channel, limit).await
    }

    async fn control(&self, channel: &Channel, payload: Bytes) -> Result<u64, Unavailable> {
        self.store.control(channel, &payload).await
    }

    async fn answer(&self, question: &Question, answer: Bytes) -> Result<(), Unavailable> {
        self.answers.leave(question, &answer).await
    }

    async fn answers(
        &self,
        question: &Question,
        count: u64,
        patience: Duration,
    ) -> Result<Vec<Bytes>, Unavailable> {
        self.answers.gather(question, count, patience).await
    }

    async fn set_memberships(
        &self,
        tenant: &Tenant,
        user: &UserId,
        join: &[Room],
        leave: &[Room],
    ) -> Result<(), MembershipError> {
        let change = MembershipChange::new(join, leave);
        self.memberships.set(tenant, user, &change).await?;
        self.store.control(&Channel::user(tenant, user), &Control::Memberships(change).encode()).await?;
        Ok(())
    }

    async fn memberships(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<Room>, Unavailable> {
        self.memberships.of(tenant, user).await
    }

    async fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Members, Unavailable> {
        self.memberships.members(tenant, room, after, limit).await
    }

    async fn claim(&self, place: &Place, again: bool) -> Result<bool, Unavailable> {
        self.places.claim(place, again).await
    }

    async fn waive(&self, place: &Place) -> Result<(), Unavailable> {
        self.places.waive(place).await
    }

    async fn keep(&self, key: &KeptKey, value: Bytes, life: Duration) -> Result<(), Unavailable> {
        self.kept.keep(key, &value, life).await
    }

    async fn kept(&self, key: &KeptKey) -> Result<Option<Bytes>, Unavailable> {
        self.kept.get(key).await
    }

    async fn prolong(&self, keys: &[KeptKey], life: Duration) -> Result<Vec<bool>, Unavailable> {
        self.kept.prolong(keys, life).await
    }

    async fn discard(&self, key: &KeptKey) -> Result<(), Unavailable> {
        self.kept.discard(key).await
    }

    async fn reach(&self, reached: &Reached) -> Result<(), Unavailable> {
        self.devices.reach(reached).await
    }

    async fn reached(&self, user: &Channel, device: &DeviceId) -> Result<Option<Position>, Unavailable> {
        self.devices.reached(user, device).await
    }

    fn health(&self) -> Health {
        let link = self.link.health();
        Health {
            commands: self.commands.answered(),
            subscriptions: link.connected,
            reconnects: link.reconnects,
            channels: link.channels,
        }
    }

    async fn close(&self) {
        self.closed.cancel();
        self.link.close().await;
        self.store.close();
        if let Err(error) = self.present.end().await {
            tracing::debug!(%error, "the lease of this node runs out by itself");
        }
        self.commands.close().await;
    }
}

#[async_trait]
impl Directory for RedisBroker {
    async fn present_page(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<Page<PresenceEntry>, Unavailable> {
        self.present.page(channel, from, limit).await
    }

    async fn rooms(&self, tenant: &Tenant, from: u64, limit: usize) -> Result<Page<RoomCount>, Unavailable> {
        self.present.rooms(tenant, from, limit).await
    }

    async fn busiest(&self, tenant: &Tenant, limit: usize) -> Result<Busiest, Unavailable> {
        self.present.busiest(tenant, limit).await
    }

    async fn report_sessions(&self, tenant: &Tenant, sessions: u64) -> Result<(), Unavailable> {
        self.present.report(tenant, sessions).await
    }

    async fn sessions(&self, tenant: &Tenant) -> Result<u64, Unavailable> {
        self.present.sessions(tenant).await
    }

    async fn revoke(&self, text: &str, until: Timestamp) -> Result<bool, Unavailable> {
        self.revocations.revoke(text, until).await
    }

    async fn revoked(&self, after: u64, limit: usize) -> Result<Vec<Revocation>, Unavailable> {
        self.revocations.after(after, limit).await
    }

    async fn earlier(
        &self,
        channel: &Channel,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Earlier, Unavailable> {
        self.store.earlier(channel, before, limit).await
    }
}

impl Drop for RedisBroker {
    fn drop(&mut self) {
        self.closed.cancel();
        self.commands.abandon();
    }
}

/// Renews what this node noted in Redis, for as long as the broker lives.
async fn stay(present: Present, closed: CancellationToken) {
    // After a failure sooner, since the lease runs out meanwhile.
    let mut wait = RENEWAL;
    while closed.run_until_cancelled(tokio::time::sleep(wait)).await.is_some() {
        wait = match closed.run_until_cancelled(present.renew()).await {
            Some(Ok(())) => RENEWAL,
            Some(Err(error)) => {
                tracing::debug!(%error, "renewing presence failed");
                RENEWAL / 5
            }
            None => return,
        };
    }
}

/// Looks after nodes that died and channels that are crowded, for as long as the broker lives.
async fn look_around(present: Present, closed: CancellationToken) {
    while closed.run_until_cancelled(tokio::time::sleep(LOOK)).await.is_some() {
        let looking = async {
            present.tell_counts().await?;
            present.count_rooms().await?;
            present.bury_dead().await
        };
        if let Some(Err(error)) = closed.run_until_cancelled(looking).await {
            tracing::debug!(%error, "looking after other nodes failed");
        }
    }
}
