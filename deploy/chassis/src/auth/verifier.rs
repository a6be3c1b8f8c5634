//! The verifier: keys and rules, put together once, asked by every connection and request.

use std::sync::Arc;

use super::identity::Identity;
use super::key::Keys;
use super::token::{Rules, TokenError, check};

/// Turns tokens into identities. A clone shares the keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    rules: Arc<Rules>,
    fixed: Arc<Keys>,
}

impl Verifier {
    /// A verifier with keys that do not change.
    pub fn new(rules: Rules, fixed: Keys) -> Self {
        Self { rules: Arc::new(rules), fixed: Arc::new(fixed) }
    }

    /// A verifier with the same keys and other rules, such as those of one endpoint.
    pub fn with_rules(&self, rules: Rules) -> Self {
        Self { rules: Arc::new(rules), ..self.clone() }
    }

    /// What tokens must say.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Checks a token at the time `now`, in seconds since 1970.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        check(token, &[&self.fixed], &self.rules, now)
    }
}
