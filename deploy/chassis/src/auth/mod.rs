//! Who is calling: tokens and API keys, checked against keys that are each pinned to one algorithm.
//!
//! Text from outside becomes an [`Identity`] here or a [`TokenError`], and neither repeats the token. Checking is
//! pure: the time is an argument, the keys are a value.

mod api_key;
mod claim_rule;
mod claims;
mod config;
mod extract;
mod fetch;
mod identity;
mod key;
mod key_set;
mod key_source;
mod mint;
mod revocation;
mod schedule;
mod strict_json;
mod token;
mod verifier;

#[cfg(test)]
mod attacks;
#[cfg(test)]
mod testing;

pub use api_key::{API_KEYS, ApiKey, ApiKeys, NewApiKey, NoRandomness, Tenants, UnknownApiKey};
pub use claim_rule::{ClaimFormat, ClaimRule};
pub use claims::{ClaimError, ClaimFault, ClaimMapping, ClaimPath};
pub use config::{AUTH, AuthConfig};
pub use extract::{Carried, Places};
pub use identity::{Identity, ScopeError, Scopes};
pub use key::{Algorithm, Jwk, Key, KeyError, Keys};
pub use mint::{Grant, MintError, Minter};
pub use revocation::{Revocations, Revoked, TokenDigest, TokenFacts};
pub use token::{LONGEST_TOKEN, Leeway, Rules, TokenError};
pub use verifier::{KeySetStatus, Verifier};
