//! The framing `flat`: one JSON object a message, `{"type": "<event>", …}`, with the fields of the body beside the type.

use std::borrow::Cow;

use serde::Deserialize;

use super::{is_object, not_json};
use crate::message::{Invalid, Outgoing, Request, RequestId};
use crate::publication::Timestamp;
use crate::template::quote;
use crate::vocabulary::{Heard, Told, Vocabulary, VocabularyError};

/// The key of the event's name.
const EVENT: &str = "type";

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(rename = "type", borrow)]
    event: Cow<'a, str>,
}

/// Checks that each body of a vocabulary is a table without a field `type`, so that no content can name the event.
///
/// # Errors
/// Names the rule.
pub fn check(vocabulary: &Vocabulary) -> Result<(), VocabularyError> {
    for (key, fields) in vocabulary.bodies() {
        let problem = match fields {
            None => "must be a table: in the framing flat its fields stand beside the type",
            Some(fields) if fields.iter().any(|field| field == EVENT) => {
                "has a field type, which is the event's name"
            }
            Some(_) => continue,
        };
        return Err(VocabularyError::new(format!("{key}.body"), problem));
    }
    Ok(())
}

/// Decodes a complete text message. The body of its event is the whole object.
///
/// # Errors
/// [`Invalid`] names the field and never quotes content.
pub fn decode(vocabulary: &Vocabulary, text: &str) -> Result<Request, Invalid> {
    if !is_object(text) {
        return Err(not_json());
    }
    let head: Head<'_> = serde_json::from_str(text).map_err(|_| not_json())?;
    vocabulary.decode(Heard { event: &head.event, body: text })
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
    let fields = told.body.as_deref().and_then(|body| body.strip_prefix('{')).unwrap_or("}");
    let separator = if fields == "}" { "" } else { "," };
    format!("{{\"{EVENT}\":{event}{separator}{fields}")
}
