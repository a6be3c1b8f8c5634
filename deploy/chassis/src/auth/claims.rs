//! From the claims of a token to an [`Identity`], by configuration.

use std::fmt;

use proto::{NameError, Pattern, PatternError, Tenant, UserId};
use serde_json::{Map, Value};

use super::identity::{Identity, ScopeError, Scopes};
use super::revocation::TokenFacts;

/// The longest display name, in bytes.
const LONGEST_NAME: usize = 256;

/// Where a claim stands: its name (`sub`, `https://example.com/tenant`), or a path of names with dots
/// (`user.id`). A claim whose name is the whole text comes before the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimPath(String);

impl ClaimPath {
    /// A path; `None` if it or one of its names is empty.
    pub fn new(path: impl Into<String>) -> Option<Self> {
        let path = path.into();
        path.split('.').all(|name| !name.is_empty()).then_some(Self(path))
    }

    /// The path as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The claim's value; a `null` counts as missing.
    pub fn find<'a>(&self, claims: &'a Map<String, Value>) -> Option<&'a Value> {
        let value = claims.get(&self.0).or_else(|| {
            let mut names = self.0.split('.');
            let first = claims.get(names.next()?)?;
            names.try_fold(first, |value, name| value.as_object()?.get(name))
        });
        value.filter(|value| !value.is_null())
    }

    pub(super) fn fault(&self, fault: impl Into<ClaimFault>) -> ClaimError {
        ClaimError { claim: self.0.clone(), fault: fault.into() }
    }
}

/// Which claim is wrong, and how. Names the claim, never its value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the claim {claim} {fault}")]
pub struct ClaimError {
    /// The claim as the configuration calls it.
    pub claim: String,
    /// What is wrong with it.
    pub fault: ClaimFault,
}

