//! Standard Webhooks (the specification, version 1): `webhook-signature` over `{id}.{timestamp}.{body}`.

use aws_lc_rs::hmac;
use chassis::options::Secret;
use http::HeaderName;

use super::encoding::Encoding;
use super::keys::PublicKey;
use super::{KeyError, Received, Rejection, Rotation, Tolerance, header};

const ID: HeaderName = HeaderName::from_static("webhook-id");
const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// How many signatures of one webhook are looked at. A sender has one, or two while it changes its secret; each that
/// is made with a private key costs a verification.
const MOST_SIGNATURES: usize = 8;

/// Webhooks of a sender that follows the Standard Webhooks specification.
#[derive(Debug)]
pub struct StandardWebhooks {
    keys: Rotation<Key>,
    tolerance: Tolerance,
}

#[derive(Debug)]
enum Key {
    /// `whsec_…`, for signatures `v1,…`.
    Shared(Box<hmac::Key>),
    /// `whpk_…`, for signatures `v1a,…`.
    Public(PublicKey),
}

impl StandardWebhooks {
    /// Takes secrets `whsec_…` or public keys `whpk_…`.
    pub fn new(secrets: &Rotation<Secret>, tolerance: Tolerance) -> Result<Self, KeyError> {
        Ok(Self { keys: secrets.try_map(Key::new)?, tolerance })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>, now: u64) -> Result<(), Rejection> {
        let id = header::one(received.headers, &ID)?;
        let (timestamp, made) = header::time(received.headers, &TIMESTAMP)?;
        let signatures = header::one(received.headers, &SIGNATURE)?;
        // A dot in the id would let it be taken for an id and the beginning of a time.
        if id.is_empty() || id.contains('.') {
            return Err(Rejection::Malformed(ID));
        }
        let message = [id.as_bytes(), b".", timestamp.as_bytes(), b".", received.body].concat();
        if !self.keys.any(|key| key.made_one_of(signatures, &message)) {
            return Err(Rejection::BadSignature);
        }
        self.tolerance.check(made, now)
    }
}

impl Key {
    fn new(secret: &Secret) -> Result<Self, KeyError> {
        const PREFIXES: &str = "whsec_ or whpk_";
        let text = secret.expose();
        if let Some(key) = text.strip_prefix("whsec_") {
            match Encoding::Base64.decode(key).ok_or(KeyError::Encoding(" after whsec_"))? {
                key if key.is_empty() => Err(KeyError::Empty),
                key => Ok(Self::Shared(Box::new(hmac::Key::new(hmac::HMAC_SHA256, &key)))),
            }
        } else if let Some(key) = text.strip_prefix("whpk_") {
            PublicKey::new(key).map(Self::Public)
        } else {
            Err(KeyError::Prefix(PREFIXES))
        }
    }

