//! What a checked token says, and what that allows.

use proto::{Access, ChannelOptions, Pattern, Room, Tenant, UserId};
use serde_json::{Map, Value};

use super::revocation::TokenFacts;

/// Who is calling and what their token allows.
#[derive(Debug, Clone, PartialEq)]
pub struct Identity {
    /// The world the user belongs to; nothing outside of it can be reached.
    pub tenant: Tenant,
    /// Who it is.
    pub user: UserId,
    /// How others see them.
    pub name: Option<String>,
    /// The rooms that the token lists, by name or pattern.
    pub rooms: Vec<Pattern>,
    /// What may be done beyond rooms, such as publishing over HTTP.
    pub scopes: Scopes,
    /// All claims of the token, for templates.
    pub claims: Map<String, Value>,
    /// When the token runs out, in seconds since 1970 (the claim `exp`, without leeway).
    pub expires_at: u64,
    /// By what it can be revoked.
    pub token: TokenFacts,
}

impl Identity {
    /// Whether the token lists this room.
    pub fn lists(&self, room: &Room) -> bool {
        self.rooms.iter().any(|pattern| pattern.matches(room.as_str()))
    }

    /// Whether this user may join a room of their own tenant that has these options.
    pub fn may_join(&self, room: &Room, options: &ChannelOptions) -> bool {
        match options.join {
            Access::Anyone => true,
            // Membership begins with joining, so for joining it can only mean the list.
            Access::Listed | Access::Members => self.lists(room),
            Access::Nobody => false,
        }
    }

    /// Whether this user may publish into a room of their own tenant that has these options; `joined` says whether
    /// the session that asks is in the room.
    pub fn may_publish(&self, room: &Room, options: &ChannelOptions, joined: bool) -> bool {
        match options.publish {
            Access::Anyone => true,
            Access::Listed => self.lists(room),
            Access::Members => joined,
            Access::Nobody => false,
        }
    }

    /// Whether the token carries this scope.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.has(scope)
    }

    /// Whether a token with `next` may take this one's place in a running session: who it is may not change.
    pub fn may_become(&self, next: &Self) -> bool {
        self.tenant == next.tenant && self.user == next.user
    }
}

/// A set of scope words (RFC 6749, section 3.3).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(Vec<Box<str>>);

/// A text is not a scope word: it is empty, or holds something else than printable ASCII without space, `"` and `\`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be words of printable ASCII without quotes or backslashes")]
pub struct ScopeError;

impl Scopes {
    /// Collects words, each once.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Self, ScopeError> {
        let mut scopes = Vec::new();
        for word in words {
            if word.is_empty() || !word.bytes().all(|b| b.is_ascii_graphic() && b != b'"' && b != b'\\') {
                return Err(ScopeError);
            }
            scopes.push(Box::from(word));
        }
        scopes.sort_unstable();
        scopes.dedup();
        Ok(Self(scopes))
    }

    /// Whether the word is in the set. Words are compared as they are; none stands for others.
    pub fn has(&self, scope: &str) -> bool {
        self.0.binary_search_by(|word| word.as_ref().cmp(scope)).is_ok()
    }

    /// The words, in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::Kind;

    fn someone(rooms: &[&str]) -> Identity {
        Identity {
            tenant: Tenant::new("acme").unwrap(),
            user: UserId::new("42").unwrap(),
            name: None,
            rooms: rooms.iter().map(|room| Pattern::new(*room).unwrap()).collect(),
            scopes: Scopes::new(["publish", "admin", "publish"]).unwrap(),
            claims: Map::new(),
            expires_at: 0,
            token: TokenFacts::default(),
        }
    }

    fn options(join: Access, publish: Access) -> ChannelOptions {
        ChannelOptions { join, publish, ..ChannelOptions::default_for(Kind::Room) }
    }

    #[test]
    fn joining_follows_the_rule_of_the_room() {
        let (listed, other) = (Room::new("chat-1").unwrap(), Room::new("vault").unwrap());
        let user = someone(&["lobby", "chat-*"]);
        for (access, of_listed, of_other) in [
            (Access::Anyone, true, true),
            (Access::Listed, true, false),
            (Access::Members, true, false),
            (Access::Nobody, false, false),
        ] {
            let options = options(access, Access::Nobody);
            assert_eq!(user.may_join(&listed, &options), of_listed, "{access:?}");
            assert_eq!(user.may_join(&other, &options), of_other, "{access:?}");
        }
    }

    #[test]
    fn publishing_follows_the_rule_of_the_room() {
        let (listed, other) = (Room::new("chat-1").unwrap(), Room::new("vault").unwrap());
        let user = someone(&["chat-*"]);
        for (access, of_listed, of_other_joined, of_other) in [
            (Access::Anyone, true, true, true),
            (Access::Listed, true, false, false),
            (Access::Members, false, true, false),
            (Access::Nobody, false, false, false),
        ] {
            let options = options(Access::Nobody, access);
            assert_eq!(user.may_publish(&listed, &options, false), of_listed, "{access:?}");
            assert_eq!(user.may_publish(&other, &options, true), of_other_joined, "{access:?}");
            assert_eq!(user.may_publish(&other, &options, false), of_other, "{access:?}");
        }
    }

    #[test]
    fn a_token_without_rooms_lists_none() {
        assert!(
            !someone(&[]).may_join(&Room::new("lobby").unwrap(), &options(Access::Listed, Access::Nobody))
        );
    }

    #[test]
    fn scopes_are_whole_words() {
        let user = someone(&[]);
        assert!(user.has_scope("publish") && user.has_scope("admin"));
        assert!(!user.has_scope("pub") && !user.has_scope("publish admin") && !user.has_scope(""));
        assert_eq!(user.scopes.iter().collect::<Vec<_>>(), ["admin", "publish"]);
        for bad in ["", "a b", "a\"", "a\\", "é", "a\n"] {
            assert_eq!(Scopes::new([bad]), Err(ScopeError), "{bad:?}");
        }
    }

    #[test]
    fn a_refresh_keeps_who_it_is() {
        let user = someone(&["a"]);
        assert!(user.may_become(&someone(&["b"])));
        let other = Identity { user: UserId::new("43").unwrap(), ..user.clone() };
        assert!(!user.may_become(&other));
        let elsewhere = Identity { tenant: Tenant::new("other").unwrap(), ..user.clone() };
        assert!(!user.may_become(&elsewhere));
    }
}
