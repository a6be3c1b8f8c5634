//! Who is in a channel, and what subscribers are told when that changes.

use proto::PresenceEntry;

/// Who is in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// The users, each once, in no order.
    pub users: Vec<PresenceEntry>,
    /// How many users there are, also beyond those listed.
    pub count: u64,
}

/// A change of who is in a channel, over all nodes. `count` is how many users are there after it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PresenceNews {
    /// A user whom no node held is held now.
    Joined {
        /// Who came.
        user: PresenceEntry,
        /// How many users are there now.
        count: u64,
    },
    /// The last node that held the user let go, or died.
    Left {
        /// Who went.
        user: PresenceEntry,
        /// How many users are there now.
        count: u64,
    },
    /// Users came or went in a crowded channel, where names would flood those who listen.
    Count(u64),
}

/// How many users a channel may have for each of them to be told by name, unless configured otherwise.
pub const PRESENCE_LIMIT: u64 = 200;