    /// Whether one of the signatures, with spaces between, is this key's. Those of versions that are not known are
    /// passed over.
    fn made_one_of(&self, signatures: &str, message: &[u8]) -> bool {
        let version = match self {
            Self::Shared(_) => "v1",
            Self::Public(_) => "v1a",
        };
        signatures
            .split(' ')
            .take(MOST_SIGNATURES)
            .filter_map(|signature| signature.split_once(',').filter(|(name, _)| *name == version))
            .filter_map(|(_, signature)| Encoding::Base64.decode(signature))
            .any(|signature| match self {
                Self::Shared(key) => hmac::verify(key, message, &signature).is_ok(),
                Self::Public(key) => key.verifies(message, &signature),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers, malformed, missing, received, secret, secrets};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::prelude::{BASE64_STANDARD, Engine};

    // The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE_ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const TIME: u64 = 1_614_265_330;
    const GOOD: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn verify(secrets: &Rotation<Secret>, id: &str, signature: &str, now: u64) -> Result<(), Rejection> {
        let time = TIME.to_string();
        let headers =
            headers(&[("webhook-id", id), ("webhook-timestamp", &time), ("webhook-signature", signature)]);
        let scheme = StandardWebhooks::new(secrets, Tolerance::default()).unwrap();
        scheme.verify(&received(&headers, BODY), now)
    }

    #[test]
    fn the_example_of_the_specification_holds() {
        assert_eq!(verify(&secret(SECRET), MESSAGE_ID, GOOD, TIME), Ok(()));
        assert_eq!(verify(&secrets("whsec_AAAA", SECRET), MESSAGE_ID, GOOD, TIME), Ok(()));
        assert_eq!(verify(&secret("whsec_AAAA"), MESSAGE_ID, GOOD, TIME), Err(Rejection::BadSignature));
        assert_eq!(verify(&secret(SECRET), "msg_other", GOOD, TIME), Err(Rejection::BadSignature));
    }

    #[test]
    fn one_good_signature_among_others_is_enough() {
        let with = |signatures: &str| verify(&secret(SECRET), MESSAGE_ID, signatures, TIME);
        assert_eq!(with(&format!("v1,AAAA v2,xyz nonsense {GOOD}")), Ok(()));
        let bad =
            ["", "v1", "v1,", &GOOD.replacen("v1,", "v1a,", 1), &GOOD.replacen("v1,", "v2,", 1), &GOOD[3..]];
        for signatures in bad {
            assert_eq!(with(signatures), Err(Rejection::BadSignature), "{signatures}");
        }
        let many = format!("{} {GOOD}", ["v1,AAAA"; MOST_SIGNATURES].join(" "));
        assert_eq!(with(&many), Err(Rejection::BadSignature));
    }

    #[test]
    fn only_a_fresh_one_with_a_plain_id_is_taken() {
        let at = |now| verify(&secret(SECRET), MESSAGE_ID, GOOD, now);
        assert_eq!((at(TIME + 300), at(TIME - 300)), (Ok(()), Ok(())));
        assert_eq!((at(TIME + 301), at(TIME - 301)), (Err(Rejection::Stale), Err(Rejection::Early)));
        for id in ["", "msg.1"] {
            assert_eq!(verify(&secret(SECRET), id, GOOD, TIME), Err(malformed("webhook-id")), "{id}");
        }
        let scheme = StandardWebhooks::new(&secret(SECRET), Tolerance::default()).unwrap();
        let bare = headers(&[("webhook-id", "1"), ("webhook-timestamp", "1")]);
        assert_eq!(scheme.verify(&received(&bare, b""), TIME), Err(missing("webhook-signature")));
    }

    #[test]
    fn a_public_key_checks_its_own_sort_of_signature() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public = format!("whpk_{}", BASE64_STANDARD.encode(pair.public_key().as_ref()));
        let message = [MESSAGE_ID.as_bytes(), b".", TIME.to_string().as_bytes(), b".", BODY].concat();
        let signature = BASE64_STANDARD.encode(pair.sign(&message));
        let with = |secrets: &Rotation<Secret>, version: &str| {
            verify(secrets, MESSAGE_ID, &format!("{version},{signature}"), TIME)
        };
        assert_eq!(with(&secret(&public), "v1a"), Ok(()));
        assert_eq!(with(&secrets(SECRET, &public), "v1a"), Ok(()));
        assert_eq!(with(&secret(&public), "v1"), Err(Rejection::BadSignature));
        // An HMAC under the public key, which anyone could make, is none of its signatures.
        let forged = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, pair.public_key().as_ref()), &message);
        for version in ["v1", "v1a"] {
            let forged = format!("{version},{}", BASE64_STANDARD.encode(forged.as_ref()));
            assert_eq!(verify(&secret(&public), MESSAGE_ID, &forged, TIME), Err(Rejection::BadSignature));
        }
    }

    #[test]
    fn a_secret_says_what_it_is() {
        let refused = |text: &str| StandardWebhooks::new(&secret(text), Tolerance::default()).err();
        assert_eq!(refused("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), Some(KeyError::Prefix("whsec_ or whpk_")));
        assert_eq!(refused("whsec_"), Some(KeyError::Empty));
        assert_eq!(refused("whsec_*"), Some(KeyError::Encoding(" after whsec_")));
        assert_eq!(refused("whpk_AAAA"), Some(KeyError::Length("32")));
    }
}