/// What is wrong with a claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    /// It is not there.
    #[error("is missing")]
    Missing,
    /// It should be a text.
    #[error("must be a text")]
    NotText,
    /// It should be a text or a whole number.
    #[error("must be a text or a whole number")]
    NotTextOrInteger,
    /// It should be a text or a list of texts.
    #[error("must be a text or a list of texts")]
    NotTexts,
    /// It should be a UUID.
    #[error("must be a UUID")]
    NotUuid,
    /// A rule excludes its value.
    #[error("has a value that is refused")]
    Refused,
    /// It should be seconds since 1970.
    #[error("must be a number of seconds since 1970, before the year 10000")]
    NotTime,
    /// The display name is too long or not printable.
    #[error("must be printable and have at most 256 bytes")]
    NotDisplayable,
    /// A name of ours that is not allowed.
    #[error("{0}")]
    Name(#[from] NameError),
    /// A pattern of rooms that is not allowed.
    #[error("has a pattern that {0}")]
    Pattern(#[from] PatternError),
    /// A scope that is not allowed.
    #[error("{0}")]
    Scope(#[from] ScopeError),
}

/// Which claims say what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClaimMapping {
    /// The user's id, a text or a whole number: the first of these claims that the token has.
    pub user: Vec<ClaimPath>,
    /// The tenant, a text or a whole number.
    pub tenant: ClaimPath,
    /// The tenant of tokens that name none; without it they are refused.
    pub default_tenant: Option<Tenant>,
    /// The display name.
    pub name: ClaimPath,
    /// The rooms: a list of names or patterns, or a single one.
    pub rooms: ClaimPath,
    /// The scopes: a text of words with spaces between (RFC 8693, section 4.2), or a list.
    pub scopes: ClaimPath,
}

impl Default for ClaimMapping {
    fn default() -> Self {
        let path = |name: &str| ClaimPath(name.to_owned());
        Self {
            user: vec![path("sub")],
            tenant: path("tenant"),
            default_tenant: Tenant::new("default").ok(),
            name: path("name"),
            rooms: path("rooms"),
            scopes: path("scope"),
        }
    }
}

impl ClaimMapping {
    /// Reads an identity out of claims whose signature and times were checked.
    pub fn identity(&self, claims: Map<String, Value>, expires_at: u64) -> Result<Identity, ClaimError> {
        Ok(Identity {
            tenant: self.tenant(&claims)?,
            user: self.user(&claims)?,
            name: self.name(&claims)?,
            rooms: self.rooms(&claims)?,
            scopes: self.scopes(&claims)?,
            claims,
            expires_at,
            // Of the token as a whole, which is not known here.
            token: TokenFacts::default(),
        })
    }

    fn user(&self, claims: &Map<String, Value>) -> Result<UserId, ClaimError> {
        let Some((path, value)) = self.user.iter().find_map(|path| Some((path, path.find(claims)?))) else {
            let names: Vec<_> = self.user.iter().map(ClaimPath::as_str).collect();
            return Err(ClaimError { claim: names.join(" or "), fault: ClaimFault::Missing });
        };
        UserId::new(text_or_integer(path, value)?).map_err(|error| path.fault(error))
    }

    fn tenant(&self, claims: &Map<String, Value>) -> Result<Tenant, ClaimError> {
        match self.tenant.find(claims) {
            Some(value) => {
                Tenant::new(text_or_integer(&self.tenant, value)?).map_err(|error| self.tenant.fault(error))
            }
            None => self.default_tenant.clone().ok_or_else(|| self.tenant.fault(ClaimFault::Missing)),
        }
    }

    fn name(&self, claims: &Map<String, Value>) -> Result<Option<String>, ClaimError> {
        let Some(value) = self.name.find(claims) else { return Ok(None) };
        let name = value.as_str().ok_or_else(|| self.name.fault(ClaimFault::NotText))?;
        if name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
            return Err(self.name.fault(ClaimFault::NotDisplayable));
        }
        Ok((!name.is_empty()).then(|| name.to_owned()))
    }

    fn rooms(&self, claims: &Map<String, Value>) -> Result<Vec<Pattern>, ClaimError> {
        let Some(value) = self.rooms.find(claims) else { return Ok(Vec::new()) };
        let pattern = |text: &str| Pattern::new(text).map_err(|error| self.rooms.fault(error));
        texts(&self.rooms, value)?.into_iter().map(pattern).collect()
    }

    fn scopes(&self, claims: &Map<String, Value>) -> Result<Scopes, ClaimError> {
        let Some(value) = self.scopes.find(claims) else { return Ok(Scopes::default()) };
        let words = match value {
            Value::String(words) => Scopes::new(words.split_ascii_whitespace()),
            list => Scopes::new(texts(&self.scopes, list)?),
        };
        words.map_err(|error| self.scopes.fault(error))
    }
}

fn text_or_integer(path: &ClaimPath, value: &Value) -> Result<String, ClaimError> {
    match value {
        Value::String(text) => Ok(text.clone()),
        // A fraction or an exponent would make two spellings of one user.
        Value::Number(number) if !number.is_f64() => Ok(number.to_string()),
        _ => Err(path.fault(ClaimFault::NotTextOrInteger)),
    }
}

