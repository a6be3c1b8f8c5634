//! What can be published to.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use crate::name::{NameError, Room, Tenant, UserId};

/// Which sort of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// One user's own channel, wherever their sessions are.
    User,
    /// A room of the tenant.
    Room,
    /// Every session of the tenant.
    Everyone,
}

impl Kind {
    const fn letter(self) -> &'static str {
        match self {
            Self::User => "u",
            Self::Room => "r",
            Self::Everyone => "a",
        }
    }
}

/// A channel: a user, a room, or everyone of a tenant.
///
/// The tenant is part of the name, so a channel of another tenant cannot be written by accident. The canonical
/// form is `<tenant>/<u|r|a>/<name>`; since no name may hold `/`, it is injective. One allocation, cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Arc<str>);

/// Why a text is not the canonical form of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// Not of the form `<tenant>/<u|r|a>/<name>`.
    #[error("is not of the form <tenant>/<u|r|a>/<name>")]
    Form,
    /// One of its names is not allowed.
    #[error("holds a name that {0}")]
    Name(#[from] NameError),
}

impl Channel {
    /// The own channel of a user.
    pub fn user(tenant: &Tenant, user: &UserId) -> Self {
        Self::build(tenant, Kind::User, user.as_str())
    }

    /// A room.
    pub fn room(tenant: &Tenant, room: &Room) -> Self {
        Self::build(tenant, Kind::Room, room.as_str())
    }

    /// Everyone of a tenant.
    pub fn everyone(tenant: &Tenant) -> Self {
        Self::build(tenant, Kind::Everyone, "")
    }

    fn build(tenant: &Tenant, kind: Kind, name: &str) -> Self {
        Self([tenant.as_str(), "/", kind.letter(), "/", name].concat().into())
    }

    /// Reads the canonical form back, checking each name.
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        let mut parts = text.splitn(3, '/');
        let (Some(tenant), Some(kind), Some(name)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(ChannelError::Form);
        };
        let tenant = Tenant::new(tenant)?;
        match kind {
            "u" => Ok(Self::user(&tenant, &UserId::new(name)?)),
            "r" => Ok(Self::room(&tenant, &Room::new(name)?)),
            "a" if name.is_empty() => Ok(Self::everyone(&tenant)),
            _ => Err(ChannelError::Form),
        }
    }

    /// The canonical form, the same on every node.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> (&str, &str, &str) {
        let (tenant, rest) = self.0.split_once('/').unwrap_or_default();
        let (kind, name) = rest.split_once('/').unwrap_or_default();
        (tenant, kind, name)
    }

    /// The tenant's name.
    pub fn tenant(&self) -> &str {
        self.parts().0
    }

    /// Which sort of channel this is.
    pub fn kind(&self) -> Kind {
        match self.parts().1 {
            "u" => Kind::User,
            "r" => Kind::Room,
            _ => Kind::Everyone,
        }
    }

    /// The user's or room's name; empty for everyone.
    pub fn name(&self) -> &str {
        self.parts().2
    }

    /// The name that clients and configuration see, without the tenant: `user:42`, `room:lobby`, `all`.
    pub fn public_name(&self) -> String {
        match self.parts() {
            (_, "u", name) => ["user:", name].concat(),
            (_, "r", name) => ["room:", name].concat(),
            _ => "all".to_owned(),
        }
    }
}

/// By the canonical form, so that a map of channels can be asked with text that came off the wire.
impl Borrow<str> for Channel {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Channel({})", &self.0)
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name() -> impl Strategy<Value = String> {
        "[A-Za-z0-9_.:@+=|~-]{1,40}"
    }

    proptest! {
        #[test]
        fn the_canonical_form_is_injective(t1 in name(), n1 in name(), t2 in name(), n2 in name()) {
            let (ta, tb) = (Tenant::new(&t1).unwrap(), Tenant::new(&t2).unwrap());
            let a = Channel::room(&ta, &Room::new(&n1).unwrap());
            let b = Channel::user(&tb, &UserId::new(&n2).unwrap());
            let c = Channel::room(&tb, &Room::new(&n2).unwrap());
            prop_assert_ne!(&a, &b);
            prop_assert_eq!(a == c, t1 == t2 && n1 == n2);
            for channel in [&a, &b, &c, &Channel::everyone(&ta)] {
                prop_assert_eq!(&Channel::parse(channel.as_str()).unwrap(), channel);
            }
            prop_assert_eq!(a.tenant(), t1);
            prop_assert_eq!(a.name(), n1);
        }

        #[test]
        fn any_text_parses_to_itself_or_is_refused(text in any::<String>()) {
            if let Ok(channel) = Channel::parse(&text) {
                prop_assert_eq!(channel.as_str(), text);
            }
        }
    }
}
