//! The native framing: one JSON object a message, `{"type": …}`, described in `proto/asyncapi.yaml`.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::binary::BinaryPlaces;
use crate::cursor::Cursor;
use crate::error::ErrorCode;
use crate::message::{
    Command, GapReason, HistoryItem, Invalid, Outgoing, PresenceEntry, Request, RequestId, SessionInfo,
};
use crate::name::{DeviceId, EventName, MessageId, NameError, Room, UserId};
use crate::position::{Position, PositionError};
use crate::profile::Profile;
use crate::publication::{Publication, Timestamp};

/// Every field that any command has. Fields that a command does not know are ignored, so that a newer client can
/// talk to an older server; a field twice, or of the wrong type, is refused.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Incoming<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    token: Option<String>,
    #[serde(borrow)]
    room: Option<Cow<'a, str>>,
    #[serde(borrow)]
    since: Option<Cow<'a, str>>,
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    message_id: Option<Cow<'a, str>>,
    #[serde(default)]
    ephemeral: bool,
    limit: Option<u32>,
}

/// Decodes a complete text message.
///
/// # Errors
/// [`Invalid`] with the request's id where it could be read. Its message names the field and never quotes content.
pub fn decode(text: &str) -> Result<Request, Invalid> {
    if !super::is_object(text) {
        let message = "not a JSON object".to_owned();
        return Err(Invalid { id: None, code: ErrorCode::InvalidMessage, message });
    }
    let incoming: Incoming<'_> = serde_json::from_str(text).map_err(|error| Invalid {
        id: None,
        code: ErrorCode::InvalidMessage,
        message: describe(&error),
    })?;
    let id = match incoming.id {
        None => None,
        Some(raw) => match RequestId::new(raw) {
            Some(id) => Some(id),
            None => {
                return Err(Invalid {
                    id: None,
                    code: ErrorCode::InvalidMessage,
                    message: format!("id must be a string or number of at most {} bytes", RequestId::MAX),
                });
            }
        },
    };
    match incoming.command() {
        Ok(command) => Ok(Request { id, command }),
        Err((code, message)) => Err(Invalid { id, code, message }),
    }
}

/// Says what is wrong with a JSON text without quoting it.
fn describe(error: &serde_json::Error) -> String {
    match error.classify() {
        serde_json::error::Category::Data => {
            "a field is missing, twice there, or of the wrong type".to_owned()
        }
        _ => format!("not JSON (column {})", error.column()),
    }
}

type Refusal = (ErrorCode, String);

impl Incoming<'_> {
    fn command(self) -> Result<Command, Refusal> {
        Ok(match self.kind.as_ref() {
            "auth" => Command::Auth {
                since: self.cursor()?,
                device: match self.device.as_deref() {
                    Some(device) => Some(name("device", device, DeviceId::new)?),
                    None => None,
                },
                token: required(self.token, "token")?,
            },
            "refresh" => Command::Refresh { token: required(self.token, "token")? },
            "join" => Command::Join { room: self.room()?, since: self.since()? },
            "leave" => Command::Leave { room: self.room()? },
            "publish" => Command::Publish {
                room: self.room()?,
                event: name("event", required(self.event.as_deref(), "event")?, EventName::new)?,
                data: required(self.data, "data")?.to_owned(),
                binary: BinaryPlaces::default(),
                message_id: match self.message_id.as_deref() {
                    Some(id) => Some(name("messageId", id, MessageId::new)?),
                    None => None,
                },
                ephemeral: self.ephemeral,
            },
            "presence" => Command::Presence { room: self.room()? },
            "online" => Command::Online,
            "history" => Command::History { room: self.room()?, since: self.since()?, limit: self.limit },
            "ping" => Command::Ping,
            _ => return Err((ErrorCode::Unknown, "there is no command of this type".to_owned())),
        })
    }

    fn room(&self) -> Result<Room, Refusal> {
        name("room", required(self.room.as_deref(), "room")?, Room::new)
    }

    /// The position of one channel.
    fn since(&self) -> Result<Option<Position>, Refusal> {
        self.since.as_deref().map(str::parse).transpose().map_err(bad_position)
    }

    /// The positions of several channels.
    fn cursor(&self) -> Result<Cursor, Refusal> {
        self.since.as_deref().map_or(Ok(Cursor::default()), str::parse).map_err(bad_position)
    }
}

fn bad_position(error: PositionError) -> Refusal {
    (ErrorCode::InvalidPosition, format!("since {error}"))
}

fn required<T>(field: Option<T>, name: &str) -> Result<T, Refusal> {
    field.ok_or_else(|| (ErrorCode::InvalidMessage, format!("{name} is missing")))
}

