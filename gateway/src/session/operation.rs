//! What a session cannot decide alone: the operations that it wants carried out, and how they end.

use broker::{Publish, Published};
use chassis::auth::{Identity, TokenError};
use proto::{Channel, GapReason, HistoryItem, MessageId, Position, PresenceEntry, Room};

/// An operation.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Check a token.
    Verify {
        token: String,
        purpose: Purpose,
    },
    /// Listen to the channels that every session listens to, from these places on.
    Admit {
        channels: [Channel; 2],
        since: [Option<Position>; 2],
    },
    /// Listen to a room, from `since` on, and be seen there as `presence`.
    Join {
        room: Room,
        channel: Channel,
        since: Option<Position>,
        presence: Option<PresenceEntry>,
    },
    Publish {
        room: Room,
        channel: Channel,
        publish: Publish,
    },
    /// Find out who is there.
    Presence {
        room: Room,
        channel: Channel,
    },
    /// Read the stream.
    History {
        room: Room,
        channel: Channel,
        since: Option<Position>,
        limit: u32,
    },
}

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To begin a session.
    Authenticate,
    /// To go on with one.
    Refresh,
}

/// How an operation ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Verified(Purpose, Result<Box<Identity>, TokenError>),
    /// The places from which the channels are fed.
    Admitted(Vec<(Channel, Position)>),
    Joined {
        room: Room,
        /// From where it is fed.
        position: Position,
        recovered: bool,
        user_count: Option<u64>,
    },
    Published {
        room: Room,
        id: Option<MessageId>,
        published: Published,
    },
    Presence {
        room: Room,
        users: Vec<PresenceEntry>,
        user_count: u64,
    },
    History {
        channel: Channel,
        room: Room,
        items: Vec<HistoryItem>,
        position: Position,
        gap: Option<GapReason>,
        more: bool,
    },
    Failed(Failure),
}

/// Why an operation failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The broker does not answer.
    Unavailable,
    /// The message id stands for another message.
    Conflict,
    /// The broker does not answer, and a session cannot begin without it.
    NotAdmitted,
}
