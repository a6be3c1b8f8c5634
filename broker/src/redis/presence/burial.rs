//! Clearing up after nodes that died: whoever notices first removes their notes, and that tells who left.
//!
//! It does no harm when two do it at once, since a note can be removed only once. A claim keeps that seldom.

use std::sync::LazyLock;
use std::time::Duration;

use fred::interfaces::{KeysInterface, SetsInterface};
use fred::types::scripts::Script;
use fred::types::{Expiration, SetOptions, Value};
use futures_util::{TryStreamExt, stream};
use proto::Channel;

use super::{IN_FLIGHT, NOTES_AT_ONCE, Present};
use crate::Unavailable;
use crate::redis::retry::Repeat;

static BURY: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(concat!(
        include_str!("../scripts/enqueue.lua"),
        include_str!("../scripts/news.lua"),
        include_str!("../scripts/bury.lua")
    ))
});

/// How long a claim stands after it was last renewed. Whoever clears up may die as well.
const CLAIM: Duration = Duration::from_secs(2);

impl Present {
    /// Clears up after nodes that died. To be called about once a second.
    pub(in crate::redis) async fn bury_dead(&self) -> Result<(), Unavailable> {
        for life in self.leases.gone(&self.life()).await? {
            if self.claim(&life, Some(SetOptions::NX)).await? {
                self.bury(&life).await?;
            }
        }
        Ok(())
    }

    /// Removes everything that a life noted.
    async fn bury(&self, life: &str) -> Result<(), Unavailable> {
        let index = self.keys.index(life);
        loop {
            let names: Vec<String> = self
                .commands
                .run(Repeat::Harmless, |client, _| {
                    let index = index.clone();
                    async move { client.srandmember(index, Some(NOTES_AT_ONCE)).await }
                })
                .await?;
            if names.is_empty() {
                return self.leases.strike(life).await;
            }
            stream::iter(names.iter().filter_map(|name| Channel::parse(name).ok()).map(Ok))
                .try_for_each_concurrent(
                    IN_FLIGHT,
                    |channel| async move { self.bury_in(&channel, life).await },
                )
                .await?;
            self.commands
                .run(Repeat::Harmless, |client, _| {
                    let (index, names) = (index.clone(), names.clone());
                    async move { client.srem::<(), _, _>(index, names).await }
                })
                .await?;
            self.claim(life, None).await?;
        }
    }

    /// Removes what a life noted in one channel.
    pub(super) async fn bury_in(&self, channel: &Channel, life: &str) -> Result<(), Unavailable> {
        let mut cursor = "0".to_owned();
        loop {
            let arguments: [Value; 3] = [life.into(), cursor.into(), NOTES_AT_ONCE.to_string().into()];
            let crowded: u64;
            (cursor, crowded) = self.change(channel, &BURY, &arguments).await?;
            self.heed(channel, crowded);
            if cursor == "0" {
                return Ok(());
            }
        }
    }

    /// Claims a burial, or renews the claim.
    async fn claim(&self, life: &str, only: Option<SetOptions>) -> Result<bool, Unavailable> {
        let key = self.keys.burial(life);
        let set: Option<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let (key, only) = (key.clone(), only.clone());
                let lasting = Expiration::PX(CLAIM.as_millis() as i64);
                async move { client.set(key, "1", Some(lasting), only, false).await }
            })
            .await?;
        Ok(set.is_some())
    }
}
