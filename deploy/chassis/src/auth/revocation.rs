//! Tokens that are no good any more although they have not expired.

use std::collections::HashMap;
use std::num::NonZeroU64;

use aws_lc_rs::digest::{SHA256, digest};
use parking_lot::RwLock;
use proto::{Tenant, UserId};

/// By what something revoked is known: the first 64 bits of a SHA-256 digest, from which it cannot be read. So short
/// because each connection has some; that two are the same by chance would refuse a good token, and is not to be expected
/// in the lifetime of anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest(NonZeroU64);

impl Default for TokenDigest {
    /// That of no token.
    fn default() -> Self {
        Self(NonZeroU64::MIN)
    }
}

impl TokenDigest {
    /// Of a token's text.
    pub fn of_token(token: &str) -> Self {
        Self::of(&["token", token])
    }

    /// Of a token's claim `jti`, which tells it from all others of the tenant.
    pub fn of_id(tenant: &Tenant, jti: &str) -> Self {
        Self::of(&["jti", tenant.as_str(), jti])
    }

    /// Of whose tokens they are.
    pub fn of_user(tenant: &Tenant, user: &UserId) -> Self {
        Self::of(&["user", tenant.as_str(), user.as_str()])
    }

    fn of(parts: &[&str]) -> Self {
        // No tenant holds a slash, so no two lists of parts make the same text.
        let digest = digest(&SHA256, parts.join("/").as_bytes());
        let first =
            digest.as_ref().iter().take(8).fold(0, |number: u64, byte| number << 8 | u64::from(*byte));
        Self(NonZeroU64::new(first).unwrap_or(NonZeroU64::MAX))
    }
}

/// By what a token can be revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TokenFacts {
    /// Whose it is.
    pub owner: TokenDigest,
    /// When it was issued (the claim `iat`), in seconds since 1970; 0 if it does not say.
    pub issued_at: u64,
    /// Its text.
    pub text: TokenDigest,
    /// Its claim `jti`, if it has one.
    pub id: Option<TokenDigest>,
}

/// What is revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revoked {
    /// All tokens of a user that were issued up to this second, and those that do not say when they were.
    User {
        /// The user.
        owner: TokenDigest,
        /// In seconds since 1970, inclusive.
        upto: u64,
    },
    /// One token, by its text or its id.
    Token(TokenDigest),
}

impl Revoked {
    /// The text by which processes tell each other.
    pub fn encode(&self) -> String {
        match self {
            Self::User { owner: TokenDigest(owner), upto } => format!("u/{owner:016x}/{upto}"),
            Self::Token(TokenDigest(token)) => format!("t/{token:016x}"),
        }
    }

    /// Reads such a text; `None` for what another version wrote.
    pub fn decode(text: &str) -> Option<Self> {
        let mut parts = text.split('/');
        let mut part = || parts.next();
        let digest = |hex| Some(TokenDigest(NonZeroU64::new(u64::from_str_radix(hex, 16).ok()?)?));
        let revoked = match part()? {
            "u" => Self::User { owner: digest(part()?)?, upto: part()?.parse().ok()? },
            "t" => Self::Token(digest(part()?)?),
            _ => return None,
        };
        part().is_none().then_some(revoked)
    }
}

/// All that is revoked, as far as this process was told.
#[derive(Debug, Default)]
pub struct Revocations(RwLock<Lists>);

#[derive(Debug, Default)]
struct Lists {
    /// Up to when tokens were issued, and how long that is remembered.
    users: HashMap<TokenDigest, (u64, u64)>,
    tokens: HashMap<TokenDigest, u64>,
}

