//! The checks that stand between a token and an identity: form, algorithm, signature, times, audience, issuer.
//!
//! Pure: keys, rules and the time are arguments. What a token brings along to be trusted by (`jwk`, `jku`, `x5c`,
//! `x5u`) is never looked at; what it declares critical (`crit`) is refused, since nothing of that kind is understood
//! here (RFC 7515, sections 4.1.2 to 4.1.11).

use std::time::Duration;

use proto::ErrorCode;
use serde_json::{Map, Value};

use super::claim_rule::ClaimRule;
use super::claims::{ClaimError, ClaimFault, ClaimMapping};
use super::identity::Identity;
use super::key::{Algorithm, Key, Keys, base64url};
use super::revocation::{TokenDigest, TokenFacts};
use super::strict_json;

/// The longest token that is looked at, in bytes.
pub const LONGEST_TOKEN: usize = 8 * 1024;

/// 9999-12-31T23:59:59Z. A later time is a mistake, such as milliseconds where seconds belong.
const LATEST: u64 = 253_402_300_799;

/// Why a token is refused. No variant holds a part of the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("there is no token")]
    Missing,
    /// One place of a request carries two.
    #[error("there is more than one token in the same place")]
    Repeated,
    /// It is longer than [`LONGEST_TOKEN`].
    #[error("the token has more than 8192 bytes")]
    TooLong,
    /// It does not have the form of a token.
    #[error(
        "the token is not a signed JWT: three parts of base64url, the first two JSON objects without repeated names"
    )]
    Malformed,
    /// Its header asks for extensions.
    #[error("the token's header declares critical extensions, and none is supported")]
    Critical,
    /// Its algorithm is not the one of the key that it names, or of any key.
    #[error("the token's algorithm is not the one of its key")]
    WrongAlgorithm,
    /// It names a key that is not known.
    #[error("the token names an unknown key")]
    UnknownKey,
    /// The key set that would hold its key could not be fetched yet.
    #[error("the keys that check tokens are not available")]
    KeysUnavailable,
    /// Its signature is wrong.
    #[error("the token's signature is wrong")]
    BadSignature,
    /// Its time is over (`exp`).
    #[error("the token has expired")]
    Expired,
    /// Its time has not come (`nbf`).
    #[error("the token is not valid yet")]
    NotYetValid,
    /// It is meant for someone else (`aud`).
    #[error("the token is for another audience")]
    WrongAudience,
    /// It comes from someone else (`iss`).
    #[error("the token is from another issuer")]
    WrongIssuer,
    /// It was revoked.
    #[error("the token was revoked")]
    Revoked,
    /// A claim is missing or wrong.
    #[error(transparent)]
    Claims(#[from] ClaimError),
}

impl TokenError {
    /// What the client is told.
    pub const fn code(&self) -> ErrorCode {
        match self {
            Self::Missing => ErrorCode::NotAuthenticated,
            Self::Expired => ErrorCode::TokenExpired,
            Self::KeysUnavailable => ErrorCode::Unavailable,
            Self::Repeated
            | Self::TooLong
            | Self::Malformed
            | Self::Critical
            | Self::WrongAlgorithm
            | Self::UnknownKey
            | Self::BadSignature
            | Self::NotYetValid
            | Self::WrongAudience
            | Self::WrongIssuer
            | Self::Revoked
            | Self::Claims(_) => ErrorCode::InvalidToken,
        }
    }

    /// A stable word for a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Repeated => "repeated",
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::Critical => "critical",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::UnknownKey => "unknown_key",
            Self::KeysUnavailable => "keys_unavailable",
            Self::BadSignature => "bad_signature",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::WrongAudience => "wrong_audience",
            Self::WrongIssuer => "wrong_issuer",
            Self::Revoked => "revoked",
            Self::Claims(_) => "claims",
        }
    }
}

/// How far clocks may be apart, in whole seconds; at most 60.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leeway(u64);

impl Leeway {
    /// Whole seconds, rounded down; `None` above 60, where an expired token would live on noticeably.
    pub const fn new(leeway: Duration) -> Option<Self> {
        match leeway.as_secs() {
            seconds @ 0..=60 => Some(Self(seconds)),
            _ => None,
        }
    }

