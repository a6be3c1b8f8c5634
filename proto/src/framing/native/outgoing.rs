//! What a client is sent: a frame for everything that it is told.

use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::ErrorCode;
use crate::message::{GapReason, HistoryItem, Outgoing, PresenceEntry, RequestId, SessionInfo};
use crate::name::{EventName, MessageId, Room, UserId};
use crate::position::Position;
use crate::profile::Profile;
use crate::publication::{Publication, Timestamp};

/// Encodes what a client is told; `id` is that of the request which it answers, and becomes the last field.
pub fn encode(outgoing: &Outgoing<'_>, id: Option<&RequestId>) -> String {
    // Every field is a string, a number, or JSON that was parsed before: there is nothing that could fail.
    let mut text = serde_json::to_string(&Wire::from(outgoing)).unwrap_or_default();
    if let Some(id) = id
        && text.pop() == Some('}')
    {
        text.push_str(",\"id\":");
        text.push_str(id.as_json());
        text.push('}');
    }
    text
}

/// The shape of each server frame.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case", rename_all_fields = "camelCase")]
enum Wire<'a> {
    Welcome {
        node: &'a str,
        heartbeat: u64,
        authenticated: bool,
        timestamp: Timestamp,
    },
    AuthSuccess {
        #[serde(flatten)]
        session: &'a SessionInfo,
        positions: Positions<'a>,
    },
    Joined {
        room: &'a Room,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        recovered: bool,
        #[serde(skip_serializing_if = "is_false")]
        latest: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        user_count: Option<u64>,
    },
    Left {
        room: &'a Room,
    },
    Published {
        room: &'a Room,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
        #[serde(skip_serializing_if = "Option::is_none")]
        position: Option<Position>,
        duplicate: bool,
    },
    Message {
        channel: &'a str,
        #[serde(skip_serializing_if = "is_false")]
        latest: bool,
        #[serde(flatten)]
        item: Item<'a>,
    },
    MemberJoined {
        room: &'a Room,
        #[serde(flatten)]
        user: &'a PresenceEntry,
        user_count: u64,
    },
    MemberLeft {
        room: &'a Room,
        #[serde(flatten)]
        user: &'a PresenceEntry,
        user_count: u64,
    },
    UserOnline {
        #[serde(flatten)]
        user: &'a PresenceEntry,
        user_count: u64,
    },
    UserOffline {
        #[serde(flatten)]
        user: &'a PresenceEntry,
        user_count: u64,
    },
    UserCount {
        channel: &'a str,
        user_count: u64,
    },
    Online {
        users: &'a [PresenceEntry],
        user_count: u64,
    },
    Presence {
        room: &'a Room,
        users: &'a [PresenceEntry],
        user_count: u64,
    },
    History {
        room: &'a Room,
        messages: Vec<Item<'a>>,
        position: Position,
        more: bool,
    },
    Gap {
        channel: &'a str,
        reason: GapReason,
        position: Position,
    },
    Draining {
        reconnect_after: u64,
    },
    Error {
        code: ErrorCode,
        message: &'a str,
        retryable: bool,
        #[serde(skip_serializing_if = "Option::is_none")]
        room: Option<&'a Room>,
        #[serde(skip_serializing_if = "Option::is_none")]
        message_id: Option<&'a MessageId>,
    },
    Ping {
        timestamp: Timestamp,
    },
    Pong {
        timestamp: Timestamp,
    },
}

// As serde calls it.
#[expect(clippy::trivially_copy_pass_by_ref)]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A publication, live or from history.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Item<'a> {
    event: &'a EventName,
    data: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_id: Option<&'a MessageId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    from: Option<From<'a>>,
    timestamp: Timestamp,
}

/// The sender as other clients see them: the session's id stays inside.
#[derive(Serialize)]
struct From<'a> {
    user: &'a UserId,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<&'a Profile>,
}

/// Positions by the public name of their channel, as an object.
struct Positions<'a>(&'a [(String, Position)]);

impl Serialize for Positions<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(channel, position)| (channel, position)))
    }
}

impl<'a> Item<'a> {
    fn new(publication: &'a Publication, position: Option<Position>) -> Self {
        let from = publication.from.as_ref();
        Self {
            event: &publication.event,
            data: &publication.data,
            position,
            message_id: publication.id.as_ref(),
            from: from.map(|sender| From {
                user: &sender.user,
                name: sender.name.as_deref(),
                profile: sender.profile.as_ref(),
            }),
            timestamp: publication.timestamp,
        }
    }
}

impl<'a> Wire<'a> {
    fn from(outgoing: &'a Outgoing<'_>) -> Self {
        match *outgoing {
            Outgoing::Welcome { node, heartbeat, authenticated, timestamp } => {
                Self::Welcome { node, heartbeat, authenticated, timestamp }
            }
            Outgoing::AuthSuccess { session, positions } => {
                Self::AuthSuccess { session, positions: Positions(positions) }
            }
            Outgoing::Joined { room, position, recovered, latest, user_count } => {
                Self::Joined { room, position, recovered, latest, user_count }
            }
            // An answer to a request is told by its id.
            Outgoing::Added { room, position, latest, user_count } => {
                Self::Joined { room, position, recovered: false, latest, user_count }
            }
            Outgoing::Left { room } | Outgoing::Removed { room } => Self::Left { room },
            Outgoing::Published { room, message_id, position, duplicate } => {
                Self::Published { room, message_id, position, duplicate }
            }
            Outgoing::Message { channel, position, latest, publication } => {
                Self::Message { channel, latest, item: Item::new(publication, position) }
            }
            Outgoing::MemberJoined { room, user, user_count } => {
                Self::MemberJoined { room, user, user_count }
            }
            Outgoing::MemberLeft { room, user, user_count } => Self::MemberLeft { room, user, user_count },
            Outgoing::UserOnline { user, user_count } => Self::UserOnline { user, user_count },
            Outgoing::UserOffline { user, user_count } => Self::UserOffline { user, user_count },
            Outgoing::UserCount { channel, user_count } => Self::UserCount { channel, user_count },
            Outgoing::Online { users, user_count } => Self::Online { users, user_count },
            Outgoing::Presence { room, users, user_count } => Self::Presence { room, users, user_count },
            Outgoing::History { room, items, position, more } => {
                let item = |item: &'a HistoryItem| Item::new(&item.publication, Some(item.position));
                Self::History { room, messages: items.iter().map(item).collect(), position, more }
            }
            Outgoing::Gap { channel, reason, position } => Self::Gap { channel, reason, position },
            Outgoing::Draining { reconnect_after } => Self::Draining { reconnect_after },
            Outgoing::Error { code, message, about } => Self::Error {
                code,
                message,
                retryable: code.retryable(),
                room: about.and_then(|about| about.room.as_ref()),
                message_id: about.and_then(|about| about.message_id.as_ref()),
            },
            Outgoing::Ping { timestamp } => Self::Ping { timestamp },
            Outgoing::Pong { timestamp } => Self::Pong { timestamp },
        }
    }
}
