//! What nodes keep for each other: strings with a life.

use std::time::Duration;

use bytes::Bytes;
use fred::interfaces::KeysInterface;
use fred::types::Expiration;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::{KeptKey, Unavailable};

/// How many lives are made longer at a time.
const IN_FLIGHT: usize = 64;

/// See the module's documentation.
#[derive(Clone)]
pub(super) struct Kept {
    commands: Commands,
    keys: Keys,
}

impl Kept {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    pub(super) async fn keep(&self, key: &KeptKey, value: &Bytes, life: Duration) -> Result<(), Unavailable> {
        let key = self.keys.kept(key);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, value, life) = (key.clone(), value.clone(), Expiration::PX(millis(life)));
                async move { client.set::<(), _, _>(key, value, Some(life), None, false).await }
            })
            .await
    }

    pub(super) async fn get(&self, key: &KeptKey) -> Result<Option<Bytes>, Unavailable> {
        let key = self.keys.kept(key);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.get(key).await }
            })
            .await
    }

    /// Which of them are there, in their order.
    pub(super) async fn prolong(&self, keys: &[KeptKey], life: Duration) -> Result<Vec<bool>, Unavailable> {
        let prolong = |key: &KeptKey| {
            let key = self.keys.kept(key);
            async move {
                self.commands
                    .run(Repeat::Harmless, |client, _| {
                        let key = key.clone();
                        async move { client.pexpire::<i64, _>(key, millis(life), None).await }
                    })
                    .await
                    .map(|there| there > 0)
            }
        };
        stream::iter(keys.iter().map(prolong)).buffered(IN_FLIGHT).try_collect().await
    }

    pub(super) async fn discard(&self, key: &KeptKey) -> Result<(), Unavailable> {
        let key = self.keys.kept(key);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.del::<(), _>(key).await }
            })
            .await
    }
}

fn millis(life: Duration) -> i64 {
    i64::try_from(life.as_millis()).unwrap_or(i64::MAX)
}