fn name<'a, T>(field: &str, text: &'a str, new: fn(&'a str) -> Result<T, NameError>) -> Result<T, Refusal> {
    new(text).map_err(|error| (ErrorCode::InvalidName, format!("{field} {error}")))
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Nonce};
    use proptest::prelude::*;

    fn refused(text: &str) -> (ErrorCode, String, Option<String>) {
        let invalid = decode(text).unwrap_err();
        (invalid.code, invalid.message, invalid.id.map(|id| id.as_json().to_owned()))
    }

    #[test]
    fn a_publish_keeps_its_data_as_written() {
        let text =
            r#"{"type":"publish","id":7,"room":"lobby","event":"chat","data":{"n": 1.50},"messageId":"m1"}"#;
        let request = decode(text).unwrap();
        assert_eq!(request.id.unwrap().as_json(), "7");
        let Command::Publish { room, event, data, message_id, ephemeral, .. } = request.command else {
            panic!("{:?}", request.command)
        };
        assert_eq!((room.as_str(), event.as_str(), data.get()), ("lobby", "chat", r#"{"n": 1.50}"#));
        assert_eq!(message_id.unwrap().as_str(), "m1");
        assert!(!ephemeral);
    }

    #[test]
    fn each_refusal_names_the_field_and_repeats_the_id() {
        assert_eq!(refused("{").0, ErrorCode::InvalidMessage);
        assert_eq!(refused("[]").0, ErrorCode::InvalidMessage);
        let listed = r#"["ping",null,null,null,null,null,null,null,false,null]"#;
        assert_eq!(refused(listed).0, ErrorCode::InvalidMessage);
        assert_eq!(refused(r#"{"type":"join","room":"a","room":"b"}"#).0, ErrorCode::InvalidMessage);
        assert_eq!(refused(r#"{"type":"dance"}"#).0, ErrorCode::Unknown);
        assert_eq!(
            refused(r#"{"type":"join","id":"x"}"#),
            (ErrorCode::InvalidMessage, "room is missing".into(), Some(r#""x""#.into()))
        );
        assert_eq!(refused(r#"{"type":"join","room":"a{b}"}"#).0, ErrorCode::InvalidName);
        assert_eq!(refused(r#"{"type":"join","room":"a","since":"v1"}"#).0, ErrorCode::InvalidPosition);
        for id in ["{}", "true", r#""\ud800""#, "1e999"] {
            assert_eq!(refused(&format!(r#"{{"type":"ping","id":{id}}}"#)).0, ErrorCode::InvalidMessage);
        }
    }

    #[test]
    fn a_refusal_quotes_no_content() {
        for text in
            [r#"{"type":"auth","token":["SECRET"]}"#, r#"{"type":"auth","token":"SECRET"#, r#"SECRET"#]
        {
            assert!(!refused(text).1.contains("SECRET"), "{text}");
        }
    }

    #[test]
    fn frames_have_the_documented_shape() {
        let position = Position { epoch: Epoch(10), offset: 3, nonce: Nonce(255) };
        let room = Room::new("lobby").unwrap();
        let id = decode(r#"{"type":"ping","id":"q"}"#).unwrap().id;
        let joined = Outgoing::Joined {
            room: &room,
            position: Some(position),
            recovered: false,
            latest: false,
            user_count: Some(2),
        };
        assert_eq!(
            encode(&joined, id.as_ref()),
            r#"{"type":"joined","room":"lobby","position":"v1.a.3.ff","recovered":false,"userCount":2,"id":"q"}"#
        );
        let publication = Publication {
            event: EventName::new("chat").unwrap(),
            data: RawValue::from_string("[1.0]".into()).unwrap(),
            binary: BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(5),
        };
        let message = Outgoing::Message {
            channel: "room:lobby",
            position: Some(position),
            latest: false,
            publication: &publication,
        };
        assert_eq!(
            encode(&message, None),
            r#"{"type":"message","channel":"room:lobby","event":"chat","data":[1.0],"position":"v1.a.3.ff","timestamp":5}"#
        );
        let newest = Outgoing::Message {
            channel: "room:r",
            position: Some(position),
            latest: true,
            publication: &publication,
        };
        assert!(
            encode(&newest, None)
                .starts_with(r#"{"type":"message","channel":"room:r","latest":true,"event""#)
        );
        let error = Outgoing::Error { code: ErrorCode::Unavailable, message: "later", about: None };
        assert_eq!(
            encode(&error, None),
            r#"{"type":"error","code":"unavailable","message":"later","retryable":true}"#
        );
    }

    proptest! {
        #[test]
        fn any_text_is_decoded_or_refused(text in any::<String>()) {
            drop(decode(&text));
        }

        #[test]
        fn any_object_is_decoded_or_refused(
            kind in "auth|refresh|join|leave|publish|presence|history|ping|x",
            field in "room|token|since|device|event|data|messageId|limit|ephemeral|id",
            value in r#"null|true|-1|1e999|"a"|"\\u0000"|\[\]|\{\}|"v1.1.1.1""#,
        ) {
            drop(decode(&format!(r#"{{"type":"{kind}","room":"r","{field}2":1,"{field}":{value}}}"#)));
        }
    }
}
