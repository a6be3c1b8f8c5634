//! Who calls, and what they may.

use std::sync::Arc;

use broker::Revocation;
use chassis::auth::{ApiKey, ApiKeys, Identity, Revoked, Scopes, Tenants, TokenError, Verifier};
use proto::{Tenant, Timestamp, UserId};
use serde_json::{Map, Value};

use crate::api::now;
use crate::config::FanoutConfig;
use crate::known::{Good, Known};
use crate::refusal::{Refusal, at};

/// Whose calls are taken: those who present a good token or a known API key.
#[derive(Debug, Clone)]
pub struct Callers {
    tokens: Arc<Verifier>,
    keys: Arc<ApiKeys>,
    known: Arc<Known>,
}

/// A caller whose credential was found good.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Caller {
    /// Separates callers that may choose the same message ids.
    pub(crate) publisher: String,
    /// What the credential allows.
    pub(crate) scopes: Scopes,
    /// Whose token it is; none for an API key.
    pub(crate) user: Option<User>,
    tenants: Reach,
}

/// The user that a token names.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) name: Option<String>,
    /// All claims of the token.
    pub(crate) claims: Map<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Own(Tenant),
    Listed(Tenants),
}

impl Callers {
    /// Callers by tokens and by API keys; either may be empty.
    pub fn new(tokens: Arc<Verifier>, keys: Arc<ApiKeys>) -> Self {
        Self { tokens, keys, known: Arc::default() }
    }

    /// Notes which tokens are revoked.
    pub(crate) fn learn(&self, news: &[Revocation]) {
        let revoked = news.iter().filter_map(|news| Some((Revoked::decode(&news.text)?, news.until.0)));
        self.tokens.revocations().add(revoked, now().0);
    }

    /// Who presents this credential.
    pub(crate) async fn identify(&self, credential: &str, now: Timestamp) -> Result<Arc<Caller>, Refusal> {
        if ApiKeys::looks_like_one(credential) {
            let key = self.keys.find(credential).map_err(|_| Refusal::UnknownApiKey)?;
            return Ok(Arc::new(key.into()));
        }
        let (seconds, keys) = (now.0 / 1000, self.tokens.generation());
        if let Some(good) = self.known.find(credential, seconds, keys) {
            let revoked = self.tokens.revocations().cover(&good.facts);
            return if revoked { Err(TokenError::Revoked.into()) } else { Ok(good.caller) };
        }
        // Keys that come meanwhile are newer than what is noted, which then is not found again.
        let identity = self.tokens.verify_or_refresh(credential, seconds).await?;
        let (facts, expires_at) = (identity.token, identity.expires_at);
        let caller = Arc::new(Caller::from(identity));
        self.known.note(credential, Good { caller: Arc::clone(&caller), facts, expires_at, keys });
        Ok(caller)
    }
}

impl From<&ApiKey> for Caller {
    fn from(key: &ApiKey) -> Self {
        Self {
            publisher: format!("key:{}", key.id),
            scopes: key.scopes.clone(),
            user: None,
            tenants: Reach::Listed(key.tenants.clone()),
        }
    }
}

impl From<Identity> for Caller {
    fn from(identity: Identity) -> Self {
        Self {
            // A slash is in no name, so no two callers share this text.
            publisher: format!("token:{}/{}", identity.tenant, identity.user),
            scopes: identity.scopes,
            user: Some(User { id: identity.user, name: identity.name, claims: identity.claims }),
            tenants: Reach::Own(identity.tenant),
        }
    }
}

impl Caller {
    /// Refuses a caller that may not publish at all.
    pub(crate) fn may_publish(&self, config: &FanoutConfig) -> Result<(), Refusal> {
        if self.scopes.has(&config.publish_scope) || self.scopes.has(&config.any_tenant_scope) {
            Ok(())
        } else {
            Err(Refusal::Forbidden("the credential does not have the scope for publishing"))
        }
    }

    /// The tenant of what does not name one.
    pub(crate) const fn own_tenant(&self) -> &Tenant {
        match &self.tenants {
            Reach::Own(own) => own,
            Reach::Listed(tenants) => tenants.own(),
        }
    }

    /// The tenant that a message goes to when its request names `wanted`.
    pub(crate) fn tenant_of(&self, wanted: Option<&str>, config: &FanoutConfig) -> Result<Tenant, Refusal> {
        let Some(wanted) = wanted else { return Ok(self.own_tenant().clone()) };
        let wanted = Tenant::new(wanted).map_err(at("/tenant"))?;
        let listed = match &self.tenants {
            Reach::Own(own) => wanted == *own,
            Reach::Listed(tenants) => tenants.contains(&wanted),
        };
        if listed || self.scopes.has(&config.any_tenant_scope) {
            Ok(wanted)
        } else {
            Err(Refusal::Forbidden("the caller may not publish to this tenant"))
        }
    }
}
