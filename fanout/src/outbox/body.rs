//! What the backend is sent: a letter in JSON, as Standard Webhooks proposes.

use std::time::{Duration, UNIX_EPOCH};

use broker::Letter;
use proto::{
    Channel, EventName, Kind as ChannelKind, MessageId, Position, PresenceEntry, Profile, Publication,
    SessionId, Timestamp, UserId,
};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// What happened: the body of a delivery, and of an entry of a relayed stream.
#[derive(Serialize, ToSchema)]
#[schema(as = Delivery)]
pub(crate) struct Body<'a> {
    /// What sort of thing happened.
    #[serde(rename = "type")]
    #[schema(rename = "type", examples("message.published"))]
    kind: Kind,
    /// When.
    #[schema(format = "date-time", examples("2026-03-01T12:00:00.000Z"))]
    timestamp: String,
    /// What.
    data: Data<'a>,
}

/// The sorts of things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) enum Kind {
    /// A client published a message.
    #[serde(rename = "message.published")]
    Published,
    /// The first user came to a room.
    #[serde(rename = "room.occupied")]
    RoomOccupied,
    /// The last user left a room.
    #[serde(rename = "room.vacated")]
    RoomVacated,
    /// The first session of a user began.
    #[serde(rename = "user.online")]
    UserOnline,
    /// The last session of a user ended.
    #[serde(rename = "user.offline")]
    UserOffline,
    /// The first user of a tenant came.
    #[serde(rename = "tenant.occupied")]
    TenantOccupied,
    /// The last user of a tenant went.
    #[serde(rename = "tenant.vacated")]
    TenantVacated,
}

impl Kind {
    /// A channel was occupied, or vacated.
    const fn of(channel: ChannelKind, occupied: bool) -> Self {
        match (channel, occupied) {
            (ChannelKind::Room, true) => Self::RoomOccupied,
            (ChannelKind::Room, false) => Self::RoomVacated,
            (ChannelKind::User, true) => Self::UserOnline,
            (ChannelKind::User, false) => Self::UserOffline,
            (ChannelKind::Everyone, true) => Self::TenantOccupied,
            (ChannelKind::Everyone, false) => Self::TenantVacated,
        }
    }
}

/// What happened.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryData)]
#[serde(untagged)]
pub(crate) enum Data<'a> {
    /// A message.
    Message(Box<Message<'a>>),
    /// A change of who is there.
    Change(Change<'a>),
}

/// A change of who is there.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveredChange)]
pub(crate) struct Change<'a> {
    /// The tenant.
    #[schema(examples("acme"))]
    tenant: &'a str,
    /// The channel: `room:`, `user:` and a name, or `all`.
    #[schema(examples("room:lobby"))]
    channel: String,
    /// Who came first, or went last.
    user: From,
}

/// A message.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveredMessage)]
pub(crate) struct Message<'a> {
    /// The tenant.
    #[schema(examples("acme"))]
    tenant: &'a str,
    /// The channel: `room:`, `user:` and a name, or `all`.
    #[schema(examples("room:lobby"))]
    channel: String,
    /// The place of the message in its channel.
    #[schema(value_type = String)]
    position: Position,
    /// The name of the event.
    #[schema(value_type = String, examples("chat"))]
    event: EventName,
    /// Its data.
    #[schema(value_type = serde_json::Value)]
    data: Box<RawValue>,
    /// The sender's own id of the message.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    id: Option<MessageId>,
    /// Who sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    from: Option<From>,
}

/// A user.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliverySender)]
pub(crate) struct From {
    /// The user.
    #[schema(value_type = String, examples("42"))]
    user: UserId,
    /// The user's name for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    name: Option<String>,
    /// What the application shows of the user.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>, nullable = false)]
    profile: Option<Profile>,
    /// The session that sent it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    session: Option<SessionId>,
}

/// Writes a letter that waited since then; `None` for one that cannot be read.
pub(crate) fn write(channel: &Channel, since: Timestamp, letter: &Letter) -> Option<String> {
    let body = match letter {
        Letter::Occupied { user, .. } => change(channel, since, true, user),
        Letter::Vacated { user, .. } => change(channel, since, false, user),
        Letter::Message { position, payload } => {
            let publication = Publication::decode(payload).ok()?;
            let from = publication.from.map(|sender| From {
                user: sender.user,
                name: sender.name,
                profile: sender.profile,
                session: sender.session,
            });
            Body {
                kind: Kind::Published,
                timestamp: time(publication.timestamp),
                data: Data::Message(Box::new(Message {
                    tenant: channel.tenant(),
                    channel: channel.public_name(),
                    position: *position,
                    event: publication.event,
                    data: publication.data,
                    id: publication.id,
                    from,
                })),
            }
        }
    };
    serde_json::to_string(&body).ok()
}

fn change<'a>(channel: &'a Channel, since: Timestamp, occupied: bool, user: &PresenceEntry) -> Body<'a> {
    let user = From {
        user: user.user.clone(),
        name: user.name.clone(),
        profile: user.profile.clone(),
        session: None,
    };
    Body {
        kind: Kind::of(channel.kind(), occupied),
        timestamp: time(since),
        data: Data::Change(Change { tenant: channel.tenant(), channel: channel.public_name(), user }),
    }
}

/// A time as text (RFC 3339), in UTC.
pub(crate) fn time(Timestamp(millis): Timestamp) -> String {
    // The year 9999 is the last that can be written.
    const LAST: u64 = 253_402_300_799_999;
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis.min(LAST))).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proto::{Epoch, Nonce};

    fn letter_to(channel: &str, letter: &Letter) -> Option<String> {
        write(&Channel::parse(channel).unwrap(), Timestamp(0), letter)
    }

    #[test]
    fn a_message_is_told_with_its_sender_and_its_place() {
        let position = Position { epoch: Epoch(1), offset: 2, nonce: Nonce(3) };
        let payload =
            r#"{"e":"chat","d":{"n":1.50},"i":"m-1","f":{"u":"42","n":"Zoë","s":"abc"},"t":1614265330000}"#;
        let letter = Letter::Message { position, payload: Bytes::from_static(payload.as_bytes()) };
        let written = letter_to("acme/r/lobby", &letter).unwrap();
        assert_eq!(
            written,
            r#"{"type":"message.published","timestamp":"2021-02-25T15:02:10.000Z","data":{"tenant":"acme","channel":"room:lobby","position":"v1.1.2.3","event":"chat","data":{"n":1.50},"id":"m-1","from":{"user":"42","name":"Zoë","session":"abc"}}}"#
        );
        assert_eq!(letter.id().as_str(), "msg_0000000000000001-2-0000000000000003");
        let unreadable = Letter::Message { position, payload: Bytes::from_static(b"{") };
        assert_eq!(letter_to("acme/r/lobby", &unreadable), None);
        let user = PresenceEntry { user: UserId::new("42").unwrap(), name: None, profile: None };
        let letter = Letter::Vacated { number: (1, 2), user };
        assert_eq!(letter.id().as_str(), "vacated_0000000000000001-2");
        for (channel, kind) in
            [("t/r/a", "room.vacated"), ("t/u/42", "user.offline"), ("t/a/", "tenant.vacated")]
        {
            let written = letter_to(channel, &letter).unwrap();
            assert!(
                written.starts_with(&format!(r#"{{"type":"{kind}","timestamp":"1970-01-01T00:00:00.000Z""#))
            );
            assert!(written.ends_with(r#""user":{"user":"42"}}}"#), "{written}");
        }
        assert_eq!(time(Timestamp(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