    /// The seconds.
    pub const fn as_secs(self) -> u64 {
        self.0
    }
}

impl Default for Leeway {
    /// 30 s: clocks that are kept by NTP are closer, and those that are not are seldom further apart.
    fn default() -> Self {
        Self(30)
    }
}

/// What a token must say to be accepted, and how its claims are read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rules {
    /// One of these must be in `aud`; empty accepts any.
    pub audiences: Vec<String>,
    /// One of these must be `iss`; empty accepts any.
    pub issuers: Vec<String>,
    /// The tolerance on `exp` and `nbf`.
    pub leeway: Leeway,
    /// Which claims say what.
    pub claims: ClaimMapping,
    /// What else the claims must say.
    pub claim_rules: Vec<ClaimRule>,
}

/// Checks a token against sets of keys at the time `now`, in seconds since 1970.
pub(super) fn check(token: &str, keys: &[&Keys], rules: &Rules, now: u64) -> Result<Identity, TokenError> {
    let parts = Parts::split(token)?;
    let header = Header::read(parts.header)?;
    let candidates = header.candidates(keys)?;
    if !candidates.iter().any(|key| key.verifies(parts.signed, parts.signature)) {
        return Err(TokenError::BadSignature);
    }
    // Nothing inside is believed before this line.
    let claims = read_object(parts.claims)?;
    let expires_at = check_times(&claims, rules.leeway, now)?;
    check_issuer(&claims, &rules.issuers)?;
    check_audience(&claims, &rules.audiences)?;
    rules.claim_rules.iter().try_for_each(|rule| rule.check(&claims))?;
    let mut identity = rules.claims.identity(claims, expires_at)?;
    let id = identity.claims.get("jti").and_then(Value::as_str);
    identity.token = TokenFacts {
        owner: TokenDigest::of_user(&identity.tenant, &identity.user),
        // A time before 1970 is none.
        issued_at: identity.claims.get("iat").and_then(Value::as_f64).map_or(0, |issued| issued as u64),
        text: TokenDigest::of_token(token),
        id: id.map(|id| TokenDigest::of_id(&identity.tenant, id)),
    };
    Ok(identity)
}

/// Whether a token that was refused with `error` asks for a public key that is not among `keys`, so that a newer key
/// set may have it. Sets never hold secrets, so for HS256 and its like the answer is no.
pub(super) fn names_missing_key(token: &str, keys: &[&Keys], error: &TokenError) -> bool {
    let about_keys = matches!(
        error,
        TokenError::UnknownKey
            | TokenError::WrongAlgorithm
            | TokenError::BadSignature
            | TokenError::KeysUnavailable
    );
    let header = Parts::split(token).and_then(|parts| Header::read(parts.header));
    let mut keys = keys.iter().flat_map(|keys| keys.iter());
    match header {
        Ok(Header { algorithm, key_id }) if about_keys && algorithm.recommended_secret().is_none() => {
            match key_id {
                Some(id) => !keys.any(|key| key.id() == Some(&id)),
                None => !keys.any(|key| key.algorithm() == algorithm),
            }
        }
        _ => false,
    }
}

/// The parts of the compact serialization (RFC 7515, section 3.1).
struct Parts<'a> {
    header: &'a str,
    claims: &'a str,
    /// What is signed: header and claims with the dot between them.
    signed: &'a str,
    signature: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        match token.len() {
            0 => return Err(TokenError::Missing),
            1..=LONGEST_TOKEN => {}
            _ => return Err(TokenError::TooLong),
        }
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenError::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenError::Malformed)?;
        if claims.contains('.') {
            return Err(TokenError::Malformed);
        }
        Ok(Self { header, claims, signed, signature })
    }
}

fn read_object(part: &str) -> Result<Map<String, Value>, TokenError> {
    base64url(part).and_then(|json| strict_json::object(&json)).ok_or(TokenError::Malformed)
}

/// The members of the header that are looked at.
struct Header {
    algorithm: Algorithm,
    key_id: Option<String>,
}

