//! The verifier: keys and rules, put together once, asked by every connection and request.

use super::identity::Identity;
use super::key::Keys;
use super::token::{Rules, TokenError, check};

/// Turns tokens into identities.
#[derive(Debug)]
pub struct Verifier {
    rules: Rules,
    fixed: Keys,
}

impl Verifier {
    /// A verifier with keys that do not change.
    pub const fn new(rules: Rules, fixed: Keys) -> Self {
        Self { rules, fixed }
    }

    /// Checks a token at the time `now`, in seconds since 1970.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        check(token, &[&self.fixed], &self.rules, now)
    }
}
