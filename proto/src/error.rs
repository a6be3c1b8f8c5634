//! The catalogue of errors that a client or a caller of the HTTP API can be told.

use serde::{Serialize, Serializer};

macro_rules! catalogue {
    ($($(#[$doc:meta])+ $name:ident = $code:literal, $status:literal, $retryable:literal;)+) => {
        /// What went wrong, as a stable word.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode {
            $($(#[$doc])+ $name,)+
        }

        impl ErrorCode {
            /// The whole catalogue.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable word, for programs.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// The code of a stable word.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|code| code.as_str() == word)
            }

            /// The HTTP status with which the same error is answered (RFC 9110, section 15).
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)+ }
            }

            /// Whether the same request may succeed later, unchanged.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retryable,)+ }
            }
        }
    };
}

catalogue! {
    /// Not JSON, not an object, or a field of the wrong type.
    InvalidMessage = "invalid_message", 400, false;
    /// The command or route does not exist.
    Unknown = "unknown", 404, false;
    /// A name (room, user, event, message id) is not allowed.
    InvalidName = "invalid_name", 400, false;
    /// A position that no server gave out.
    InvalidPosition = "invalid_position", 400, false;
    /// A command came before a token was accepted.
    NotAuthenticated = "not_authenticated", 401, false;
    /// A second `auth` on an authenticated session; `refresh` is meant.
    AlreadyAuthenticated = "already_authenticated", 409, false;
    /// The token was refused.
    InvalidToken = "invalid_token", 401, false;
    /// The token's time is over.
    TokenExpired = "token_expired", 401, false;
    /// The token does not give this right.
    Forbidden = "forbidden", 403, false;
    /// The session is not in that room.
    NotJoined = "not_joined", 409, false;
    /// The data is larger than the channel or the body limit allows.
    TooLarge = "too_large", 413, false;
    /// The same message id was used for another message.
    Conflict = "conflict", 422, false;
    /// Too many commands or requests.
    RateLimited = "rate_limited", 429, true;
    /// More rooms, sessions or items than the limit.
    LimitReached = "limit_reached", 429, false;
    /// The broker cannot be reached; nothing was changed, or it is unknown whether it was: retry with the same id.
    Unavailable = "unavailable", 503, true;
    /// It is stored, but not yet where it was asked to be, so it may still get lost: retry with the same id.
    Unconfirmed = "unconfirmed", 503, true;
    /// What joins the nodes cannot do what was asked for.
    Unsupported = "unsupported", 501, false;
    /// A fault of ours.
    Internal = "internal", 500, true;
}

impl Serialize for ErrorCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_statuses_are_errors() {
        let mut words: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), ErrorCode::ALL.len());
        assert!(ErrorCode::ALL.iter().all(|code| ErrorCode::from_word(code.as_str()) == Some(*code)));
        assert!(ErrorCode::ALL.iter().all(|code| (400..600).contains(&code.status())));
    }
}
