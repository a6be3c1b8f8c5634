//! What callers send: the shapes on the wire, and the checked order that follows from one.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use proto::{
    BinaryPlaces, Channel, ChannelRules, Durability, EventName, MessageId, PlaceError, Room, Tenant, UserId,
};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use crate::refusal::{Refusal, at};

/// The most users that one message may name.
pub(crate) const MAX_USERS: usize = 1000;
/// The most items of a batch.
pub(crate) const MAX_ITEMS: usize = 1000;
/// The most channels that a batch may publish to, over all its items.
pub(crate) const MAX_BATCH_CHANNELS: usize = 10_000;

/// A message and where it goes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"to": {"room": "lobby"}, "event": "message:new", "data": {"text": "hello"}, "id": "order-4711"})))]
pub(crate) struct PublishRequest {
    /// Who gets it.
    pub(crate) to: To,
    /// The application's name of what happened: 1 to 128 bytes of printable text.
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) event: String,
    /// Any JSON value; passed on as it was written.
    #[schema(value_type = serde_json::Value)]
    pub(crate) data: Box<RawValue>,
    /// JSON pointers to texts in `data` that are Base64 of binary data, at most ten: clients of Socket.IO get bytes there,
    /// everybody else the texts.
    #[serde(default)]
    #[schema(max_items = 10)]
    pub(crate) binary: Vec<Pointer>,
    /// Your own id of this message, 1 to 128 bytes of printable text. Repeating a call with the same id within five
    /// minutes publishes once.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128, pattern = r"^[^\x00-\x1f\x7f-\x9f]+$")]
    pub(crate) id: Option<String>,
    /// Only for whoever is connected now: not stored, no position.
    #[serde(default)]
    pub(crate) ephemeral: bool,
    /// Where the message must be before the call is answered 200: in Redis' `memory`, in that of a `replica` too, or on its
    /// disk (`fsync`). Absent, it is what the channel is configured for, which is `memory` unless somebody said otherwise.
    #[serde(default, deserialize_with = "present")]
    #[schema(schema_with = crate::openapi::durability)]
    pub(crate) durability: Option<Durability>,
    /// Another tenant than the caller's own, for callers that may publish to any.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 64, pattern = r"^[A-Za-z0-9_.:@+=|~-]+$")]
    pub(crate) tenant: Option<String>,
}

/// A place in the data: a JSON pointer (RFC 6901).
#[derive(Debug, Deserialize, ToSchema)]
#[schema(max_length = 512, pattern = "^(/([^~/]|~[01])*)*$", examples("/photo"))]
pub(crate) struct Pointer(String);

/// Who gets a message: exactly one of these keys.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "ToFields")]
pub(crate) enum To {
    /// Everyone in a room.
    Room(String),
    /// Every session of a user.
    User(String),
    /// Every session of each of these users, 1 to 1000 of them; who is named twice gets it once.
    Users(Vec<String>),
    /// Everyone who follows a user: the members of the room `followers:<user>`.
    Followers(String),
    /// Everyone of the tenant; always `true`.
    All(bool),
}

/// The keys of [`To`] as they come. None of them may be `null`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToFields {
    #[serde(default, deserialize_with = "present")]
    room: Option<String>,
    #[serde(default, deserialize_with = "present")]
    user: Option<String>,
    #[serde(default, deserialize_with = "present")]
    users: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    followers: Option<String>,
    #[serde(default, deserialize_with = "present")]
    all: Option<bool>,
}

/// Reads what may be absent, and may not be `null`.
pub(crate) fn present<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<T>, D::Error> {
    T::deserialize(from).map(Some)
}

impl TryFrom<ToFields> for To {
    type Error = &'static str;

    fn try_from(fields: ToFields) -> Result<Self, Self::Error> {
        let ToFields { room, user, users, followers, all } = fields;
        let targets = [
            room.map(Self::Room),
            user.map(Self::User),
            users.map(Self::Users),
            followers.map(Self::Followers),
            all.map(Self::All),
        ];
        let mut targets = targets.into_iter().flatten();
        match (targets.next(), targets.next()) {
            (Some(Self::All(false)), None) => Err("all must be true"),
            (Some(target), None) => Ok(target),
            _ => Err("needs exactly one of room, user, users, followers and all"),
        }
    }
}

