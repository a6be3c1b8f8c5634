//! Why the API refuses a call; translated once, at the edge, into what the caller is told.

use std::fmt::Write as _;
use std::time::Duration;

use broker::{MEMBERSHIPS_MAX, REVOKED_MAX};
use chassis::auth::TokenError;
use proto::{ErrorCode, NameError, PlaceError};
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path, Segment};

use crate::rate::TooFast;
use crate::webhook::Rejection;

/// Why a call, or an item of a batch, was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is not what the call takes.
    #[error("{detail}")]
    Malformed {
        /// What is wrong with it.
        detail: String,
        /// Where: a JSON pointer (RFC 6901); empty for the whole document.
        pointer: String,
    },
    /// A name has characters or a length that is not allowed.
    #[error("{error}")]
    Name {
        /// What is wrong with it.
        error: NameError,
        /// Where: a JSON pointer.
        pointer: String,
    },
    /// A parameter of the query is not what the call takes.
    #[error("{0}")]
    Parameter(String),
    /// A parameter of the query is of a kind with a word of its own.
    #[error("{detail}")]
    BadParameter {
        /// The word.
        code: ErrorCode,
        /// What is wrong with it.
        detail: String,
    },
    /// A name in the path or the query is not allowed.
    #[error("{what} {error}")]
    NamedParameter {
        /// Which one.
        what: &'static str,
        /// What is wrong with it.
        error: NameError,
    },
    /// The body is not declared as what the call takes.
    #[error("the body must be declared as {0}")]
    MediaType(&'static str),
    /// The body did not arrive in time.
    #[error("the body did not arrive in time")]
    SlowBody,
    /// The body is larger than the API takes.
    #[error("the body has more than {max} bytes")]
    BodyTooLarge {
        /// The limit in bytes.
        max: usize,
    },
    /// The data is larger than a channel takes.
    #[error("the data has {size} bytes, {channel} takes {max}")]
    DataTooLarge {
        /// The size in bytes.
        size: usize,
        /// The channel's limit in bytes.
        max: usize,
        /// The channel's public name.
        channel: String,
    },
    /// There is no binary value where the message says that there is one.
    #[error("{}", PlaceError::NotBase64)]
    NotBinary {
        /// The part of the body that names the place.
        pointer: String,
    },
    /// No credential came with the call.
    #[error("needs the header Authorization: Bearer with a token or an API key")]
    NotAuthenticated,
    /// The token is no good.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The credential looks like an API key, and is none.
    #[error("the API key is not known")]
    UnknownApiKey,
    /// The path does not exist.
    #[error("there is nothing at this path")]
    NoSuchPath,
    /// The path does not take this method.
    #[error("the path does not take this method")]
    NoSuchMethod,
    /// The caller may not do that.
    #[error("{0}")]
    Forbidden(&'static str),
    /// The id was used for another message.
    #[error("the id was used before for another message")]
    Conflict,
    /// The broker did not answer in time. The message may be in.
    #[error("the message could not be stored in time; repeating it with the same id is safe")]
    Unavailable,
    /// The broker did not answer in time, and what was asked of it may be done.
    #[error("there was no answer in time; repeating the call is safe")]
    Away,
    /// Who is in a channel is not tracked.
    #[error("presence is off for {0}; a table [[channels]] with presence = true turns it on")]
    PresenceOff(String),
    /// No dead letter of the tenant has this id.
    #[error("there is no such dead letter")]
    NoSuchLetter,
    /// There is no such session.
    #[error("the user is not connected")]
    NotConnected,
    /// As much is revoked as can be.
    #[error("{REVOKED_MAX} tokens and users are revoked, which is the most")]
    TooManyRevoked,
    /// A user would be a member of too many rooms.
    #[error("a user can be a member of at most {MEMBERSHIPS_MAX} rooms")]
    TooManyRooms,
    /// The message is in, but not yet where it was asked to be.
    #[error("the message is stored, but not confirmed in time; repeat it with the same id")]
    Unconfirmed,
    /// The broker cannot store it where it was asked to be.
    #[error("durability cannot be had here: {0}")]
    Unsupported(&'static str),
    /// A stream of messages ended early, because one could not be stored.
    #[error(
        "the message of line {line} could not be stored or confirmed in time; send it and all after it again, with the same ids"
    )]
    Stopped {
        /// Which message, from 1.
        line: u64,
    },
    /// The caller asks for more in a second than it may.
    #[error("the caller asks for more than it may; repeat the call later")]
    TooFast(TooFast),
    /// As many calls as the process takes are in flight.
    #[error("too many calls are in flight")]
    Busy,
    /// As many webhooks of one provider as the process takes are in flight.
    #[error("too many webhooks come at once; repeat it later")]
    TooManyWebhooks,
    /// A webhook is not its provider's, or is too old.
    #[error(transparent)]
    Webhook(#[from] Rejection),
}

impl Refusal {
    /// Whether what is to come after it in the same channel must wait for it to be repeated.
    pub(crate) const fn holds_up(&self) -> bool {
        matches!(self, Self::Unavailable | Self::Unconfirmed)
    }

    /// A refusal of a part of the body.
    pub(crate) fn malformed(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Malformed { detail: detail.into(), pointer: pointer.into() }
    }

    /// The stable word for it.
    pub(crate) const fn code(&self) -> ErrorCode {
        match self {
            Self::Malformed { .. } | Self::NotBinary { .. } | Self::MediaType(_) | Self::Parameter(_) => {
                ErrorCode::InvalidMessage
            }
            Self::Name { .. } | Self::NamedParameter { .. } => ErrorCode::InvalidName,
            Self::BadParameter { code, .. } => *code,
            Self::TooManyRooms | Self::TooManyRevoked => ErrorCode::LimitReached,
            Self::BodyTooLarge { .. } | Self::DataTooLarge { .. } => ErrorCode::TooLarge,
            Self::NotAuthenticated | Self::Webhook(_) => ErrorCode::NotAuthenticated,
            Self::TooManyWebhooks | Self::TooFast(_) => ErrorCode::RateLimited,
            Self::Token(error) => error.code(),
            Self::UnknownApiKey => ErrorCode::InvalidToken,
            Self::NoSuchPath | Self::NoSuchMethod | Self::NotConnected | Self::NoSuchLetter => {
                ErrorCode::Unknown
            }
            Self::Forbidden(_) | Self::PresenceOff(_) => ErrorCode::Forbidden,
            Self::Conflict => ErrorCode::Conflict,
            Self::Unavailable | Self::Away | Self::Stopped { .. } | Self::Busy | Self::SlowBody => {
                ErrorCode::Unavailable
            }
            Self::Unconfirmed => ErrorCode::Unconfirmed,
            Self::Unsupported(_) => ErrorCode::Unsupported,
        }
    }

    /// The HTTP status (RFC 9110, section 15).
    pub(crate) const fn status(&self) -> u16 {
        match self {
            Self::NoSuchMethod => 405,
            Self::MediaType(_) => 415,
            Self::SlowBody => 408,
            // Waiting does not help.
            Self::TooManyRooms | Self::TooManyRevoked | Self::NotBinary { .. } => 422,
            other => other.code().status(),
        }
    }

    /// When the caller may repeat the call, where that helps.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match (self, self.status()) {
            (Self::TooFast(TooFast { wait }), _) => Some(*wait),
            (_, 429 | 503) => Some(Duration::from_secs(1)),
            _ => None,
        }
    }

    /// The part of the body that is meant, as a JSON pointer.
    pub(crate) fn pointer(&self) -> Option<&str> {
        match self {
            Self::Malformed { pointer, .. } | Self::Name { pointer, .. } | Self::NotBinary { pointer } => {
                Some(pointer)
            }
            Self::DataTooLarge { .. } => Some("/data"),
            Self::Conflict => Some("/id"),
            Self::Unsupported(_) => Some("/durability"),
            _ => None,
        }
    }

    /// The word under which it is counted: a bounded set.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Malformed { .. }
            | Self::Name { .. }
            | Self::NotBinary { .. }
            | Self::Parameter(_)
            | Self::BadParameter { .. }
            | Self::NamedParameter { .. }
            | Self::MediaType(_)
            | Self::SlowBody => "invalid",
            Self::TooManyRooms | Self::TooManyRevoked => "too_many",
            Self::BodyTooLarge { .. } | Self::DataTooLarge { .. } => "too_large",
            Self::NoSuchPath | Self::NoSuchMethod | Self::NotConnected | Self::NoSuchLetter => "unknown",
            Self::Forbidden(_) | Self::PresenceOff(_) => "forbidden",
            Self::Conflict => "conflict",
            Self::Unavailable
            | Self::Away
            | Self::Stopped { .. }
            | Self::Token(TokenError::KeysUnavailable) => "unavailable",
            Self::Unconfirmed => "unconfirmed",
            Self::Unsupported(_) => "unsupported",
            Self::NotAuthenticated | Self::Token(_) | Self::UnknownApiKey => "unauthenticated",
            Self::TooFast(_) => "rate_limited",
            Self::Busy | Self::TooManyWebhooks => "overloaded",
            Self::Webhook(rejection) => rejection.label(),
        }
    }
}

