//! What a client sends: a command with its fields.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::binary::BinaryPlaces;
use crate::cursor::Cursor;
use crate::error::ErrorCode;
use crate::framing::is_object;
use crate::message::{Command, Invalid, Request, RequestId};
use crate::name::{DeviceId, EventName, MessageId, NameError, Room};
use crate::position::{Position, PositionError};

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
    if !is_object(text) {
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
