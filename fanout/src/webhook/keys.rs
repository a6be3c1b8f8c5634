//! The keys of a scheme: one, or two while a secret is being changed.

use aws_lc_rs::{hmac, signature};
use chassis::options::Secret;

use super::encoding::Encoding;

/// One key, or two of which either is good.
#[derive(Debug, Clone)]
pub struct Rotation<K> {
    current: K,
    previous: Option<K>,
}

/// Why a secret is no key of its scheme. Holds nothing of the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is nothing in it.
    #[error("must not be empty")]
    Empty,
    /// It does not begin as it must.
    #[error("must begin with {0}")]
    Prefix(&'static str),
    /// It is not base64.
    #[error("must be base64{0}")]
    Encoding(&'static str),
    /// It has the wrong length.
    #[error("must have {0} bytes")]
    Length(&'static str),
}

impl<K> Rotation<K> {
    /// The key that is in use, and the one before it for as long as it may still be met.
    pub const fn new(current: K, previous: Option<K>) -> Self {
        Self { current, previous }
    }

    /// Both, the current one first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &K> {
        std::iter::once(&self.current).chain(&self.previous)
    }

    /// Makes a key of another kind of each.
    pub(crate) fn try_map<T, E>(&self, mut make: impl FnMut(&K) -> Result<T, E>) -> Result<Rotation<T>, E> {
        let current = make(&self.current)?;
        Ok(Rotation { current, previous: self.previous.as_ref().map(make).transpose()? })
    }

    /// Whether a test holds for one of them. Both are tried, so that the time does not tell which.
    pub(super) fn any(&self, mut test: impl FnMut(&K) -> bool) -> bool {
        let previous = self.previous.as_ref().is_some_and(&mut test);
        test(&self.current) | previous
    }
}

/// The bytes of a secret text as an HMAC key.
pub(super) fn text_key(algorithm: hmac::Algorithm, secret: &Secret) -> Result<hmac::Key, KeyError> {
    match secret.expose() {
        "" => Err(KeyError::Empty),
        text => Ok(hmac::Key::new(algorithm, text.as_bytes())),
    }
}

/// An Ed25519 public key.
#[derive(Debug, Clone, Copy)]
pub(super) struct PublicKey([u8; 32]);

impl PublicKey {
    /// Reads 32 bytes in base64.
    pub(super) fn new(text: &str) -> Result<Self, KeyError> {
        let bytes = Encoding::Base64.decode(text).ok_or(KeyError::Encoding(" of a public key"))?;
        bytes.try_into().map(Self).map_err(|_| KeyError::Length("32"))
    }

    /// Whether this key made a signature (RFC 8032).
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        signature::UnparsedPublicKey::new(&signature::ED25519, &self.0).verify(message, signature).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_key_of_a_rotation_is_good() {
        let keys = Rotation::new(1, Some(2));
        assert!(keys.any(|key| *key == 1) && keys.any(|key| *key == 2) && !keys.any(|key| *key == 3));
        assert!(!Rotation::new(1, None).any(|key| *key == 2));
        let mut tried = 0;
        keys.any(|_| {
            tried += 1;
            true
        });
        assert_eq!(tried, 2, "both are tried");
        assert_eq!(keys.try_map(|key| if *key == 2 { Err(()) } else { Ok(()) }).err(), Some(()));
    }

    #[test]
    fn what_is_no_public_key_is_refused_without_being_repeated() {
        for (text, error) in [
            ("", KeyError::Length("32")),
            ("AAAA", KeyError::Length("32")),
            ("not base64!", KeyError::Encoding(" of a public key")),
        ] {
            let refused = PublicKey::new(text).unwrap_err();
            assert_eq!(refused, error);
            assert!(text.is_empty() || !refused.to_string().contains(text));
        }
    }
}
