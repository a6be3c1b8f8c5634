//! JSON Web Key Sets (RFC 7517, section 5): what an identity provider publishes to check its tokens by.

use serde::Deserialize;
use serde_json::Value;

use super::key::{Jwk, Key, Keys};

/// The most keys of a set. A token without `kid` is tried against all of its algorithm, so this bounds the work that
/// a forged one causes.
const MOST_KEYS: usize = 32;

/// Why a document is no key set that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeySetError {
    /// Not an object with a list `keys`.
    #[error("it is not a JSON Web Key Set: an object with a list of keys")]
    NotASet,
    /// More than [`MOST_KEYS`].
    #[error("it has more than {MOST_KEYS} keys")]
    TooMany,
    /// None of its keys can be used here.
    #[error("it has no key for RS256, ES256 or EdDSA")]
    NoKey,
}

/// Reads a key set. Keys that are not understood, or not for signatures, are passed over, as RFC 7517 asks; each
/// other one is pinned to one algorithm.
pub(super) fn parse(json: &[u8]) -> Result<Keys, KeySetError> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let Document { keys } = serde_json::from_slice(json).map_err(|_| KeySetError::NotASet)?;
    if keys.len() > MOST_KEYS {
        return Err(KeySetError::TooMany);
    }
    let usable = keys.into_iter().filter_map(|key| {
        let jwk: Jwk = serde_json::from_value(key).ok()?;
        if jwk.is_for_signatures() { Key::from_jwk(&jwk).ok() } else { None }
    });
    let keys = Keys::new(usable.collect());
    if keys.is_empty() { Err(KeySetError::NoKey) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{EC, ED, RSA};
    use serde_json::json;

    fn ids(set: &Value) -> Result<Vec<String>, KeySetError> {
        let keys = parse(set.to_string().as_bytes())?;
        Ok(keys.iter().map(|key| key.id().unwrap_or("-").to_owned()).collect())
    }

    #[test]
    fn keys_that_are_not_for_us_are_passed_over() {
        let with = |member: &str, value: Value| {
            let mut jwk = RSA.jwk("odd");
            jwk[member] = value;
            jwk
        };
        let set = json!({"keys": [
            RSA.jwk("r"),
            with("use", json!("enc")),
            with("key_ops", json!(["encrypt"])),
            with("alg", json!("RSA-OAEP")),
            with("n", json!("AQAB")),
            with("kid", json!(7)),
            {"kty": "oct", "kid": "secret", "k": "c2VjcmV0"},
            {"kty": "LATTICE", "kid": "next"},
            {},
            null,
            EC.jwk("e"),
            ED.jwk("d"),
        ], "more": true});
        assert_eq!(ids(&set).unwrap(), ["r", "e", "d"]);
        let ours = json!({"keys": [with("key_ops", json!(["verify"])), with("use", json!("sig"))]});
        assert_eq!(ids(&ours).unwrap(), ["odd", "odd"]);
    }

    #[test]
    fn what_is_no_set_is_refused() {
        for (set, expected) in [
            (json!([]), KeySetError::NotASet),
            (json!({}), KeySetError::NotASet),
            (json!({"keys": {}}), KeySetError::NotASet),
            (json!({"keys": []}), KeySetError::NoKey),
            (json!({"keys": [{"kty": "oct", "k": "AA"}]}), KeySetError::NoKey),
            (json!({"keys": vec![ED.jwk("x"); MOST_KEYS + 1]}), KeySetError::TooMany),
        ] {
            assert_eq!(ids(&set), Err(expected), "{set}");
        }
        assert_eq!(parse(b"<html>").unwrap_err(), KeySetError::NotASet);
        assert_eq!(ids(&json!({"keys": vec![ED.jwk("x"); MOST_KEYS]})).unwrap().len(), MOST_KEYS);
    }
}
