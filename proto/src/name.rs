//! Names that come from outside, each behind a type that made it safe.
//!
//! Tenants, users and rooms end up in Redis keys, hash tags and channel names. The allowed bytes are ASCII letters,
//! digits and `_ . : @ + = | ~ -`. That leaves out what could break out of such a place: `{` and `}` (hash tags),
//! `*`, `?`, `[`, `]`, `\` (globs), `/` (our own separator), quotes, white space, control bytes and everything
//! beyond ASCII, where two different strings can look the same. It leaves in what real identifiers use: UUIDs, numbers,
//! slugs, e-mail addresses, `auth0|5f7c`, base64url, and `org:42`.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text has more bytes than the name may have.
    #[error("must have at most {max} bytes")]
    TooLong {
        /// The largest allowed length in bytes.
        max: usize,
    },
    /// A character stands in it that this kind of name does not allow.
    #[error("has a character that is not allowed at byte {at}")]
    Forbidden {
        /// Where the first such character begins.
        at: usize,
    },
}

const fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'_' | b'.' | b':' | b'@' | b'+' | b'=' | b'|' | b'~' | b'-')
}

fn check(text: &str, max: usize, allowed: impl Fn(char) -> bool) -> Result<(), NameError> {
    if text.is_empty() {
        return Err(NameError::Empty);
    }
    if text.len() > max {
        return Err(NameError::TooLong { max });
    }
    match text.char_indices().find(|(_, c)| !allowed(*c)) {
        Some((at, _)) => Err(NameError::Forbidden { at }),
        None => Ok(()),
    }
}

fn identifier(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_identifier_byte)
}

fn printable(c: char) -> bool {
    !c.is_control()
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $max:literal, $allowed:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// The largest length in bytes.
            pub const MAX: usize = $max;

            /// Checks a text and makes it a name.
            pub fn new(text: impl AsRef<str>) -> Result<Self, NameError> {
                let text = text.as_ref();
                check(text, Self::MAX, $allowed)?;
                Ok(Self(text.into()))
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), &self.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().into()
            }
        }

        impl std::str::FromStr for $name {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
    };
}

name! {
    /// An isolated world, usually an organisation. At most 64 bytes.
    Tenant, 64, identifier
}
name! {
    /// Who a token says you are. At most 128 bytes.
    UserId, 128, identifier
}
name! {
    /// A room of a tenant. At most 128 bytes.
    Room, 128, identifier
}
impl Room {
    /// The room of those who follow a user: to follow is to be a member of it.
    ///
    /// # Errors
    /// [`NameError::TooLong`] where the user's id leaves no room for the prefix.
    pub fn followers(user: &UserId) -> Result<Self, NameError> {
        Self::new(format!("followers:{user}"))
    }
}

name! {
    /// One authenticated client connection; unique in the cluster. At most 64 bytes.
    SessionId, 64, identifier
}
name! {
    /// One of a user's devices, as its client or its token names it. At most 64 bytes.
    DeviceId, 64, identifier
}
name! {
    /// A process of the cluster. At most 64 bytes.
    NodeId, 64, identifier
}
name! {
    /// The name of an application's event, such as `message:new`. At most 128 bytes of any printable text:
    /// it is payload and reaches no key.
    EventName, 128, printable
}
name! {
    /// The publisher's own id of a message, for idempotent publishing. At most 128 bytes of any printable text:
    /// only its digest reaches a key.
    MessageId, 128, printable
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_real_systems_use_is_allowed() {
        for id in ["42", "org:7e4f", "a@b.example", "auth0|5f7c", "Zm9v_-=", "general-chat", "x+y~z"] {
            assert!(UserId::new(id).is_ok(), "{id}");
        }
    }

    #[test]
    fn each_refusal_says_why() {
        assert_eq!(Room::new(""), Err(NameError::Empty));
        assert_eq!(Room::new("a".repeat(129)), Err(NameError::TooLong { max: 128 }));
        assert_eq!(Room::new("ab{c}"), Err(NameError::Forbidden { at: 2 }));
        assert_eq!(EventName::new("a\nb"), Err(NameError::Forbidden { at: 1 }));
        assert!(EventName::new("événement ✓").is_ok());
    }

    proptest! {
        #[test]
        fn no_identifier_can_leave_a_key_a_hash_tag_or_a_glob(text in any::<String>()) {
            if let Ok(room) = Room::new(&text) {
                let breaks_out = room.as_str().contains(['{', '}', '*', '?', '[', ']', '\\', '/', ' ', '\r', '\n', '\0', '"']);
                prop_assert!(!breaks_out);
                prop_assert!(room.as_str().is_ascii());
                prop_assert_eq!(room.as_str(), text);
            }
        }

        #[test]
        fn serde_keeps_the_rule(text in any::<String>()) {
            let json = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(serde_json::from_str::<Tenant>(&json).is_ok(), Tenant::new(&text).is_ok());
        }
    }
}
