//! What else the claims of a token must say, beside what everyone's must.
//!
//! ```toml
//! [[auth.claims.rules]]
//! claim = "organizationId"
//! format = "uuid"
//!
//! [[auth.claims.rules]]
//! claim = "isActive"
//! not = false
//! ```

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::options::Field;

use super::claims::{ClaimError, ClaimFault, ClaimPath};

/// A condition on one claim. The claim must be there, unless the only condition is what it must not be.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Written")]
pub struct ClaimRule {
    claim: ClaimPath,
    format: Option<ClaimFormat>,
    one_of: Option<Vec<Value>>,
    not: Option<Value>,
}

/// What a claim must look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClaimFormat {
    /// A UUID as text, with its hyphens (RFC 9562, section 4).
    Uuid,
}

/// What stands in a table of such a condition. The claim must be there, unless the table holds only `not`.
pub(super) const RULE: &[Field] = &[
    Field::new("claim", "text", "", "The claim; dots lead into objects."),
    Field::new("format", "`uuid`", "", "What it must look like."),
    Field::new("one_of", "list", "", "It must be one of these values."),
    Field::new("not", "value", "", "It must not be this value."),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    claim: String,
    format: Option<ClaimFormat>,
    one_of: Option<Vec<Value>>,
    not: Option<Value>,
}

impl TryFrom<Written> for ClaimRule {
    type Error = &'static str;

    fn try_from(written: Written) -> Result<Self, &'static str> {
        let claim = ClaimPath::new(written.claim)
            .ok_or("the claim must be a name, or names with single dots between")?;
        let fits_all = |value: &Value| value.is_string() || value.is_boolean() || value.is_i64();
        if !written.one_of.iter().flatten().chain(&written.not).all(fits_all) {
            return Err("values of claims are texts, whole numbers, true and false");
        }
        if written.one_of.as_ref().is_some_and(Vec::is_empty) {
            return Err("one_of must hold a value");
        }
        Ok(Self { claim, format: written.format, one_of: written.one_of, not: written.not })
    }
}

impl ClaimRule {
    /// Whether the claims meet the condition.
    pub fn check(&self, claims: &Map<String, Value>) -> Result<(), ClaimError> {
        let Some(value) = self.claim.find(claims) else {
            let may_be_missing = self.not.is_some() && self.format.is_none() && self.one_of.is_none();
            return if may_be_missing { Ok(()) } else { Err(self.claim.fault(ClaimFault::Missing)) };
        };
        if self.format.is_some_and(|format| !format.fits(value)) {
            return Err(self.claim.fault(ClaimFault::NotUuid));
        }
        let is_listed = self.one_of.as_ref().is_none_or(|values| values.contains(value));
        if !is_listed || self.not.as_ref() == Some(value) {
            return Err(self.claim.fault(ClaimFault::Refused));
        }
        Ok(())
    }
}

impl ClaimFormat {
    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Uuid => value.as_str().is_some_and(is_uuid),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(RULE, None), serde_introspect::<Written>());
    }
    use serde_json::json;

    fn rule(text: &str) -> Result<ClaimRule, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    fn outcome(text: &str, claims: Value) -> Result<(), String> {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        rule(text).unwrap().check(&claims).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_can_be_refused() {
        let rule = "claim = 'isActive'\nnot = false";
        for claims in
            [json!({"isActive": true}), json!({"isActive": null}), json!({}), json!({"isActive": 0})]
        {
            assert_eq!(outcome(rule, claims.clone()), Ok(()), "{claims}");
        }
        let refusal = Err("the claim isActive has a value that is refused".to_owned());
        assert_eq!(outcome(rule, json!({"isActive": false})), refusal);
    }

    #[test]
    fn a_claim_can_be_required_to_be_a_uuid() {
        let rule = "claim = 'org.id'\nformat = 'uuid'";
        for id in ["123e4567-e89b-12d3-a456-426614174000", "123E4567-E89B-12D3-A456-426614174000"] {
            assert_eq!(outcome(rule, json!({"org": {"id": id}})), Ok(()), "{id}");
        }
        for id in [
            json!("123e4567e89b12d3a456426614174000"),
            json!("123e4567-e89b-12d3-a456-42661417400"),
            json!("123e4567-e89b-12d3-a456-42661417400g"),
            json!("{123e4567-e89b-12d3-a456-426614174000}"),
            json!("123e4567-e89b-12d3-a456-4266141740-0"),
            json!(""),
            json!(7),
        ] {
            let refusal = Err("the claim org.id must be a UUID".to_owned());
            assert_eq!(outcome(rule, json!({"org": {"id": id}})), refusal, "{id}");
        }
        assert_eq!(outcome(rule, json!({})), Err("the claim org.id is missing".to_owned()));
    }

    #[test]
    fn a_claim_can_be_one_of_a_few() {
        let rule = "claim = 'role'\none_of = ['agent', 7]";
        assert_eq!(outcome(rule, json!({"role": "agent"})), Ok(()));
        assert_eq!(outcome(rule, json!({"role": 7})), Ok(()));
        for role in [json!("Agent"), json!("7"), json!(["agent"]), json!("")] {
            let refusal = Err("the claim role has a value that is refused".to_owned());
            assert_eq!(outcome(rule, json!({"role": role})), refusal, "{role}");
        }
        assert_eq!(outcome(rule, json!({"role": null})), Err("the claim role is missing".to_owned()));
        assert_eq!(outcome("claim = 'email'", json!({})), Err("the claim email is missing".to_owned()));
        assert_eq!(outcome("claim = 'email'", json!({"email": ""})), Ok(()));
    }

    #[test]
    fn a_rule_that_makes_no_sense_is_refused() {
        for (text, reason) in [
            ("", "missing field `claim`"),
            ("claim = 'a..b'", "the claim must be a name"),
            ("claim = 'a'\nis = 1", "unknown field `is`"),
            ("claim = 'a'\nformat = 'email'", "unknown variant `email`"),
            ("claim = 'a'\none_of = []", "one_of must hold a value"),
            ("claim = 'a'\nnot = [1]", "values of claims are"),
            ("claim = 'a'\none_of = [1.5]", "values of claims are"),
        ] {
            let message = rule(text).unwrap_err();
            assert!(message.contains(reason), "{text}: {message}");
        }
    }
}