impl From<TooFast> for Refusal {
    fn from(too_fast: TooFast) -> Self {
        Self::TooFast(too_fast)
    }
}

/// Makes a wrong name a refusal of the place it stands at.
pub(crate) fn at(pointer: impl Into<String>) -> impl FnOnce(NameError) -> Refusal {
    let pointer = pointer.into();
    |error| Refusal::Name { error, pointer }
}

/// Reads a JSON text, naming the place of the first thing that is wrong.
pub(crate) fn read_json<T: DeserializeOwned>(text: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(text).map_err(|_| what_is_wrong::<T>(text))
}

/// Reads once more what could not be read, now keeping track of the place, which takes half as long again.
fn what_is_wrong<T: DeserializeOwned>(text: &[u8]) -> Refusal {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let read: Result<T, _> = serde_path_to_error::deserialize(&mut reader);
    match (read, reader.end()) {
        (Err(error), _) => Refusal::malformed(pointer(error.path()), shorten(&error.inner().to_string())),
        (Ok(_), Err(error)) => Refusal::malformed("", shorten(&error.to_string())),
        (Ok(_), Ok(())) => Refusal::malformed("", "is not what this call takes"),
    }
}

/// A path as a JSON pointer, shortened where a caller's own key would make it long.
fn pointer(path: &Path) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => {
                // Writing to a string does not fail.
                let _ = write!(text, "/{index}");
            }
            Segment::Map { key } | Segment::Enum { variant: key } => {
                text.push('/');
                text.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Unknown => text.push_str("/?"),
        }
    }
    shorten(&text)
}