fn texts<'a>(path: &ClaimPath, value: &'a Value) -> Result<Vec<&'a str>, ClaimError> {
    let texts = match value {
        Value::String(text) => Some(vec![text.as_str()]),
        Value::Array(list) => list.iter().map(Value::as_str).collect(),
        _ => None,
    };
    texts.ok_or_else(|| path.fault(ClaimFault::NotTexts))
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> ClaimPath {
        ClaimPath::new(text).unwrap()
    }

    fn read(mapping: &ClaimMapping, claims: Value) -> Result<Identity, String> {
        let Value::Object(claims) = claims else { panic!("claims are an object") };
        mapping.identity(claims, 9).map_err(|error| error.to_string())
    }

    #[test]
    fn the_defaults_read_the_usual_claims() {
        let identity = read(
            &ClaimMapping::default(),
            json!({"sub": "ann", "tenant": "acme", "name": "Ann", "rooms": ["lobby", "chat-*"], "scope": "publish  admin"}),
        )
        .unwrap();
        assert_eq!((identity.user.as_str(), identity.tenant.as_str()), ("ann", "acme"));
        assert_eq!(identity.name.as_deref(), Some("Ann"));
        assert_eq!(identity.rooms, [Pattern::new("lobby").unwrap(), Pattern::new("chat-*").unwrap()]);
        assert_eq!(identity.scopes.iter().collect::<Vec<_>>(), ["admin", "publish"]);
        assert_eq!(identity.expires_at, 9);
        assert_eq!(identity.claims["sub"], "ann");
    }

    #[test]
    fn only_the_user_is_needed() {
        let identity =
            read(&ClaimMapping::default(), json!({"sub": 42, "name": null, "rooms": null})).unwrap();
        assert_eq!((identity.user.as_str(), identity.tenant.as_str()), ("42", "default"));
        assert_eq!(identity.name, None);
        assert!(identity.rooms.is_empty());
        assert_eq!(identity.scopes, Scopes::default());
    }

    #[test]
    fn claims_stand_where_the_configuration_says() {
        let mapping = ClaimMapping {
            user: vec![path("userId"), path("user.id"), path("sub")],
            tenant: path("https://example.com/org"),
            default_tenant: None,
            name: path("user.profile.name"),
            rooms: path("grants.rooms"),
            scopes: path("permissions"),
        };
        let identity = read(
            &mapping,
            json!({
                "sub": "ignored",
                "user": {"id": 7, "profile": {"name": "Bo"}},
                "https://example.com/org": 12,
                "grants": {"rooms": "lobby"},
                "permissions": ["publish"],
            }),
        )
        .unwrap();
        assert_eq!((identity.user.as_str(), identity.tenant.as_str()), ("7", "12"));
        assert_eq!(identity.name.as_deref(), Some("Bo"));
        assert_eq!(identity.rooms, [Pattern::new("lobby").unwrap()]);
        assert!(identity.has_scope("publish"));
    }

    #[test]
    fn each_refusal_names_the_claim_and_no_value() {
        let strict = ClaimMapping {
            user: vec![path("uid"), path("sub")],
            default_tenant: None,
            ..ClaimMapping::default()
        };
        for (claims, reason) in [
            (json!({"tenant": "t"}), "the claim uid or sub is missing"),
            (json!({"sub": "a"}), "the claim tenant is missing"),
            (
                json!({"sub": "se{cret", "tenant": "t"}),
                "the claim sub has a character that is not allowed at byte 2",
            ),
            (json!({"sub": "", "tenant": "t"}), "the claim sub must not be empty"),
            (json!({"sub": 1.5, "tenant": "t"}), "the claim sub must be a text or a whole number"),
            (json!({"sub": true, "tenant": "t"}), "the claim sub must be a text or a whole number"),
            // A wrong first choice is not a reason to believe the second one.
            (
                json!({"uid": [1], "sub": "a", "tenant": "t"}),
                "the claim uid must be a text or a whole number",
            ),
            (
                json!({"sub": "a", "tenant": "x/y"}),
                "the claim tenant has a character that is not allowed at byte 1",
            ),
            (json!({"sub": "a", "tenant": "t", "name": 1}), "the claim name must be a text"),
            (
                json!({"sub": "a", "tenant": "t", "name": "x\u{1b}[2J"}),
                "the claim name must be printable and have at most 256 bytes",
            ),
            (
                json!({"sub": "a", "tenant": "t", "rooms": ["a", 1]}),
                "the claim rooms must be a text or a list of texts",
            ),
            (
                json!({"sub": "a", "tenant": "t", "rooms": [""]}),
                "the claim rooms has a pattern that must not be empty",
            ),
            (
                json!({"sub": "a", "tenant": "t", "scope": {}}),
                "the claim scope must be a text or a list of texts",
            ),
            (
                json!({"sub": "a", "tenant": "t", "scope": ["a b"]}),
                "the claim scope must be words of printable ASCII without quotes or backslashes",
            ),
        ] {
            let shown = claims.to_string();
            assert_eq!(read(&strict, claims).unwrap_err(), reason, "{shown}");
        }
    }

    #[test]
    fn a_path_has_no_empty_name() {
        for bad in ["", ".", "a.", ".a", "a..b"] {
            assert_eq!(ClaimPath::new(bad), None, "{bad:?}");
        }
    }
}