/// Refuses data of so many bytes where the channel does not take as much.
pub(crate) fn fits(size: usize, channel: &Channel, rules: &ChannelRules) -> Result<(), Refusal> {
    let max = rules.of(channel).max_message;
    if size <= max {
        Ok(())
    } else {
        Err(Refusal::DataTooLarge { size, max, channel: channel.public_name() })
    }
}

/// Several messages. Each item is read by itself, so that a wrong one does not fail the others.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(examples(json!({"items": [{"to": {"room": "lobby"}, "event": "message:new", "data": {"text": "hello"}, "id": "order-4711"}]})))]
pub(crate) struct BatchRequest {
    /// The messages, at most 1000.
    #[schema(value_type = Vec<PublishRequest>, min_items = 1, max_items = 1000)]
    pub(crate) items: Vec<Box<RawValue>>,
}

/// A checked message with the channels that it goes to.
#[derive(Debug)]
pub(crate) struct Order {
    /// Each channel once, in the order of the request.
    pub(crate) channels: Vec<Channel>,
    pub(crate) event: EventName,
    pub(crate) data: Box<RawValue>,
    pub(crate) binary: BinaryPlaces,
    pub(crate) id: Option<MessageId>,
    /// Under which a repeated call publishes once; the message's id unless the call said otherwise.
    pub(crate) idempotency: Option<MessageId>,
    /// For how long, if not as long as usual.
    pub(crate) remembered: Option<Duration>,
    pub(crate) ephemeral: bool,
    /// What was asked for; otherwise each channel says.
    pub(crate) durability: Option<Durability>,
}

impl Order {
    /// Checks every name and the size of the data. `tenant` is the one that was settled for the caller.
    pub(crate) fn check(
        request: PublishRequest,
        tenant: &Tenant,
        rules: &ChannelRules,
    ) -> Result<Self, Refusal> {
        let channels = channels(&request.to, tenant)?;
        let pointers = request.binary.into_iter().map(|Pointer(pointer)| pointer).collect();
        let binary = BinaryPlaces::new(pointers, &request.data).map_err(|(index, error)| {
            let pointer = format!("/binary/{index}");
            match error {
                PlaceError::NotBase64 => Refusal::NotBinary { pointer },
                PlaceError::TooMany | PlaceError::NotAPointer => {
                    Refusal::malformed(pointer, error.to_string())
                }
            }
        })?;
        let size = binary.size(&request.data);
        for channel in &channels {
            fits(size, channel, rules)?;
        }
        if request.durability.is_some_and(|asked| asked != Durability::Memory) {
            if request.ephemeral {
                return Err(Refusal::malformed("/durability", "an ephemeral message is stored nowhere"));
            }
            if channels.iter().any(|channel| rules.of(channel).history_size == 0) {
                return Err(Refusal::Unsupported("the channel stores nothing"));
            }
        }
        let event = EventName::new(&request.event).map_err(at("/event"))?;
        let id = request.id.map(|id| MessageId::new(id).map_err(at("/id"))).transpose()?;
        let idempotency = id.clone();
        let PublishRequest { data, ephemeral, durability, .. } = request;
        Ok(Self { channels, event, data, binary, id, idempotency, remembered: None, ephemeral, durability })
    }

    /// Makes repeating the call safe under a text of any length, which names nothing.
    pub(crate) fn repeat_under_digest(&mut self, text: &str) -> Result<(), Refusal> {
        let hex = digest(&SHA256, text.as_bytes()).as_ref().iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string does not fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        });
        self.idempotency = Some(MessageId::new(hex).map_err(at("/id"))?);
        Ok(())
    }

    /// Makes repeating the call safe under a key of its own, which also names a message that has no id.
    pub(crate) fn repeat_under(&mut self, key: &str) -> Result<(), Refusal> {
        let wrong = |error| Refusal::malformed("", format!("Idempotency-Key {error}"));
        let key = MessageId::new(key).map_err(wrong)?;
        self.id.get_or_insert_with(|| key.clone());
        self.idempotency = Some(key);
        Ok(())
    }
}

