//! What a session cannot decide alone: the operations that it wants carried out, and how they end.

use broker::{Place, Publish, Published};
use chassis::auth::{Identity, TokenError};
use proto::{
    Channel, Cursor, GapReason, HistoryItem, MessageId, Position, PresenceEntry, Room, SessionId, Tenant,
    UserId,
};

use crate::endpoint::offline::Device;
use crate::peer::standing::Record;

/// An operation.
#[derive(Debug)]
pub(crate) enum Operation {
    /// Check a token.
    Verify {
        token: String,
        purpose: Purpose,
    },
    /// Listen to the channels that every session of the user listens to: their own and everyone's, these rooms, and those
    /// that the backend put the user into; from these positions on. And take a place among the user's sessions.
    Admit {
        tenant: Tenant,
        user: PresenceEntry,
        rooms: Vec<Room>,
        since: Cursor,
        /// Which of the user's devices it is, where what it missed is remembered.
        device: Option<Device>,
        place: Option<Place>,
        keep: Keep,
    },
    /// Look for the session that a client wants to go on with.
    Recall {
        key: SessionId,
    },
    /// Listen to rooms that the client did not ask for.
    Follow {
        tenant: Tenant,
        user: PresenceEntry,
        rooms: Vec<Room>,
    },
    /// Look up the rooms that the backend put the user into, and whether the session still has its place.
    Review {
        tenant: Tenant,
        user: UserId,
        place: Option<Place>,
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
        publish: Box<Publish>,
    },
    /// Find out who is there.
    Presence {
        room: Room,
        channel: Channel,
    },
    /// Find out who is online.
    Online {
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

/// A room that a session was put into.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) room: Room,
    /// From where it is fed.
    pub(crate) position: Position,
    pub(crate) user_count: Option<u64>,
}

/// Whether a session is kept for its client to come back to.
#[derive(Debug)]
pub(crate) enum Keep {
    /// It is not.
    No,
    /// It begins.
    New,
    /// It goes on, if nothing is missing.
    Resumed(Box<Resumed>),
}

/// A session that goes on: in these rooms too, from these places on.
#[derive(Debug)]
pub(crate) struct Resumed {
    pub(crate) key: SessionId,
    pub(crate) record: Record,
    pub(crate) rooms: Vec<Room>,
    pub(crate) since: Cursor,
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
    Admitted {
        /// The places from which the channels are fed.
        places: Vec<(Channel, Position)>,
        /// The rooms that the session is in.
        rooms: Vec<Room>,
        /// Those that the backend put its user into.
        memberships: Vec<Room>,
        /// The session that it goes on with.
        resumed: Option<SessionId>,
    },
    Reviewed(Vec<Room>),
    /// A newer session has its place.
    Replaced,
    Recalled(Option<Box<Record>>),
    Followed {
        arrived: Vec<Arrived>,
        /// Whether these are all that were wanted.
        all: bool,
    },
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
    Online {
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
    /// The broker does not answer, and nobody asked.
    NotReviewed,
    /// Too much waits for the backend.
    OutboxFull,
    /// The message is stored, but not yet where the channel wants it.
    Unconfirmed,
    /// The broker cannot store it where the channel wants it.
    Unsupported(&'static str),
    /// The broker does not answer, and a session cannot begin without it.
    NotAdmitted,
}
