//! What a channel keeps and who may use it, chosen by the first pattern that fits its name.

use std::time::Duration;

use serde::Deserialize;

use crate::channel::{Channel, Kind};
use crate::pattern::Pattern;

/// Who may do a thing in a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Any authenticated user of the tenant.
    Anyone,
    /// Users whose token lists the room, or a pattern that fits it.
    Listed,
    /// Sessions that have joined (for publishing; for joining it means the same as `Listed`).
    Members,
    /// No client; backends publish over HTTP.
    Nobody,
}

/// Where a publication must be before its publisher is told that it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// In the memory of the server that stores it.
    #[default]
    Memory,
    /// In that of one of its replicas too.
    Replica,
    /// On that server's disk.
    Fsync,
}

impl Durability {
    /// The whole catalogue.
    pub const ALL: [Self; 3] = [Self::Memory, Self::Replica, Self::Fsync];

    /// The word in requests and configurations.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Replica => "replica",
            Self::Fsync => "fsync",
        }
    }
}

/// The options of a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChannelOptions {
    /// How many publications the stream keeps at least; 0 keeps none, so the channel is live only.
    pub history_size: u32,
    /// How long the stream is kept after its last publication.
    pub history_age: Duration,
    /// Whether who is there is tracked.
    pub presence: bool,
    /// Who may join.
    pub join: Access,
    /// Which clients may publish.
    pub publish: Access,
    /// The largest data of a publication, in bytes of JSON.
    pub max_message: usize,
    /// Whether the backend is told, at least once, what clients publish.
    pub outbox: bool,
    /// Whether the backend is told, in the same way, when the first user comes and when the last one goes.
    pub outbox_presence: bool,
    /// How much may wait for the backend before clients are refused to publish.
    pub outbox_size: u32,
    /// Where what is stored must be before its publisher is told so, unless the publisher asked for something else.
    pub durability: Durability,
    /// Whether only the newest publication matters: who falls behind is given that one alone.
    pub latest: bool,
}

impl ChannelOptions {
    /// How much may wait in the outbox, where the backend is told of presence.
    pub fn reports_presence(&self) -> Option<u32> {
        (self.presence && self.outbox_presence).then_some(self.outbox_size)
    }

    /// The defaults for a sort of channel.
    ///
    /// A room keeps enough to bridge a reconnect. A user's channel keeps the last messages for a day, since
    /// a user is often away. Everyone's channel is for announcements.
    pub const fn default_for(kind: Kind) -> Self {
        let room = Self {
            history_size: 1000,
            history_age: Duration::from_secs(3600),
            presence: true,
            join: Access::Listed,
            publish: Access::Members,
            max_message: 32 * 1024,
            outbox: false,
            outbox_presence: false,
            outbox_size: 10_000,
            durability: Durability::Memory,
            latest: false,
        };
        match kind {
            Kind::Room => room,
            Kind::User => Self {
                history_size: 100,
                history_age: Duration::from_secs(24 * 3600),
                presence: false,
                publish: Access::Nobody,
                ..room
            },
            Kind::Everyone => Self { history_size: 100, presence: false, publish: Access::Nobody, ..room },
        }
    }
}

/// The rules of all channels: the first pattern that fits a channel's public name decides, then the defaults.
#[derive(Debug, Clone)]
pub struct ChannelRules {
    rules: Vec<(Pattern, ChannelOptions)>,
    user: ChannelOptions,
    room: ChannelOptions,
    everyone: ChannelOptions,
}

impl Default for ChannelRules {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl ChannelRules {
    /// Rules in order of precedence, over the defaults.
    pub const fn new(rules: Vec<(Pattern, ChannelOptions)>) -> Self {
        Self {
            rules,
            user: ChannelOptions::default_for(Kind::User),
            room: ChannelOptions::default_for(Kind::Room),
            everyone: ChannelOptions::default_for(Kind::Everyone),
        }
    }

    /// Whether any channel may have an outbox.
    pub fn fill_outboxes(&self) -> bool {
        self.rules.iter().any(|(_, options)| options.outbox || options.outbox_presence)
    }

    /// The options of a channel.
    pub fn of(&self, channel: &Channel) -> &ChannelOptions {
        let fallback = match channel.kind() {
            Kind::User => &self.user,
            Kind::Room => &self.room,
            Kind::Everyone => &self.everyone,
        };
        if self.rules.is_empty() {
            return fallback;
        }
        let name = channel.public_name();
        self.rules.iter().find(|(pattern, _)| pattern.matches(&name)).map_or(fallback, |(_, options)| options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::name::{Room, Tenant, UserId};

    #[test]
    fn the_first_rule_that_fits_decides() {
        let quiet = ChannelOptions { history_size: 0, ..ChannelOptions::default_for(Kind::Room) };
        let long = ChannelOptions { history_size: 9, ..ChannelOptions::default_for(Kind::Room) };
        let rules = ChannelRules::new(vec![
            (Pattern::new("room:typing-*").unwrap(), quiet),
            (Pattern::new("room:*").unwrap(), long),
        ]);
        let tenant = Tenant::new("t").unwrap();
        let size = |channel: &Channel| rules.of(channel).history_size;
        assert_eq!(size(&Channel::room(&tenant, &Room::new("typing-1").unwrap())), 0);
        assert_eq!(size(&Channel::room(&tenant, &Room::new("lobby").unwrap())), 9);
        assert_eq!(size(&Channel::user(&tenant, &UserId::new("1").unwrap())), 100);
    }
}
