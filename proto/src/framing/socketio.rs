//! Socket.IO packets, revision 5 of the protocol: what an Engine.IO text message holds.
//!
//! Binary arguments are placeholders in the packet's JSON; the bytes follow as binary messages, as many as the packet
//! says, with no other message between.

mod binary;
mod events;

use std::borrow::Cow;
use std::fmt::{self, Write as _};

use serde::de::{IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

pub use binary::as_texts;
pub use events::Events;

/// The namespace that everyone has, and that packets leave out.
pub const MAIN: &str = "/";

/// The longest name of a namespace, in bytes.
pub const LONGEST_NAMESPACE: usize = 128;

/// Names that clients' own listeners use; an event of such a name would break them.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    /// What it is about; begins with a slash.
    pub namespace: &'a str,
    /// What it says.
    pub body: Body<'a>,
}

/// What a packet says. All JSON in it was parsed.
#[derive(Debug, Clone, Copy)]
pub enum Body<'a> {
    /// A client asks to be connected to the namespace, with what it authenticates by; the server agrees. An object.
    Connect(Option<&'a RawValue>),
    /// Either side leaves the namespace.
    Disconnect,
    /// An event.
    Event {
        /// By which an acknowledgement is asked for.
        id: Option<u64>,
        /// A JSON array: the name, then what comes with it.
        arguments: &'a RawValue,
        /// How many binary messages belong to it.
        attachments: usize,
    },
    /// The acknowledgement of an event.
    Ack {
        /// That of the event.
        id: u64,
        /// A JSON array.
        arguments: &'a RawValue,
        /// How many binary messages belong to it.
        attachments: usize,
    },
    /// The server does not connect the client. An object with a `message`, or a string.
    ConnectError(&'a RawValue),
}

/// Why a text is not a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The type is none of revision 5.
    #[error("a packet of unknown type")]
    UnknownType,
    /// The namespace is too long, or not printable.
    #[error("a bad name of a namespace")]
    Namespace,
    /// The number of attachments is missing, or larger than allowed.
    #[error("a bad number of attachments")]
    Attachments,
    /// A placeholder stands for an attachment that there is not, or that another one stands for.
    #[error("a placeholder without an attachment of its own")]
    Placeholder,
    /// The id is missing or too large.
    #[error("a bad acknowledgement id")]
    Id,
    /// The payload is not JSON of the shape that the type has.
    #[error("a bad payload")]
    Payload,
    /// The event's name is missing, or reserved for clients' own listeners.
    #[error("a bad name of an event")]
    EventName,
}

impl<'a> Packet<'a> {
    /// Decodes a text message; a packet may have `max_attachments` at most.
    ///
    /// # Errors
    /// [`Malformed`], after which the connection has to be closed.
    pub fn decode(text: &'a str, max_attachments: usize) -> Result<Self, Malformed> {
        let mut rest = text.chars();
        let kind = rest.next().ok_or(Malformed::UnknownType)?;
        if !matches!(kind, '0'..='6') {
            return Err(Malformed::UnknownType);
        }
        let mut rest = rest.as_str();
        let mut attachments = 0;
        if matches!(kind, '5' | '6') {
            let count = take_number(&mut rest).ok_or(Malformed::Attachments)?;
            rest = rest.strip_prefix('-').ok_or(Malformed::Attachments)?;
            attachments = usize::try_from(count).unwrap_or(usize::MAX);
            if attachments > max_attachments {
                return Err(Malformed::Attachments);
            }
        }
        let namespace = take_namespace(&mut rest)?;
        let body = match kind {
            '0' => Body::Connect(if rest.is_empty() { None } else { Some(json(rest, &['{'])?) }),
            '1' if rest.is_empty() => Body::Disconnect,
            '2' | '5' => {
                let id = take_id(&mut rest)?;
                let arguments = arguments(rest, attachments)?;
                event_name(arguments)?;
                Body::Event { id, arguments, attachments }
            }
            '3' | '6' => {
                let id = take_id(&mut rest)?.ok_or(Malformed::Id)?;
                Body::Ack { id, arguments: arguments(rest, attachments)?, attachments }
            }
            '4' => Body::ConnectError(json(rest, &['{', '"'])?),
            _ => return Err(Malformed::Payload),
        };
        Ok(Self { namespace, body })
    }

