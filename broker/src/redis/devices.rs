//! How far users' devices have got: a hash for each user, beside the user's channel.

use std::sync::LazyLock;

use fred::interfaces::HashesInterface;
use fred::types::Value;
use fred::types::scripts::Script;
use proto::{Channel, DeviceId, Epoch, Nonce, Position};

use super::argument::millis;
use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use super::wire::number;
use crate::{DEVICES_MAX, Reached, Unavailable};

static REACH: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/reach.lua")));

/// The devices of all users.
#[derive(Clone)]
pub(super) struct Devices {
    commands: Commands,
    keys: Keys,
}

impl Devices {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    pub(super) async fn reach(&self, reached: &Reached) -> Result<(), Unavailable> {
        let Reached { user, device, position, life } = reached;
        let keys = [self.keys.devices(user), self.keys.meta(user)];
        let arguments: [Value; 6] = [
            device.as_str().into(),
            position.epoch.0.to_string().into(),
            position.offset.to_string().into(),
            position.nonce.0.to_string().into(),
            millis(*life),
            DEVICES_MAX.to_string().into(),
        ];
        self.commands.script(Repeat::Harmless, &REACH, &keys, |_| arguments.to_vec()).await.map(|_: u64| ())
    }

    pub(super) async fn reached(
        &self,
        user: &Channel,
        device: &DeviceId,
    ) -> Result<Option<Position>, Unavailable> {
        let key = self.keys.devices(user);
        let kept: Option<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let (key, device) = (key.clone(), device.as_str().to_owned());
                async move { client.hget(key, device).await }
            })
            .await?;
        Ok(kept.as_deref().and_then(read))
    }
}

/// Reads `<epoch>:<offset>:<nonce>:<when>`.
fn read(kept: &str) -> Option<Position> {
    let mut numbers = kept.split(':').map(|part| number(part.as_bytes()));
    let mut next = || numbers.next().flatten();
    Some(Position { epoch: Epoch(next()?), offset: next()?, nonce: Nonce(next()?) })
}