/// At most 200 characters: an error repeats a caller's words, not their megabyte.
fn shorten(text: &str) -> String {
    const MAX: usize = 200;
    match text.char_indices().nth(MAX) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::PublishRequest;

    fn place(text: &str) -> (String, String) {
        match read_json::<PublishRequest>(text.as_bytes()) {
            Err(Refusal::Malformed { detail, pointer }) => (pointer, detail),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_wrong_field_is_named() {
        assert_eq!(place(r#"{"to":{"room":7},"event":"e","data":1}"#).0, "/to/room");
        assert_eq!(place(r#"{"to":{"users":["a",7]},"event":"e","data":1}"#).0, "/to/users/1");
        assert_eq!(place(r#"{"to":{"room":"r"},"event":"e","data":1,"dta":1}"#).0, "/dta");
        let (pointer, detail) = place(r#"{"to":{"room":"r"},"event":"e"}"#);
        assert_eq!((pointer.as_str(), detail.contains("`data`")), ("", true), "{detail}");
    }

    #[test]
    fn what_is_not_one_document_is_refused() {
        for text in ["", "{", "[1", "{} {}", "nul", r#"{"to":{"room":"r"},"event":"e","data":1} x"#] {
            assert!(matches!(read_json::<PublishRequest>(text.as_bytes()), Err(Refusal::Malformed { .. })));
        }
    }

    #[test]
    fn a_long_key_is_not_repeated_whole() {
        let key = "ké".repeat(100_000);
        let (pointer, detail) = place(&format!(r#"{{"{key}":1}}"#));
        assert!(pointer.chars().count() <= 201 && detail.chars().count() <= 201);
    }
}