    /// Writes the packet. Its attachments have to follow.
    pub fn encode(&self, out: &mut String) {
        let (kind, attachments, id, payload) = match self.body {
            Body::Connect(payload) => ('0', 0, None, payload),
            Body::Disconnect => ('1', 0, None, None),
            Body::Event { id, arguments, attachments } => {
                (if attachments > 0 { '5' } else { '2' }, attachments, id, Some(arguments))
            }
            Body::Ack { id, arguments, attachments } => {
                (if attachments > 0 { '6' } else { '3' }, attachments, Some(id), Some(arguments))
            }
            Body::ConnectError(payload) => ('4', 0, None, Some(payload)),
        };
        out.push(kind);
        // Writing to a string cannot fail.
        if attachments > 0 {
            let _ = write!(out, "{attachments}-");
        }
        if self.namespace != MAIN {
            out.push_str(self.namespace);
            out.push(',');
        }
        if let Some(id) = id {
            let _ = write!(out, "{id}");
        }
        if let Some(payload) = payload {
            out.push_str(payload.get());
        }
    }

    /// The packet as text.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        self.encode(&mut text);
        text
    }
}

/// The name in an event's arguments. A number is a name too: its digits.
///
/// # Errors
/// When there is none, or it is reserved.
pub fn event_name(arguments: &RawValue) -> Result<Cow<'_, str>, Malformed> {
    let First(first) = serde_json::from_str(arguments.get()).map_err(|_| Malformed::EventName)?;
    let name = match first.get().as_bytes() {
        [b'"', ..] => {
            let Text(name) = serde_json::from_str(first.get()).map_err(|_| Malformed::EventName)?;
            name
        }
        [b'-' | b'0'..=b'9', ..] => Cow::Borrowed(first.get()),
        _ => return Err(Malformed::EventName),
    };
    if RESERVED.contains(&name.as_ref()) { Err(Malformed::EventName) } else { Ok(name) }
}

/// Takes the digits at the beginning.
fn take_number(rest: &mut &str) -> Option<u64> {
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    let (digits, after) = rest.split_at_checked(end)?;
    *rest = after;
    digits.parse().ok()
}

/// Takes an id, if there is one.
fn take_id(rest: &mut &str) -> Result<Option<u64>, Malformed> {
    if rest.starts_with(|c: char| c.is_ascii_digit()) {
        take_number(rest).map(Some).ok_or(Malformed::Id)
    } else {
        Ok(None)
    }
}

/// Takes the namespace; the comma may be missing when nothing follows.
fn take_namespace<'a>(rest: &mut &'a str) -> Result<&'a str, Malformed> {
    if !rest.starts_with('/') {
        return Ok(MAIN);
    }
    let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
    *rest = after;
    let is_bad = namespace.len() > LONGEST_NAMESPACE || namespace.contains(char::is_control);
    if is_bad { Err(Malformed::Namespace) } else { Ok(namespace) }
}

/// Parses JSON whose first character is one of these.
fn json<'a>(text: &'a str, begins: &[char]) -> Result<&'a RawValue, Malformed> {
    let json: &RawValue = serde_json::from_str(text).map_err(|_| Malformed::Payload)?;
    if json.get().starts_with(begins) { Ok(json) } else { Err(Malformed::Payload) }
}

fn arguments(text: &str, attachments: usize) -> Result<&RawValue, Malformed> {
    let arguments = json(text, &['['])?;
    if attachments > 0 {
        // A bad one would be refused by those who receive the event from us, at the cost of their connection.
        let value: Value = serde_json::from_str(arguments.get()).map_err(|_| Malformed::Payload)?;
        if !placeholders_fit(&value, &mut vec![false; attachments]) {
            return Err(Malformed::Placeholder);
        }
    }
    Ok(arguments)
}

/// Whether every placeholder names an attachment of its own: a few would make much of one attachment otherwise. The parser
/// has bounded the depth.
fn placeholders_fit(value: &Value, named: &mut [bool]) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| placeholders_fit(item, named)),
        Value::Object(fields) if is_placeholder(fields) => {
            let named = attachment(fields).and_then(|number| named.get_mut(number));
            named.is_some_and(|named| !std::mem::replace(named, true))
        }
        Value::Object(fields) => fields.values().all(|field| placeholders_fit(field, named)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    }
}

/// Whether a client takes an object for a placeholder.
fn is_placeholder(fields: &Map<String, Value>) -> bool {
    fields.get("_placeholder") == Some(&Value::Bool(true))
}

/// The number of the attachment that a placeholder names.
fn attachment(fields: &Map<String, Value>) -> Option<usize> {
    fields.get("num")?.as_u64()?.try_into().ok()
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// The first item of an array.
struct First<'a>(&'a RawValue);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstItem;

        impl<'de> Visitor<'de> for FirstItem {
            type Value = First<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of at least one item")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
                let first = items.next_element()?;
                while items.next_element::<IgnoredAny>()?.is_some() {}
                first.map(First).ok_or_else(|| serde::de::Error::invalid_length(0, &self))
            }
        }

        deserializer.deserialize_seq(FirstItem)
    }
}

#[cfg(test)]
mod tests;
