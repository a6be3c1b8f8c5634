//! A secret that comes along in `Authorization: Bearer` (RFC 6750, section 2.1). It proves who sent the webhook to
//! anyone who cannot read the connection, and nothing about the body.

use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{Digest, SHA256, digest};
use chassis::options::Secret;
use http::header::AUTHORIZATION;

use super::{KeyError, Received, Rejection, Rotation, header};

/// Webhooks that bring a secret.
pub struct Bearer {
    /// Hashes: of the same length whatever the secret, so that comparing them tells nothing about it.
    secrets: Rotation<Digest>,
}

impl Bearer {
    /// Takes the secret as the sender has it.
    pub fn new(secrets: &Rotation<Secret>) -> Result<Self, KeyError> {
        let secrets = secrets.try_map(|secret| match secret.expose() {
            "" => Err(KeyError::Empty),
            text => Ok(digest(&SHA256, text.as_bytes())),
        })?;
        Ok(Self { secrets })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>) -> Result<(), Rejection> {
        let (scheme, secret) = header::one(received.headers, &AUTHORIZATION)?
            .split_once(' ')
            .ok_or(Rejection::Malformed(AUTHORIZATION))?;
        if !scheme.eq_ignore_ascii_case("bearer") {
            return Err(Rejection::Malformed(AUTHORIZATION));
        }
        let given = digest(&SHA256, secret.as_bytes());
        let same = |known: &Digest| verify_slices_are_equal(known.as_ref(), given.as_ref()).is_ok();
        if self.secrets.any(same) { Ok(()) } else { Err(Rejection::BadSignature) }
    }
}

/// Not even the hashes: a short secret can be guessed from its hash.
impl fmt::Debug for Bearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Bearer")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers, malformed, missing, received, secret, secrets};

    #[test]
    fn only_the_secret_itself_is_good() {
        let scheme = Bearer::new(&secrets("new secret", "old")).unwrap();
        let verify = |value: &str| {
            let headers = headers(&[("authorization", value)]);
            scheme.verify(&received(&headers, b""))
        };
        for good in ["Bearer new secret", "bearer old"] {
            assert_eq!(verify(good), Ok(()), "{good}");
        }
        for bad in ["Bearer ", "Bearer new", "Bearer new secret ", "Bearer Old", "Bearer new secretold"] {
            assert_eq!(verify(bad), Err(Rejection::BadSignature), "{bad}");
        }
        for other in ["old", "Basic old", "Bearer"] {
            assert_eq!(verify(other), Err(malformed("authorization")), "{other}");
        }
        let nothing = headers(&[]);
        assert_eq!(scheme.verify(&received(&nothing, b"")), Err(missing("authorization")));
        assert_eq!(Bearer::new(&secret("")).err(), Some(KeyError::Empty));
    }

    #[test]
    fn it_shows_neither_the_secret_nor_its_hash() {
        assert_eq!(format!("{:?}", Bearer::new(&secret("hunter2")).unwrap()), "Bearer");
    }
}