impl Header {
    fn read(part: &str) -> Result<Self, TokenError> {
        let mut header = read_object(part)?;
        if header.contains_key("crit") {
            return Err(TokenError::Critical);
        }
        let Some(Value::String(algorithm)) = header.remove("alg") else { return Err(TokenError::Malformed) };
        let key_id = match header.remove("kid") {
            None => None,
            Some(Value::String(id)) => Some(id),
            Some(_) => return Err(TokenError::Malformed),
        };
        Ok(Self { algorithm: algorithm.parse().map_err(|_| TokenError::WrongAlgorithm)?, key_id })
    }

    /// The keys that may have signed: those with the token's `kid`; if there are none, keys without an id; for a token
    /// without `kid`, all. In each case only keys of the token's algorithm.
    fn candidates<'k>(&self, keys: &[&'k Keys]) -> Result<Vec<&'k Key>, TokenError> {
        let all = || keys.iter().flat_map(|keys| keys.iter());
        let fits = |key: &&Key| key.algorithm() == self.algorithm;
        let (candidates, none): (Vec<_>, _) = match &self.key_id {
            Some(id) => {
                let named = |key: &&Key| key.id() == Some(id.as_str());
                if all().any(|key| named(&key)) {
                    (all().filter(named).filter(fits).collect(), TokenError::WrongAlgorithm)
                } else {
                    (all().filter(|key| key.id().is_none()).filter(fits).collect(), TokenError::UnknownKey)
                }
            }
            None => (all().filter(fits).collect(), TokenError::WrongAlgorithm),
        };
        if candidates.is_empty() { Err(none) } else { Ok(candidates) }
    }
}

/// Checks `exp`, `nbf` and the type of `iat`; returns `exp`.
fn check_times(claims: &Map<String, Value>, leeway: Leeway, now: u64) -> Result<u64, TokenError> {
    let Some(expires_at) = time(claims, "exp")? else { return Err(fault("exp", ClaimFault::Missing)) };
    if now >= expires_at.saturating_add(leeway.as_secs()) {
        return Err(TokenError::Expired);
    }
    if time(claims, "nbf")?.is_some_and(|not_before| not_before > now.saturating_add(leeway.as_secs())) {
        return Err(TokenError::NotYetValid);
    }
    time(claims, "iat")?;
    Ok(expires_at)
}

/// A claim that is a NumericDate (RFC 7519, section 2), in whole seconds; a fraction is dropped.
fn time(claims: &Map<String, Value>, claim: &str) -> Result<Option<u64>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    let seconds = match (value.as_u64(), value.as_f64()) {
        (Some(seconds), _) => Some(seconds),
        // In this range the conversion only drops the fraction.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
        (None, Some(seconds)) if (0.0..=LATEST as f64).contains(&seconds) => Some(seconds as u64),
        _ => None,
    };
    match seconds.filter(|seconds| *seconds <= LATEST) {
        Some(seconds) => Ok(Some(seconds)),
        None => Err(fault(claim, ClaimFault::NotTime)),
    }
}

fn check_issuer(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), TokenError> {
    match claims.get("iss") {
        _ if accepted.is_empty() => Ok(()),
        Some(Value::String(issuer)) if accepted.contains(issuer) => Ok(()),
        _ => Err(TokenError::WrongIssuer),
    }
}

/// `aud` is a text or a list of texts (RFC 7519, section 4.1.3).
fn check_audience(claims: &Map<String, Value>, accepted: &[String]) -> Result<(), TokenError> {
    let names_us =
        |audience: &Value| audience.as_str().is_some_and(|text| accepted.iter().any(|a| a == text));
    match claims.get("aud") {
        _ if accepted.is_empty() => Ok(()),
        Some(Value::Array(list)) if list.iter().any(names_us) => Ok(()),
        Some(audience) if names_us(audience) => Ok(()),
        _ => Err(TokenError::WrongAudience),
    }
}

fn fault(claim: &str, fault: ClaimFault) -> TokenError {
    TokenError::Claims(ClaimError { claim: claim.to_owned(), fault })
}