impl Revocations {
    /// Notes what is revoked, each until a time in milliseconds since 1970, and forgets what is past at `now`. Answers
    /// whether any of it is news.
    pub fn add(&self, all: impl IntoIterator<Item = (Revoked, u64)>, now: u64) -> bool {
        let mut lists = self.0.write();
        lists.users.retain(|_, (_, until)| *until > now);
        lists.tokens.retain(|_, until| *until > now);
        let mut is_news = false;
        for (revoked, until) in all.into_iter().filter(|(_, until)| *until > now) {
            match revoked {
                Revoked::User { owner, upto } => {
                    let known = lists.users.entry(owner).or_default();
                    let both = (known.0.max(upto), known.1.max(until));
                    is_news |= std::mem::replace(known, both) != both;
                }
                Revoked::Token(token) => {
                    let known = lists.tokens.entry(token).or_default();
                    let later = until.max(*known);
                    is_news |= std::mem::replace(known, later) != later;
                }
            }
        }
        is_news
    }

    /// Whether a token is revoked.
    pub fn cover(&self, token: &TokenFacts) -> bool {
        let lists = self.0.read();
        lists.users.get(&token.owner).is_some_and(|(upto, _)| token.issued_at <= *upto)
            || lists.tokens.contains_key(&token.text)
            || token.id.is_some_and(|id| lists.tokens.contains_key(&id))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        Tenant::new("t").unwrap()
    }

    fn user(name: &str) -> TokenDigest {
        TokenDigest::of_user(&tenant(), &UserId::new(name).unwrap())
    }

    fn facts(name: &str, issued_at: u64, token: &str, jti: Option<&str>) -> TokenFacts {
        let id = jti.map(|jti| TokenDigest::of_id(&tenant(), jti));
        TokenFacts { owner: user(name), issued_at, text: TokenDigest::of_token(token), id }
    }

    #[test]
    fn what_is_revoked_is_read_as_it_was_written() {
        let token = Revoked::Token(TokenDigest::of_id(&tenant(), "x"));
        for revoked in [Revoked::User { owner: user("a:b"), upto: 7 }, token] {
            assert_eq!(Revoked::decode(&revoked.encode()), Some(revoked));
        }
        for other in ["", "u/1", "u/1/x", "t/xyz", "t/0", "u/1/1/2", "z/1"] {
            assert_eq!(Revoked::decode(other), None, "{other}");
        }
    }

    #[test]
    fn a_user_is_revoked_up_to_a_second_and_a_token_by_its_text_or_id() {
        let revocations = Revocations::default();
        let ann = Revoked::User { owner: user("ann"), upto: 100 };
        let tokens = [TokenDigest::of_token("one"), TokenDigest::of_id(&tenant(), "two")].map(Revoked::Token);
        assert!(revocations.add(tokens.into_iter().chain([ann]).map(|revoked| (revoked, 1000)), 0));
        for (token, revoked) in [
            (facts("ann", 100, "x", None), true),
            (facts("ann", 0, "x", None), true),
            (facts("ann", 101, "x", None), false),
            (facts("bob", 1, "one", None), true),
            (facts("bob", 1, "two", None), false),
            (facts("bob", 1, "x", Some("two")), true),
            (facts("bob", 1, "x", Some("one")), false),
        ] {
            assert_eq!(revocations.cover(&token), revoked, "{token:?}");
        }
        revocations.add([], 1000);
        assert!(!revocations.cover(&facts("ann", 0, "one", None)));
    }

    #[test]
    fn what_is_known_is_no_news_and_what_is_past_is_nothing() {
        let revocations = Revocations::default();
        let ann = |upto| Revoked::User { owner: user("ann"), upto };
        for (revoked, until, is_news) in
            [(ann(5), 1000, true), (ann(5), 1000, false), (ann(4), 900, false), (ann(6), 1000, true)]
        {
            assert_eq!(revocations.add([(revoked, until)], 0), is_news, "{revoked:?} {until}");
        }
        assert!(!revocations.add([(Revoked::Token(TokenDigest::of_token("x")), 10)], 10));
        assert!(!revocations.cover(&facts("bob", 1, "x", None)));
    }
}
