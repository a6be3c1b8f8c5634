//! What a client can ask and what it can be told, whatever the framing.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::binary::BinaryPlaces;
use crate::cursor::Cursor;
use crate::error::ErrorCode;
use crate::name::{DeviceId, EventName, MessageId, Room, SessionId, UserId};
use crate::position::Position;
use crate::profile::Profile;
use crate::publication::{Publication, Timestamp};

/// The client's own id of a request, repeated in the reply: a JSON string or number of at most 64 bytes, as written.
#[derive(Debug, Clone, Serialize)]
#[serde(transparent)]
pub struct RequestId(Box<RawValue>);

impl RequestId {
    /// The largest length of the JSON text in bytes.
    pub const MAX: usize = 64;

    /// Takes a JSON string or number; anything else, or a longer one, is refused. So is what only some JSON parsers read:
    /// half a surrogate pair, a number beyond all range.
    pub fn new(raw: &RawValue) -> Option<Self> {
        let text = raw.get();
        if text.len() > Self::MAX {
            return None;
        }
        let readable = match text.as_bytes().first()? {
            b'"' => serde_json::from_str::<Cow<'_, str>>(text).is_ok(),
            b'-' | b'0'..=b'9' => serde_json::from_str::<f64>(text).is_ok(),
            _ => false,
        };
        readable.then(|| Self(raw.to_owned()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

/// A command with the id that its reply repeats.
#[derive(Debug)]
pub struct Request {
    /// Repeated in the reply.
    pub id: Option<RequestId>,
    /// What to do.
    pub command: Command,
}

/// What a client can ask for.
#[derive(Debug)]
pub enum Command {
    /// Authenticate this connection.
    Auth {
        /// A JWT.
        token: String,
        /// The last positions seen of the channels that a session listens to by itself; what came after them is
        /// delivered first.
        since: Cursor,
        /// Which of the user's devices this is; what it missed in the user's channel is delivered first, where `since` does
        /// not say from where.
        device: Option<DeviceId>,
    },
    /// Replace the token before it runs out.
    Refresh {
        /// A JWT of the same user and tenant.
        token: String,
    },
    /// Listen to a room.
    Join {
        /// The room.
        room: Room,
        /// The last position seen; what came after it is delivered first.
        since: Option<Position>,
    },
    /// Stop listening to a room.
    Leave {
        /// The room.
        room: Room,
    },
    /// Publish to a room.
    Publish {
        /// The room.
        room: Room,
        /// The application's name of the event.
        event: EventName,
        /// Any JSON value.
        data: Box<RawValue>,
        /// Where in the data texts stand for binary values.
        binary: BinaryPlaces,
        /// The client's id: a second publish with it is confirmed and not delivered again.
        message_id: Option<MessageId>,
        /// Live only: no position, no history.
        ephemeral: bool,
    },
    /// Who is in a room.
    Presence {
        /// The room.
        room: Room,
    },
    /// Who is online: has a session in the tenant.
    Online,
    /// What was published in a room.
    History {
        /// The room.
        room: Room,
        /// Only what came after this position.
        since: Option<Position>,
        /// At most this many; the server has a limit of its own.
        limit: Option<u32>,
    },
    /// A sign of life.
    Ping,
}

/// The sort of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// [`Command::Auth`].
    Auth,
    /// [`Command::Refresh`].
    Refresh,
    /// [`Command::Join`].
    Join,
    /// [`Command::Leave`].
    Leave,
    /// [`Command::Publish`].
    Publish,
    /// [`Command::Presence`].
    Presence,
    /// [`Command::Online`].
    Online,
    /// [`Command::History`].
    History,
    /// [`Command::Ping`].
    Ping,
}

impl Action {
    /// All of them with the word for each, as `errors` of a vocabulary uses it.
    pub const ALL: [(&'static str, Self); 9] = [
        ("auth", Self::Auth),
        ("refresh", Self::Refresh),
        ("join", Self::Join),
        ("leave", Self::Leave),
        ("publish", Self::Publish),
        ("presence", Self::Presence),
        ("online", Self::Online),
        ("history", Self::History),
        ("ping", Self::Ping),
    ];
}

/// What a command was about, for the error that answers it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About {
    /// The sort of the command.
    pub action: Action,
    /// The room that it named.
    pub room: Option<Room>,
    /// The message id that it carried.
    pub message_id: Option<MessageId>,
}

impl Command {
    /// What the command is about.
    pub fn about(&self) -> About {
        let (action, room, message_id) = match self {
            Self::Auth { .. } => (Action::Auth, None, None),
            Self::Refresh { .. } => (Action::Refresh, None, None),
            Self::Join { room, .. } => (Action::Join, Some(room), None),
            Self::Leave { room } => (Action::Leave, Some(room), None),
            Self::Publish { room, message_id, .. } => (Action::Publish, Some(room), message_id.as_ref()),
            Self::Presence { room } => (Action::Presence, Some(room), None),
            Self::Online => (Action::Online, None, None),
            Self::History { room, .. } => (Action::History, Some(room), None),
            Self::Ping => (Action::Ping, None, None),
        };
        About { action, room: room.cloned(), message_id: message_id.cloned() }
    }
}

/// Why a frame is not a command. The connection stays open.
#[derive(Debug)]
pub struct Invalid {
    /// The id of the request, where it could be read.
    pub id: Option<RequestId>,
    /// The code to answer with.
    pub code: ErrorCode,
    /// What is wrong, for a person; holds no content of the frame.
    pub message: String,
}

/// Why a session is not given part of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum GapReason {
    /// The history no longer reaches back that far.
    Trimmed,
    /// The stream began anew: what it held is gone.
    Reset,
    /// The stream now holds other publications than those that were delivered: a failover lost some.
    Fork,
}

impl GapReason {
    /// The stable word, for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Trimmed => "trimmed",
            Self::Reset => "reset",
            Self::Fork => "fork",
        }
    }
}

