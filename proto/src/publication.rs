//! A message in a channel, and the form in which the broker stores it.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::binary::BinaryPlaces;
use crate::name::{EventName, MessageId, SessionId, UserId};
use crate::profile::Profile;

/// Milliseconds since the Unix epoch, UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// Who published, where it was a client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sender {
    /// The user.
    #[serde(rename = "u")]
    pub user: UserId,
    /// The user's name for people, where the token has one.
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the application shows of the user.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<Profile>,
    /// The session that sent it.
    #[serde(rename = "s", default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionId>,
}

/// A message in a channel. Its data is kept as the JSON text it came in and never rebuilt.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Publication {
    /// The application's name of what happened.
    #[serde(rename = "e")]
    pub event: EventName,
    /// Any JSON value.
    #[serde(rename = "d")]
    pub data: Box<RawValue>,
    /// Where in the data texts stand for binary values.
    #[serde(rename = "b", default, skip_serializing_if = "BinaryPlaces::is_empty")]
    pub binary: BinaryPlaces,
    /// The publisher's id of this message.
    #[serde(rename = "i", default, skip_serializing_if = "Option::is_none")]
    pub id: Option<MessageId>,
    /// Who sent it; absent when a backend did.
    #[serde(rename = "f", default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Sender>,
    /// When the publisher's node took it in.
    #[serde(rename = "t")]
    pub timestamp: Timestamp,
}

/// Why stored bytes are not a publication: another version wrote them, or someone else did.
#[derive(Debug, thiserror::Error)]
#[error("not a stored publication: {0}")]
pub struct PublicationError(#[from] serde_json::Error);

impl Publication {
    /// The stored form: compact JSON with one-letter keys.
    pub fn encode(&self) -> Result<Bytes, PublicationError> {
        Ok(serde_json::to_vec(self)?.into())
    }

    /// Reads the stored form.
    pub fn decode(bytes: &[u8]) -> Result<Self, PublicationError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl PartialEq for Publication {
    /// Equal when every field is, the data as text.
    fn eq(&self, other: &Self) -> bool {
        (&self.event, self.data.get(), &self.binary, &self.id, &self.from, self.timestamp)
            == (&other.event, other.data.get(), &other.binary, &other.id, &other.from, other.timestamp)
    }
}

/// Texts are equal to themselves.
impl Eq for Publication {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_stored_form_is_compact_and_keeps_the_data_as_written() {
        let publication = Publication {
            event: EventName::new("chat").unwrap(),
            data: RawValue::from_string(r#"{"n":1.50,"b":[ ]}"#.into()).unwrap(),
            binary: BinaryPlaces::default(),
            id: None,
            from: None,
            timestamp: Timestamp(7),
        };
        let stored = publication.encode().unwrap();
        assert_eq!(&stored[..], br#"{"e":"chat","d":{"n":1.50,"b":[ ]},"t":7}"#);
        assert_eq!(Publication::decode(&stored).unwrap(), publication);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decoded_or_refused(bytes in any::<Vec<u8>>()) {
            drop(Publication::decode(&bytes));
        }
    }
}
