//! Tokens that the client mints for itself.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};
use jsonwebtoken::{EncodingKey, Header};
use serde::Serialize;

/// Seconds that a token stays valid: longer than any run.
const LIFETIME: u64 = 24 * 60 * 60;

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<&'a str>,
    rooms: &'a [&'a str],
    scope: &'a str,
    exp: u64,
}

/// Signs HS256 tokens with one secret, for users of one tenant.
pub struct Mint {
    key: EncodingKey,
    tenant: Option<String>,
}

impl Mint {
    /// Signs with `secret`; without a tenant the claim is left out.
    #[must_use]
    pub fn new(secret: &str, tenant: Option<String>) -> Self {
        Self { key: EncodingKey::from_secret(secret.as_bytes()), tenant }
    }

    /// A token for `user` that may join every room and publish.
    ///
    /// # Errors
    /// The secret cannot sign, or the clock stands before 1970.
    pub fn token(&self, user: &str) -> Result<String> {
        self.token_for(user, &["*"])
    }

    /// A token for `user` that may join these rooms and publish.
    ///
    /// # Errors
    /// The secret cannot sign, or the clock stands before 1970.
    pub fn token_for(&self, user: &str, rooms: &[&str]) -> Result<String> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let tenant = self.tenant.as_deref();
        let claims = Claims { sub: user, tenant, rooms, scope: "publish", exp: now + LIFETIME };
        jsonwebtoken::encode(&Header::default(), &claims, &self.key).context("signing a token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};

    #[test]
    fn a_token_verifies_and_names_its_user() {
        let mint = Mint::new("a secret of the test", Some("acme".into()));
        let token = mint.token("u7").unwrap();
        let key = DecodingKey::from_secret(b"a secret of the test");
        let read: jsonwebtoken::TokenData<serde_json::Value> =
            jsonwebtoken::decode(&token, &key, &Validation::new(Algorithm::HS256)).unwrap();
        assert_eq!(read.claims["sub"], "u7");
        assert_eq!(read.claims["tenant"], "acme");
        assert_eq!(read.claims["rooms"][0], "*");
        assert_eq!(read.claims["scope"], "publish");
    }
}
