//! The framing `event`: one JSON object a message, `{"event": "<event>", "data": <body>}`. From a client the
//! name may also be in `type`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::{is_object, not_json};
use crate::message::{Invalid, Outgoing, Request, RequestId};
use crate::publication::Timestamp;
use crate::template::quote;
use crate::vocabulary::{Heard, Told, Vocabulary};

#[derive(Deserialize)]
struct Frame<'a> {
    #[serde(borrow)]
    event: Option<Cow<'a, str>>,
    #[serde(rename = "type", borrow)]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Decodes a complete text message. Without data the body of its event is `null`.
///
/// # Errors
/// [`Invalid`] names the field and never quotes content.
pub fn decode(vocabulary: &Vocabulary, text: &str) -> Result<Request, Invalid> {
    if !is_object(text) {
        return Err(not_json());
    }
    let frame: Frame<'_> = serde_json::from_str(text).map_err(|_| not_json())?;
    let event = frame.event.or(frame.kind).ok_or_else(not_json)?;
    vocabulary.decode(Heard { event: &event, body: frame.data.map_or("null", RawValue::get) })
}

/// Encodes what a client is told, where the vocabulary has words for it.
pub fn encode(
    vocabulary: &Vocabulary,
    outgoing: &Outgoing<'_>,
    id: Option<&RequestId>,
    now: Timestamp,
) -> Option<String> {
    vocabulary.encode(outgoing, id, now).map(|told| write(&told))
}

/// What a client is told, as a frame.
pub(super) fn write(told: &Told) -> String {
    let event = quote(&told.event);
    match &told.body {
        Some(body) => format!("{{\"event\":{event},\"data\":{body}}}"),
        None => format!("{{\"event\":{event}}}"),
    }
}
