//! Who is calling: tokens and API keys, checked against keys that are each pinned to one algorithm.
//!
//! Text from outside becomes an [`Identity`] here or a [`TokenError`], and neither repeats the token. Checking is
//! pure: the time is an argument, the keys are a value.

mod claims;
mod identity;

pub use claims::{ClaimError, ClaimFault, ClaimMapping, ClaimPath};
pub use identity::{Identity, ScopeError, Scopes};
