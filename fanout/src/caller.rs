//! Who calls, and what they may.

use std::sync::Arc;

use chassis::auth::{ApiKey, ApiKeys, Identity, Scopes, Tenants, Verifier};
use proto::{Tenant, Timestamp};

use crate::config::FanoutConfig;
use crate::refusal::{Refusal, at};

/// Whose calls are taken: those who present a good token or a known API key.
#[derive(Debug, Clone)]
pub struct Callers {
    tokens: Arc<Verifier>,
    keys: Arc<ApiKeys>,
}

/// A caller that may publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Caller {
    /// Separates callers that may choose the same message ids.
    pub(crate) publisher: String,
    /// Where they may publish to.
    reach: Reach,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Reach {
    Own(Tenant),
    Any { own: Tenant },
    Listed(Tenants),
}

impl Callers {
    /// Callers by tokens and by API keys; either may be empty.
    pub const fn new(tokens: Arc<Verifier>, keys: Arc<ApiKeys>) -> Self {
        Self { tokens, keys }
    }

    /// Who presents this credential, if they may publish at all.
    pub(crate) async fn identify(
        &self,
        credential: &str,
        config: &FanoutConfig,
        now: Timestamp,
    ) -> Result<Caller, Refusal> {
        if ApiKeys::looks_like_one(credential) {
            let key = self.keys.find(credential).map_err(|_| Refusal::UnknownApiKey)?;
            may_publish(&key.scopes, config)?;
            Ok(Caller::with_key(key, config))
        } else {
            let identity = self.tokens.verify_or_refresh(credential, now.0 / 1000).await?;
            may_publish(&identity.scopes, config)?;
            Ok(Caller::with_token(identity, config))
        }
    }
}

fn may_publish(scopes: &Scopes, config: &FanoutConfig) -> Result<(), Refusal> {
    if scopes.has(&config.publish_scope) || scopes.has(&config.any_tenant_scope) {
        Ok(())
    } else {
        Err(Refusal::Forbidden("the credential does not have the scope for publishing"))
    }
}

impl Caller {
    fn with_key(key: &ApiKey, config: &FanoutConfig) -> Self {
        let reach = if key.scopes.has(&config.any_tenant_scope) {
            Reach::Any { own: key.tenants.own().clone() }
        } else {
            Reach::Listed(key.tenants.clone())
        };
        Self { publisher: format!("key:{}", key.id), reach }
    }

    fn with_token(identity: Identity, config: &FanoutConfig) -> Self {
        // A slash is in no name, so no two callers share this text.
        let publisher = format!("token:{}/{}", identity.tenant, identity.user);
        let own = identity.tenant;
        let any = identity.scopes.has(&config.any_tenant_scope);
        Self { publisher, reach: if any { Reach::Any { own } } else { Reach::Own(own) } }
    }

    /// The tenant that a message goes to when its request names `wanted`.
    pub(crate) fn tenant_of(&self, wanted: Option<&str>) -> Result<Tenant, Refusal> {
        let own = match &self.reach {
            Reach::Own(own) | Reach::Any { own } => own,
            Reach::Listed(tenants) => tenants.own(),
        };
        let Some(wanted) = wanted else { return Ok(own.clone()) };
        let wanted = Tenant::new(wanted).map_err(at("/tenant"))?;
        let allowed = match &self.reach {
            Reach::Own(own) => wanted == *own,
            Reach::Any { .. } => true,
            Reach::Listed(tenants) => tenants.contains(&wanted),
        };
        if allowed {
            Ok(wanted)
        } else {
            Err(Refusal::Forbidden("the caller may not publish to this tenant"))
        }
    }
}
