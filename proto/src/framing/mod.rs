//! How frames look on the wire: text in, [`Request`] out; [`Outgoing`] in, text out.
//!
//! A framing is a small pure module. It decodes a complete text message to a request or says what is wrong with it
//! ([`Invalid`], after which the connection stays open); it never keeps state between two messages. To add one, write its
//! module and give it a line in [`Framing`].

pub mod engineio;
pub mod event;
pub mod flat;
pub mod native;
pub mod socketio;

use std::sync::Arc;

use crate::error::ErrorCode;
use crate::message::{Invalid, Outgoing, Request, RequestId};
use crate::profile::{Profile, ProfileError};
use crate::publication::{Publication, Timestamp};
use crate::vocabulary::{Audience, Vocabulary, VocabularyError};
use socketio::Events;

/// The framing of an endpoint, with the vocabulary that its events come from. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub enum Framing {
    /// Flat JSON with Switchboard's own names.
    #[default]
    Native,
    /// `{"type": "<event>", …}`.
    Flat(Arc<Vocabulary>),
    /// `{"event": "<event>", "data": …}`.
    Event(Arc<Vocabulary>),
    /// Packets of Socket.IO.
    SocketIo(Arc<Events>),
}

impl Framing {
    /// The words for framings in a configuration.
    pub const NAMES: [&'static str; 3] = ["native", "flat", "event"];

    /// The framing of a name, with a vocabulary where it takes one.
    ///
    /// # Errors
    /// There is no such framing, the vocabulary is missing or not wanted, or the framing cannot carry one of its rules.
    pub fn new(name: &str, vocabulary: Option<Vocabulary>) -> Result<Self, VocabularyError> {
        match (name, vocabulary) {
            ("native", None) => Ok(Self::Native),
            ("native", Some(_)) => Err(VocabularyError::new("vocabulary", "the framing native has its own")),
            ("flat", Some(vocabulary)) => {
                flat::check(&vocabulary)?;
                Ok(Self::Flat(Arc::new(vocabulary)))
            }
            ("event", Some(vocabulary)) => Ok(Self::Event(Arc::new(vocabulary))),
            ("flat" | "event", None) => {
                Err(VocabularyError::new("vocabulary", format!("is missing: the framing {name} needs one")))
            }
            _ => {
                let known = format!("is none of {}", Self::NAMES.join(", "));
                Err(VocabularyError::new("framing", known))
            }
        }
    }

    /// The framing of a namespace of Socket.IO.
    pub fn socketio(vocabulary: Vocabulary, namespace: &str) -> Self {
        Self::SocketIo(Arc::new(Events::new(vocabulary, namespace)))
    }

    /// Decodes a complete text message.
    ///
    /// # Errors
    /// [`Invalid`] with the request's id where it could be read. Its message names the field and never quotes content.
    pub fn decode(&self, text: &str) -> Result<Request, Invalid> {
        match self {
            Self::Native => native::decode(text),
            Self::Flat(vocabulary) => flat::decode(vocabulary, text),
            Self::Event(vocabulary) => event::decode(vocabulary, text),
            Self::SocketIo(events) => events.decode(text),
        }
    }

    /// Encodes what a client is told; `id` is that of the request which it answers. `None` where the vocabulary has no
    /// words for it: it is not sent. `now` is the time of what has no time of its own.
    pub fn encode(&self, outgoing: &Outgoing<'_>, id: Option<&RequestId>, now: Timestamp) -> Option<String> {
        match self {
            Self::Native => Some(native::encode(outgoing, id)),
            Self::Flat(vocabulary) => flat::encode(vocabulary, outgoing, id, now),
            Self::Event(vocabulary) => event::encode(vocabulary, outgoing, id, now),
            Self::SocketIo(events) => events.encode(outgoing, id, now),
        }
    }

    /// Encodes what is told after it, if there is something.
    pub fn encode_also(&self, outgoing: &Outgoing<'_>, now: Timestamp) -> Option<String> {
        let told = self.vocabulary()?.encode_also(outgoing, now)?;
        match self {
            Self::Native => None,
            Self::Flat(_) => Some(flat::write(&told)),
            Self::Event(_) => Some(event::write(&told)),
            Self::SocketIo(events) => Some(events.write(&told)),
        }
    }

    fn vocabulary(&self) -> Option<&Vocabulary> {
        match self {
            Self::Native => None,
            Self::Flat(vocabulary) | Self::Event(vocabulary) => Some(vocabulary),
            Self::SocketIo(events) => Some(events.vocabulary()),
        }
    }

    /// Who of a channel's sessions is given a publication.
    pub fn audience(&self, publication: &Publication) -> Audience {
        self.vocabulary().map_or(Audience::Everyone, |vocabulary| vocabulary.audience(publication))
    }

    /// What others are shown of a user whose token has these claims, a JSON object.
    ///
    /// # Errors
    /// The profile would be too long, or is no object.
    pub fn profile(&self, claims: &str) -> Result<Option<Profile>, ProfileError> {
        self.vocabulary().map_or(Ok(None), |vocabulary| vocabulary.profile(claims))
    }
}

impl PartialEq for Framing {
    /// Equal when the frames look alike and the vocabulary is the very same one.
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Native, Self::Native) => true,
            (Self::Flat(one), Self::Flat(other)) | (Self::Event(one), Self::Event(other)) => {
                Arc::ptr_eq(one, other)
            }
            (Self::SocketIo(one), Self::SocketIo(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }
}

impl Eq for Framing {}

/// Whether a JSON text is an object: a derived reader would also take a list of its fields.
fn is_object(text: &str) -> bool {
    text.trim_start().starts_with('{')
}

fn not_json() -> Invalid {
    Invalid {
        id: None,
        code: ErrorCode::InvalidMessage,
        message: "not a JSON object that names its event".to_owned(),
    }
}
