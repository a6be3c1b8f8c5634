//! Which sessions have the places that users may have: a sorted set for each user and circle.
//!
//! What a node that died leaves there goes as the oldest, or with the set.

use std::sync::LazyLock;

use fred::interfaces::SortedSetsInterface;
use fred::types::Value;
use fred::types::scripts::Script;

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::{PLACE_KEPT, Place, Unavailable};

static PLACE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/place.lua")));

/// The places of all users.
#[derive(Clone)]
pub(super) struct Places {
    commands: Commands,
    keys: Keys,
    /// `PUBLISH` or `SPUBLISH`.
    verb: &'static str,
}

impl Places {
    pub(super) const fn new(commands: Commands, keys: Keys, verb: &'static str) -> Self {
        Self { commands, keys, verb }
    }

    /// Gives a session a place; answers whether it has one.
    pub(super) async fn claim(&self, place: &Place, again: bool) -> Result<bool, Unavailable> {
        let keys = [self.keys.places(&place.user, &place.circle)];
        let arguments: [Value; 6] = [
            place.session.as_str().into(),
            place.limit.max(1).to_string().into(),
            u8::from(again).to_string().into(),
            PLACE_KEPT.as_millis().to_string().into(),
            self.keys.channel(&place.user).into(),
            self.verb.into(),
        ];
        let has: u64 = self.commands.script(Repeat::Harmless, &PLACE, &keys, |_| arguments.to_vec()).await?;
        Ok(has != 0)
    }

    /// Gives a place up.
    pub(super) async fn waive(&self, place: &Place) -> Result<(), Unavailable> {
        let key = self.keys.places(&place.user, &place.circle);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, session) = (key.clone(), place.session.as_str().to_owned());
                async move { client.zrem::<(), _, _>(key, session).await }
            })
            .await
    }
}
