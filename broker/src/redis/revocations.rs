//! What is revoked: two sorted sets of the same texts, by the order in which they came and by their end.

use std::sync::LazyLock;

use fred::types::Value;
use fred::types::scripts::Script;
use proto::Timestamp;

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::{REVOKED_MAX, Revocation, Unavailable};

static REVOKE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/revoke.lua")));
static REVOKED: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/revoked.lua")));

/// All that is revoked.
#[derive(Clone)]
pub(super) struct Revocations {
    commands: Commands,
    keys: Keys,
}

impl Revocations {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    pub(super) async fn revoke(&self, text: &str, until: Timestamp) -> Result<bool, Unavailable> {
        let arguments: [Value; 3] = [text.into(), until.0.to_string().into(), REVOKED_MAX.to_string().into()];
        let keys = self.keys.revoked();
        let noted: u64 =
            self.commands.script(Repeat::Harmless, &REVOKE, &keys, |_| arguments.to_vec()).await?;
        Ok(noted != 0)
    }

    pub(super) async fn after(&self, order: u64, limit: usize) -> Result<Vec<Revocation>, Unavailable> {
        let arguments: [Value; 2] = [order.to_string().into(), limit.to_string().into()];
        let keys = self.keys.revoked();
        let found: Vec<(String, u64, u64)> =
            self.commands.script(Repeat::Harmless, &REVOKED, &keys, |_| arguments.to_vec()).await?;
        let read = |(text, order, until)| Revocation { text, until: Timestamp(until), order };
        Ok(found.into_iter().map(read).collect())
    }
}