fn channels(to: &To, tenant: &Tenant) -> Result<Vec<Channel>, Refusal> {
    match to {
        To::Room(room) => Ok(vec![Channel::room(tenant, &Room::new(room).map_err(at("/to/room"))?)]),
        To::User(user) => Ok(vec![Channel::user(tenant, &UserId::new(user).map_err(at("/to/user"))?)]),
        To::Followers(user) => {
            let user = UserId::new(user).map_err(at("/to/followers"))?;
            Ok(vec![Channel::room(tenant, &Room::followers(&user).map_err(at("/to/followers"))?)])
        }
        To::All(_) => Ok(vec![Channel::everyone(tenant)]),
        To::Users(users) if users.is_empty() || users.len() > MAX_USERS => {
            Err(Refusal::malformed("/to/users", format!("must name 1 to {MAX_USERS} users")))
        }
        To::Users(users) => {
            let mut seen = HashSet::with_capacity(users.len());
            let mut channels = Vec::with_capacity(users.len());
            for (index, user) in users.iter().enumerate() {
                if seen.insert(user) {
                    let user = UserId::new(user).map_err(at(format!("/to/users/{index}")))?;
                    channels.push(Channel::user(tenant, &user));
                }
            }
            Ok(channels)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::refusal::read_json;

    fn check(to: &str, event: &str, data: &str) -> Result<Order, Refusal> {
        let text = format!(r#"{{"to":{to},"event":"{event}","data":{data}}}"#);
        Order::check(read_json(text.as_bytes())?, &Tenant::new("t").unwrap(), &ChannelRules::default())
    }

    fn names(to: &str) -> Vec<String> {
        check(to, "e", "1").unwrap().channels.iter().map(|channel| channel.as_str().to_owned()).collect()
    }

    #[test]
    fn each_target_is_a_channel_of_the_tenant() {
        assert_eq!(names(r#"{"room":"lobby"}"#), ["t/r/lobby"]);
        assert_eq!(names(r#"{"user":"1"}"#), ["t/u/1"]);
        assert_eq!(names(r#"{"followers":"1"}"#), ["t/r/followers:1"]);
        assert_eq!(names(r#"{"all":true}"#), ["t/a/"]);
        assert_eq!(names(r#"{"users":["2","1","2"]}"#), ["t/u/2", "t/u/1"]);
    }

    #[test]
    fn exactly_one_target_is_taken() {
        for to in [
            r"{}",
            r#"{"room":"a","user":"b"}"#,
            r#"{"room":"a","all":true}"#,
            r#"{"all":false}"#,
            r#"{"room":null}"#,
            r#"{"room":"a","user":null}"#,
            r#"{"users":[]}"#,
            r#"{"rooms":["a"]}"#,
            r#""lobby""#,
            "null",
        ] {
            let refusal = check(to, "e", "1").unwrap_err();
            assert_eq!(refusal.status(), 400, "{to}");
            assert!(refusal.pointer().unwrap().starts_with("/to"), "{to}: {refusal:?}");
        }
    }

    #[test]
    fn a_thousand_users_are_the_most() {
        let users = |count: usize| {
            let list: Vec<_> = (0..count).map(|user| format!(r#""{user}""#)).collect();
            check(&format!(r#"{{"users":[{}]}}"#, list.join(",")), "e", "1")
        };
        assert_eq!(users(1000).unwrap().channels.len(), 1000);
        assert_eq!(users(1001).unwrap_err().pointer(), Some("/to/users"));
    }

    #[test]
    fn a_wrong_name_is_refused_at_its_place() {
        let place = |to: &str, event| check(to, event, "1").unwrap_err();
        for (refusal, pointer) in [
            (place(r#"{"room":"a/b"}"#, "e"), "/to/room"),
            (place(r#"{"user":""}"#, "e"), "/to/user"),
            (place(&format!(r#"{{"followers":"{}"}}"#, "x".repeat(119)), "e"), "/to/followers"),
            (place(r#"{"users":["a","b c"]}"#, "e"), "/to/users/1"),
            (place(r#"{"room":"a"}"#, ""), "/event"),
        ] {
            assert_eq!((refusal.code().as_str(), refusal.pointer()), ("invalid_name", Some(pointer)));
        }
    }

    #[test]
    fn data_is_kept_as_written_up_to_the_channels_limit() {
        let data = r#"{ "n": 1.50, "b":[ ] }"#;
        assert_eq!(check(r#"{"room":"a"}"#, "e", data).unwrap().data.get(), data);
        let long = format!(r#""{}""#, "x".repeat(32 * 1024 - 2));
        assert!(check(r#"{"room":"a"}"#, "e", &long).is_ok());
        assert_eq!(
            check(r#"{"room":"a"}"#, "e", &format!("{long} ").replace("\" ", "y\"")).unwrap_err().status(),
            413
        );
    }
}
