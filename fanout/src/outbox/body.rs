//! What the backend is sent: a letter in JSON, as Standard Webhooks proposes.

use std::time::{Duration, UNIX_EPOCH};

use broker::Letter;
use proto::{Channel, EventName, MessageId, Position, Profile, Publication, SessionId, Timestamp, UserId};
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
}

/// What happened.
#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryData)]
pub(crate) struct Data<'a> {
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

/// Who sent a message.
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

/// Writes a letter; `None` for one that cannot be read.
pub(crate) fn write(channel: &Channel, letter: &Letter) -> Option<String> {
    let body = match letter {
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
                data: Data {
                    tenant: channel.tenant(),
                    channel: channel.public_name(),
                    position: *position,
                    event: publication.event,
                    data: publication.data,
                    id: publication.id,
                    from,
                },
            }
        }
    };
    serde_json::to_string(&body).ok()
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

    #[test]
    fn a_message_is_told_with_its_sender_and_its_place() {
        let position = Position { epoch: Epoch(1), offset: 2, nonce: Nonce(3) };
        let payload =
            r#"{"e":"chat","d":{"n":1.50},"i":"m-1","f":{"u":"42","n":"Zoë","s":"abc"},"t":1614265330000}"#;
        let letter = Letter::Message { position, payload: Bytes::from_static(payload.as_bytes()) };
        let written = write(&Channel::parse("acme/r/lobby").unwrap(), &letter).unwrap();
        assert_eq!(
            written,
            r#"{"type":"message.published","timestamp":"2021-02-25T15:02:10.000Z","data":{"tenant":"acme","channel":"room:lobby","position":"v1.1.2.3","event":"chat","data":{"n":1.50},"id":"m-1","from":{"user":"42","name":"Zoë","session":"abc"}}}"#
        );
        assert_eq!(letter.id().as_str(), "msg_0000000000000001-2-0000000000000003");
        let unreadable = Letter::Message { position, payload: Bytes::from_static(b"{") };
        assert_eq!(write(&Channel::parse("acme/r/lobby").unwrap(), &unreadable), None);
        assert_eq!(time(Timestamp(u64::MAX)), "9999-12-31T23:59:59.999Z");
    }
}
