//! What scripts are given beside names and payloads.

use std::time::Duration;

use fred::types::Value;

/// A number for an epoch, a nonce or a token: zero has a meaning of its own.
pub(super) fn random() -> u64 {
    rand::random_range(1..=u64::MAX)
}

/// For how long, in milliseconds: at least one, since Redis keeps nothing for none.
pub(super) fn millis(time: Duration) -> Value {
    time.as_millis().clamp(1, i64::MAX as u128).to_string().into()
}
