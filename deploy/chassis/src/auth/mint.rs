//! Making tokens, for development and for trying things out. In production an identity provider does this.

use std::time::Duration;

use jsonwebtoken::{EncodingKey, Header};
use proto::{Pattern, Tenant, UserId};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value};

use super::identity::Scopes;
use super::key::{Algorithm, Key, KeyError};
use super::token::Rules;

/// What a new token is to say.
#[derive(Debug, Clone)]
pub struct Grant {
    /// The user.
    pub user: UserId,
    /// The tenant; without it the token names none, and the default tenant is meant.
    pub tenant: Option<Tenant>,
    /// The display name.
    pub name: Option<String>,
    /// The rooms, by name or pattern.
    pub rooms: Vec<Pattern>,
    /// The scopes.
    pub scopes: Scopes,
    /// How long the token is good for.
    pub lifetime: Duration,
}

/// The token could not be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token could not be signed")]
pub struct MintError;

/// Makes tokens that a verifier with the same secret and rules accepts.
pub struct Minter {
    key: EncodingKey,
    header: Header,
    rules: Rules,
}

impl Minter {
    /// A minter that signs with a shared secret. Fails as [`Key::from_secret`] does.
    pub fn new(
        algorithm: Algorithm,
        secret: &SecretString,
        key_id: Option<String>,
        rules: Rules,
    ) -> Result<Self, KeyError> {
        // What may check tokens may make them, and nothing else.
        Key::from_secret(algorithm, secret, None)?;
        let header = Header { kid: key_id, ..Header::new(algorithm.in_library()) };
        Ok(Self { key: EncodingKey::from_secret(secret.expose_secret().as_bytes()), header, rules })
    }

    /// Makes a token at the time `now`, in seconds since 1970.
    ///
    /// Each claim stands under the name that the rules read it by, as a top-level claim even if that is a path.
    pub fn mint(&self, grant: &Grant, now: u64) -> Result<String, MintError> {
        let names = &self.rules.claims;
        let mut claims = Map::new();
        let mut put = |name: &str, value: Value| claims.insert(name.to_owned(), value);
        if let Some(name) = names.user.first() {
            put(name.as_str(), grant.user.as_str().into());
        }
        if let Some(tenant) = &grant.tenant {
            put(names.tenant.as_str(), tenant.as_str().into());
        }
        if let Some(name) = &grant.name {
            put(names.name.as_str(), name.as_str().into());
        }
        if !grant.rooms.is_empty() {
            put(names.rooms.as_str(), grant.rooms.iter().map(Pattern::as_str).collect());
        }
        let scopes: Vec<_> = grant.scopes.iter().collect();
        if !scopes.is_empty() {
            put(names.scopes.as_str(), scopes.join(" ").into());
        }
        self.mint_claims(claims, grant.lifetime, now)
    }

    /// Makes a token with these claims at the time `now`, in seconds since 1970. Where they say nothing about times,
    /// issuer and audience, what the rules ask for is added.
    pub fn mint_claims(
        &self,
        mut claims: Map<String, Value>,
        lifetime: Duration,
        now: u64,
    ) -> Result<String, MintError> {
        let first = |list: &[String]| list.first().map(|text| Value::from(text.as_str()));
        for (name, value) in [
            ("iat", Some(now.into())),
            ("exp", Some(now.saturating_add(lifetime.as_secs()).into())),
            ("aud", first(&self.rules.audiences)),
            ("iss", first(&self.rules.issuers)),
        ] {
            if let Some(value) = value {
                claims.entry(name).or_insert(value);
            }
        }
        jsonwebtoken::encode(&self.header, &claims, &self.key).map_err(|_| MintError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::claims::{ClaimMapping, ClaimPath};
    use crate::auth::key::Keys;
    use crate::auth::token::{TokenError, check};
    use serde_json::json;

    fn grant() -> Grant {
        Grant {
            user: UserId::new("ann").unwrap(),
            tenant: Tenant::new("acme").ok(),
            name: Some("Ann".to_owned()),
            rooms: vec![Pattern::new("chat-*").unwrap()],
            scopes: Scopes::new(["publish", "admin"]).unwrap(),
            lifetime: Duration::from_secs(60),
        }
    }

    #[test]
    fn what_is_minted_is_accepted_and_says_the_same() {
        let secret = SecretString::from("a secret of at least sixty-four bytes, so that it serves all three");
        let path = |text| ClaimPath::new(text).unwrap();
        let rules = Rules {
            audiences: vec!["switchboard".to_owned(), "other".to_owned()],
            issuers: vec!["https://id.example".to_owned()],
            claims: ClaimMapping {
                user: vec![path("user.id"), path("sub")],
                tenant: path("https://example.com/org"),
                ..ClaimMapping::default()
            },
            ..Rules::default()
        };
        for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
            let id = Some("dev".to_owned());
            let minter = Minter::new(algorithm, &secret, id.clone(), rules.clone()).unwrap();
            let token = minter.mint(&grant(), 1000).unwrap();
            let keys = Keys::new(vec![Key::from_secret(algorithm, &secret, id).unwrap()]);
            let identity = check(&token, &[&keys], &rules, 1059).unwrap();
            assert_eq!((identity.user, Some(identity.tenant)), (grant().user, grant().tenant));
            assert_eq!((identity.name, identity.rooms), (grant().name, grant().rooms));
            assert_eq!((identity.scopes, identity.expires_at), (grant().scopes, 1060));
            assert_eq!(check(&token, &[&keys], &rules, 1090), Err(TokenError::Expired));
        }
    }

    #[test]
    fn claims_can_be_given_as_they_are() {
        let secret = SecretString::from("a secret");
        let rules = Rules { audiences: vec!["chat".to_owned()], ..Rules::default() };
        let minter = Minter::new(Algorithm::Hs256, &secret, None, rules.clone()).unwrap();
        let keys = Keys::new(vec![Key::from_secret(Algorithm::Hs256, &secret, None).unwrap()]);
        let mint = |claims: Value| {
            let Value::Object(claims) = claims else { panic!("claims are an object") };
            let token = minter.mint_claims(claims, Duration::from_secs(60), 1000).unwrap();
            check(&token, &[&keys], &rules, 1000)
        };
        let identity = mint(json!({"sub": 7, "email": "ann@example.com"})).unwrap();
        assert_eq!((identity.user.as_str(), identity.expires_at), ("7", 1060));
        assert_eq!(identity.claims["email"], "ann@example.com");
        // What is given stays, so that refusals can be tried out too.
        assert_eq!(mint(json!({"sub": 7, "exp": 10})), Err(TokenError::Expired));
        assert_eq!(mint(json!({"sub": 7, "aud": "other"})), Err(TokenError::WrongAudience));
    }

    #[test]
    fn only_a_secret_mints() {
        let secret = SecretString::from("secret");
        let refusal = |algorithm, secret| Minter::new(algorithm, secret, None, Rules::default()).err();
        assert_eq!(refusal(Algorithm::Rs256, &secret), Some(KeyError::Kind));
        assert_eq!(refusal(Algorithm::Hs256, &SecretString::from("")), Some(KeyError::EmptySecret));
    }
}
