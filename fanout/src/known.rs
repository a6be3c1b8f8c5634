//! Tokens that were found good a moment ago: a backend sends the same one with each of its calls.
//!
//! What is remembered counts only while a check would say the same: until the token runs out, by the keys that it was checked
//! by, and unless it was revoked, which is looked up each time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use chassis::auth::TokenFacts;
use parking_lot::Mutex;

use crate::caller::Caller;

/// How many tokens are remembered. When there are more, all are forgotten, which costs each of them one check.
const MOST: usize = 1024;

/// Remembers whose tokens are.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<Box<str>, Good>>);

/// What a check found.
#[derive(Clone)]
pub(crate) struct Good {
    pub(crate) caller: Arc<Caller>,
    /// By what the token can be revoked.
    pub(crate) facts: TokenFacts,
    /// When it runs out, in seconds since 1970.
    pub(crate) expires_at: u64,
    /// Which keys it was checked by.
    pub(crate) keys: u64,
}

impl Known {
    /// What was found about a token, if it is still true at the time `now`, in seconds since 1970, with these keys.
    pub(crate) fn find(&self, token: &str, now: u64, keys: u64) -> Option<Good> {
        let known = self.0.lock();
        known.get(token).filter(|good| now < good.expires_at && good.keys == keys).cloned()
    }

    /// Remembers what a check found.
    pub(crate) fn note(&self, token: &str, good: Good) {
        let mut known = self.0.lock();
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(token.into(), good);
    }
}

impl fmt::Debug for Known {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the tokens.
        f.write_str("Known")
    }
}