/// The session as its client is told about it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionInfo {
    /// Unique in the cluster.
    pub session: SessionId,
    /// Who the token says the client is.
    pub user: UserId,
    /// The user's name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the application shows of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// When the token runs out, seconds since the Unix epoch.
    pub expires_at: u64,
}

/// One user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PresenceEntry {
    /// The user.
    pub user: UserId,
    /// The user's name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the application shows of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
}

/// A publication with its place.
#[derive(Debug, Clone)]
pub struct HistoryItem {
    /// Where it stands.
    pub position: Position,
    /// The message.
    pub publication: Publication,
}

/// What a client can be told, whatever the framing. `channel` is always the public name (`room:lobby`, `user:42`, `all`).
#[derive(Debug)]
pub enum Outgoing<'a> {
    /// The first frame of every connection.
    Welcome {
        /// The node that serves it.
        node: &'a str,
        /// How often the server pings, in milliseconds.
        heartbeat: u64,
        /// Whether a token came with the connection; if not, `auth` is expected.
        authenticated: bool,
        /// When it was sent.
        timestamp: Timestamp,
    },
    /// The token was accepted, by `auth` or `refresh`.
    AuthSuccess {
        /// The session.
        session: &'a SessionInfo,
        /// The places of the channels that a session listens to by itself.
        positions: &'a [(String, Position)],
    },
    /// The session listens to a room.
    Joined {
        /// The room.
        room: &'a Room,
        /// The place from which it is fed; absent where the room keeps no history.
        position: Option<Position>,
        /// Whether everything after `since` was or will be delivered; where only the newest matters, that one.
        recovered: bool,
        /// Whether only the newest publication of the room matters.
        latest: bool,
        /// How many users are in the room, over the whole cluster; absent where presence is off.
        user_count: Option<u64>,
    },
    /// The session listens to a room no more.
    Left {
        /// The room.
        room: &'a Room,
    },
    /// The session listens to a room that it did not ask for: the backend put its user there.
    Added {
        /// The room.
        room: &'a Room,
        /// The place from which it is fed; absent where the room keeps no history.
        position: Option<Position>,
        /// Whether only the newest publication of the room matters.
        latest: bool,
        /// How many users are in the room, over the whole cluster; absent where presence is off.
        user_count: Option<u64>,
    },
    /// The session listens to a room no more that it did not ask to leave.
    Removed {
        /// The room.
        room: &'a Room,
    },
    /// A publish is safe.
    Published {
        /// The room it went to.
        room: &'a Room,
        /// The client's id of it.
        message_id: Option<&'a MessageId>,
        /// Where it stands; absent for an ephemeral one.
        position: Option<Position>,
        /// Whether the same id was published before; nothing was delivered again.
        duplicate: bool,
    },
    /// A publication in a channel the session listens to.
    Message {
        /// The channel's public name.
        channel: &'a str,
        /// Where it stands; absent for an ephemeral one.
        position: Option<Position>,
        /// Whether only the newest publication of the channel matters, so that some before this one may have been left out.
        latest: bool,
        /// The message.
        publication: &'a Publication,
    },
    /// A user who was not in the room joined it, with whichever of their sessions.
    MemberJoined {
        /// The room.
        room: &'a Room,
        /// Who joined.
        user: &'a PresenceEntry,
        /// How many users are in the room now.
        user_count: u64,
    },
    /// The last session of a user left the room.
    MemberLeft {
        /// The room.
        room: &'a Room,
        /// Who left.
        user: &'a PresenceEntry,
        /// How many users are in the room now.
        user_count: u64,
    },
    /// The first session of a user in the tenant has come.
    UserOnline {
        /// Who came.
        user: &'a PresenceEntry,
        /// How many users are online now.
        user_count: u64,
    },
    /// The last session of a user in the tenant is gone.
    UserOffline {
        /// Who went.
        user: &'a PresenceEntry,
        /// How many users are online now.
        user_count: u64,
    },
    /// Users came or went where there are too many for each to be told.
    UserCount {
        /// The channel's public name.
        channel: &'a str,
        /// How many users are there now.
        user_count: u64,
    },
    /// Who is online.
    Online {
        /// The users, in no order, at most as many as the server's limit.
        users: &'a [PresenceEntry],
        /// How many there are.
        user_count: u64,
    },
    /// Who is in a room.
    Presence {
        /// The room.
        room: &'a Room,
        /// The users, in no order, at most as many as the server's limit.
        users: &'a [PresenceEntry],
        /// How many there are.
        user_count: u64,
    },
    /// What was published in a room, oldest first.
    History {
        /// The room.
        room: &'a Room,
        /// The publications.
        items: &'a [HistoryItem],
        /// The place after the last item: ask again with it as `since`.
        position: Position,
        /// Whether there is more after the last item.
        more: bool,
    },
    /// A part of the channel cannot be delivered.
    Gap {
        /// The channel's public name.
        channel: &'a str,
        /// Why.
        reason: GapReason,
        /// The place from which delivery goes on.
        position: Position,
    },
    /// The node will close this connection: connect again after the delay, it goes to another node.
    Draining {
        /// Milliseconds.
        reconnect_after: u64,
    },
    /// A request failed, or a frame was not understood.
    Error {
        /// What went wrong.
        code: ErrorCode,
        /// What went wrong, for a person.
        message: &'a str,
        /// The command that failed; absent where the frame was none.
        about: Option<&'a About>,
    },
    /// A question for a sign of life, for clients that cannot answer the ping of the transport.
    Ping {
        /// When it was sent.
        timestamp: Timestamp,
    },
    /// The answer to `ping`.
    Pong {
        /// When it was sent.
        timestamp: Timestamp,
    },
}
