//! The broker that joins the nodes of a cluster through Redis.

mod commands;
mod config;
mod keys;
pub mod link;
mod presence;
mod reply;
mod retry;
mod roll;
mod store;
pub mod wire;

use proto::{Channel, NodeId, Position, PresenceEntry, UserId};
use tokio_util::sync::CancellationToken;

use crate::{History, HistoryQuery, Presence, Publish, PublishError, Published, Unavailable};
use commands::Commands;
pub use config::{Address, ConfigError, Credentials, RedisConfig, Topology};
use keys::Keys;
use presence::{Present, RENEWAL};
use store::Store;

/// One node's connections to a Redis that it shares with the others.
pub struct RedisBroker {
    commands: Commands,
    store: Store,
    present: Present,
    closed: CancellationToken,
}

impl RedisBroker {
    /// Connects. A Redis that is away is no error: it is tried again until it is there, and [`RedisBroker::answers`] says so
    /// meanwhile. A refused login is one.
    pub async fn connect(config: RedisConfig, node: NodeId) -> Result<Self, Unavailable> {
        let commands = Commands::connect(&config).await?;
        let keys = Keys::new(config.prefix());
        let store = Store::new(commands.clone(), keys.clone(), config.is_cluster());
        let present = Present::new(commands.clone(), keys, node);
        let closed = CancellationToken::new();
        if let Err(error) = present.renew().await {
            tracing::warn!(%error, "this node is not seen by others yet");
        }
        tokio::spawn(stay(present.clone(), closed.clone()));
        Ok(Self { commands, store, present, closed })
    }

    /// As [`Broker::publish`](crate::Broker::publish)..
    pub async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, PublishError> {
        self.store.publish(channel, &publish).await
    }

    /// As [`Broker::history`](crate::Broker::history)..
    pub async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Unavailable> {
        self.store.history(channel, query).await
    }

    /// As [`Broker::tops`](crate::Broker::tops)..
    pub async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable> {
        self.store.tops(channels).await
    }

    /// As [`Broker::hold`](crate::Broker::hold)..
    pub async fn hold(&self, channel: &Channel, user: &PresenceEntry) -> Result<u64, Unavailable> {
        self.present.hold(channel, user).await
    }

    /// As [`Broker::release`](crate::Broker::release)..
    pub async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable> {
        self.present.release(channel, user).await
    }

    /// As [`Broker::present`](crate::Broker::present)..
    pub async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable> {
        self.present.present(channel, limit).await
    }

    /// Whether commands are answered.
    pub fn answers(&self) -> bool {
        self.commands.answered()
    }

    /// As [`Broker::close`](crate::Broker::close)..
    pub async fn close(&self) {
        self.closed.cancel();
        drop(self.present.end().await);
        self.commands.close().await;
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

#[cfg(test)]
mod tests;
