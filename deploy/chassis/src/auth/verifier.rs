//! The verifier: keys and rules, put together once, asked by every connection and request.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::identity::Identity;
use super::key::Keys;
use super::key_source::KeySource;
use super::revocation::Revocations;
use super::token::{Rules, TokenError, check, names_missing_key};

/// Turns tokens into identities. A clone shares the keys.
#[derive(Debug, Clone)]
pub struct Verifier {
    rules: Arc<Rules>,
    fixed: Arc<Keys>,
    source: Option<Arc<KeySource>>,
    revocations: Arc<Revocations>,
}

/// How it stands with the key set that is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeySetStatus {
    /// How many of its keys can be used.
    pub keys: usize,
    /// How long ago it was fetched; `None` before the first time.
    pub age: Option<Duration>,
    /// Whether the last attempt failed.
    pub failed: bool,
}

impl Verifier {
    /// A verifier with keys that do not change.
    pub fn new(rules: Rules, fixed: Keys) -> Self {
        Self { rules: Arc::new(rules), fixed: Arc::new(fixed), source: None, revocations: Arc::default() }
    }

    /// The same verifier, with a key set that is fetched.
    pub(super) fn with_source(self, source: KeySource) -> Self {
        Self { source: Some(Arc::new(source)), ..self }
    }

    /// A verifier with the same keys and other rules, such as those of one endpoint.
    pub fn with_rules(&self, rules: Rules) -> Self {
        Self { rules: Arc::new(rules), ..self.clone() }
    }

    /// What tokens must say.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Checks a token at the time `now`, in seconds since 1970, by the keys that are here.
    ///
    /// Fails with [`TokenError::KeysUnavailable`] if the token's key is not here and the key set that may have it could
    /// not be fetched: then the token may be good, and the client should try again.
    pub fn verify(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let identity = self.verify_signed(token, now)?;
        if self.revocations.cover(&identity.token) { Err(TokenError::Revoked) } else { Ok(identity) }
    }

    /// What is revoked: to be told by whoever knows.
    pub fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    fn verify_signed(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let Some(source) = &self.source else { return check(token, &[&self.fixed], &self.rules, now) };
        let fetched = source.current();
        let keys = [&*self.fixed, &fetched.keys];
        check(token, &keys, &self.rules, now).map_err(|error| {
            let unknown = fetched.failed || fetched.at.is_none();
            if unknown && names_missing_key(token, &keys, &error) {
                TokenError::KeysUnavailable
            } else {
                error
            }
        })
    }

    /// The same; but if the token's key is not here, the key set is first fetched again, unless that was done a moment
    /// ago. Waits a few seconds at most.
    pub async fn verify_or_refresh(&self, token: &str, now: u64) -> Result<Identity, TokenError> {
        let outcome = self.verify(token, now);
        let (Some(source), Err(error)) = (&self.source, &outcome) else { return outcome };
        let missing = names_missing_key(token, &[&self.fixed, &source.current().keys], error);
        if missing && source.refreshed().await { self.verify(token, now) } else { outcome }
    }

    /// Which keys are here: another number whenever others may have been fetched.
    pub fn generation(&self) -> u64 {
        self.source.as_ref().map_or(0, |source| source.generation())
    }

    /// Keeps the key set up to date until `stop`. Must run once beside whatever uses the verifier or clones of it;
    /// ends at once if there is nothing to fetch.
    pub async fn run(&self, stop: CancellationToken) {
        if let Some(source) = &self.source {
            source.run(&stop).await;
        }
    }

    /// How it stands with the key set; `None` if none is configured.
    pub fn key_set(&self) -> Option<KeySetStatus> {
        let fetched = self.source.as_ref()?.current();
        let age = fetched.at.map(|at| at.elapsed());
        Some(KeySetStatus { keys: fetched.keys.len(), age, failed: fetched.failed })
    }
}
