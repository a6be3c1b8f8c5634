//! Who calls, and what they may.

use proto::Tenant;

use crate::refusal::{Refusal, at};

/// A caller that may publish.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Their own tenant.
    pub tenant: Tenant,
    /// Separates callers that may choose the same message ids.
    pub publisher: String,
    /// Whether they may name another tenant.
    pub any_tenant: bool,
}

/// Turns a credential into a caller.
pub trait Callers: Send + Sync + 'static {
    /// Who presents this token; the error is what they are told.
    fn identify(&self, token: &str) -> Result<Caller, Refusal>;
}

impl Caller {
    /// The tenant that a message goes to when its request names `wanted`.
    pub(crate) fn tenant_of(&self, wanted: Option<&str>) -> Result<Tenant, Refusal> {
        let Some(wanted) = wanted else { return Ok(self.tenant.clone()) };
        let wanted = Tenant::new(wanted).map_err(at("/tenant"))?;
        if self.any_tenant || wanted == self.tenant {
            Ok(wanted)
        } else {
            Err(Refusal::Forbidden("the caller may publish to its own tenant only"))
        }
    }
}
