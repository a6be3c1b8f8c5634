//! Whom an endpoint takes beside what every token must say, and the rooms that its sessions are in by themselves.

use chassis::auth::{ClaimError, ClaimFault, ClaimRule, Identity};
use proto::Room;
use proto::template::{Missing, Template, TemplateError, scalar};
use proto::vocabulary::Claims;
use serde_json::Value;

/// What an endpoint asks of claims, and makes of them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Admission {
    /// What they must say.
    pub claims: Vec<ClaimRule>,
    /// The rooms that a session is in by itself.
    pub rooms: Vec<ClaimsText>,
}

/// A text with placeholders for claims, such as `org:${claims.organizationId}`.
#[derive(Debug, Clone)]
pub struct ClaimsText {
    written: String,
    template: Template<Claims>,
}

impl PartialEq for ClaimsText {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl ClaimsText {
    /// Compiles what was written under `key`.
    ///
    /// # Errors
    /// What was written is no template of claims.
    pub fn compile(key: &str, written: &str) -> Result<Self, TemplateError> {
        let template = Template::compile(key, &Value::String(written.to_owned()))?;
        Ok(Self { written: written.to_owned(), template })
    }

    /// The text for these claims, a JSON object.
    pub(crate) fn text(&self, claims: &str) -> Result<String, ClaimError> {
        let text = self.template.render_whole(&claims).map_err(|Missing(placeholder)| {
            let claim = placeholder.strip_prefix("claims.").unwrap_or(&placeholder);
            ClaimError { claim: claim.to_owned(), fault: ClaimFault::Missing }
        })?;
        scalar(&text).map(Into::into).ok_or_else(|| self.fault(ClaimFault::NotTextOrInteger))
    }

    /// The room of this name.
    fn room(&self, claims: &str) -> Result<Room, ClaimError> {
        Room::new(self.text(claims)?).map_err(|error| self.fault(ClaimFault::Name(error)))
    }

    fn fault(&self, fault: ClaimFault) -> ClaimError {
        ClaimError { claim: self.written.clone(), fault }
    }
}

impl Admission {
    /// The rooms that a session with this token is in by itself.
    ///
    /// # Errors
    /// The claim for which the token is not taken here.
    pub(crate) fn admit(&self, identity: &Identity) -> Result<Vec<Room>, ClaimError> {
        for rule in &self.claims {
            rule.check(&identity.claims)?;
        }
        if self.rooms.is_empty() {
            return Ok(Vec::new());
        }
        let claims = serde_json::to_string(&identity.claims).unwrap_or_default();
        self.rooms.iter().map(|name| name.room(&claims)).collect()
    }
}

#[cfg(test)]
mod tests {
    use chassis::auth::Scopes;
    use proto::{Tenant, UserId};
    use serde_json::json;

    use super::*;

    fn identity(claims: Value) -> Identity {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        Identity {
            tenant: Tenant::new("t").unwrap(),
            user: UserId::new("u").unwrap(),
            name: None,
            rooms: Vec::new(),
            scopes: Scopes::default(),
            claims,
            expires_at: 0,
            token: chassis::auth::TokenFacts::default(),
        }
    }

    #[test]
    fn rooms_are_named_by_claims_and_a_token_without_them_is_refused() {
        let rooms = ["org:${claims.organizationId}", "$claims.team ?? \"staff\""];
        let rooms = rooms.map(|name| ClaimsText::compile("rooms", name).unwrap());
        let admission = Admission { claims: Vec::new(), rooms: rooms.into() };
        let admitted = |claims| {
            let rooms = admission.admit(&identity(claims)).map_err(|error| error.to_string())?;
            Ok::<_, String>(rooms.iter().map(|room| room.as_str().to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(admitted(json!({"organizationId": 7})).unwrap(), ["org:7", "staff"]);
        assert_eq!(admitted(json!({"organizationId": "a", "team": "b"})).unwrap(), ["org:a", "b"]);
        assert_eq!(admitted(json!({})).unwrap_err(), "the claim organizationId is missing");
        let wrong = admitted(json!({"organizationId": "a/b"})).unwrap_err();
        assert!(wrong.contains("not allowed"), "{wrong}");
        assert!(!wrong.contains("a/b"), "a value is never repeated: {wrong}");
    }

    #[test]
    fn a_template_of_something_else_than_claims_is_refused() {
        assert!(ClaimsText::compile("rooms", "org:${user.id}").is_err());
    }
}
