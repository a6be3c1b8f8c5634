//! Telnyx: `telnyx-signature-ed25519` over `{timestamp}|{body}`.

use chassis::options::Secret;
use http::HeaderName;

use super::encoding::Encoding;
use super::keys::PublicKey;
use super::{KeyError, Received, Rejection, Rotation, Tolerance, header};

const SIGNATURE: HeaderName = HeaderName::from_static("telnyx-signature-ed25519");
const TIMESTAMP: HeaderName = HeaderName::from_static("telnyx-timestamp");

/// Webhooks of Telnyx.
#[derive(Debug)]
pub struct Telnyx {
    keys: Rotation<PublicKey>,
    tolerance: Tolerance,
}

impl Telnyx {
    /// Takes the account's public key: 32 bytes in base64, as the portal shows it.
    pub fn new(keys: &Rotation<Secret>, tolerance: Tolerance) -> Result<Self, KeyError> {
        Ok(Self { keys: keys.try_map(|key| PublicKey::new(key.expose()))?, tolerance })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>, now: u64) -> Result<(), Rejection> {
        let signature = header::one(received.headers, &SIGNATURE)?;
        let (timestamp, made) = header::time(received.headers, &TIMESTAMP)?;
        let signature = Encoding::Base64.decode(signature).ok_or(Rejection::Malformed(SIGNATURE))?;
        let message = [timestamp.as_bytes(), b"|", received.body].concat();
        if !self.keys.any(|key| key.verifies(&message, &signature)) {
            return Err(Rejection::BadSignature);
        }
        self.tolerance.check(made, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers, malformed, missing, received, secret, secrets};
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
    use base64::prelude::{BASE64_STANDARD, Engine};

    const BODY: &[u8] = br#"{"data":{"event_type":"call.initiated","id":"1"}}"#;
    const NOW: u64 = 1_700_000_000;

    fn pair(seed: u8) -> (Ed25519KeyPair, String) {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap();
        let public = BASE64_STANDARD.encode(pair.public_key().as_ref());
        (pair, public)
    }

    fn sign(pair: &Ed25519KeyPair, timestamp: &str, body: &[u8]) -> String {
        BASE64_STANDARD.encode(pair.sign(&[timestamp.as_bytes(), b"|", body].concat()))
    }

    fn verify(scheme: &Telnyx, signature: &str, timestamp: &str, body: &[u8]) -> Result<(), Rejection> {
        let headers = headers(&[("telnyx-signature-ed25519", signature), ("telnyx-timestamp", timestamp)]);
        scheme.verify(&received(&headers, body), NOW)
    }

    #[test]
    fn a_signature_holds_for_its_time_body_and_key_alone() {
        let (pair_1, public_1) = pair(1);
        let (pair_2, public_2) = pair(2);
        let scheme = Telnyx::new(&secret(&public_1), Tolerance::default()).unwrap();
        let good = sign(&pair_1, "1700000000", BODY);
        assert_eq!(verify(&scheme, &good, "1700000000", BODY), Ok(()));
        for (signature, timestamp, body) in [
            (&good, "1700000001", BODY),
            (&good, "01700000000", BODY),
            (&good, "1700000000", &BODY[1..]),
            (&sign(&pair_2, "1700000000", BODY), "1700000000", BODY),
            (&BASE64_STANDARD.encode([0; 64]), "1700000000", BODY),
            (&BASE64_STANDARD.encode([0; 63]), "1700000000", BODY),
            (&String::new(), "1700000000", BODY),
        ] {
            let refused = verify(&scheme, signature, timestamp, body);
            assert_eq!(refused, Err(Rejection::BadSignature), "{signature} {timestamp}");
        }
        let both = Telnyx::new(&secrets(&public_2, &public_1), Tolerance::default()).unwrap();
        assert_eq!(verify(&both, &good, "1700000000", BODY), Ok(()));
    }

    #[test]
    fn only_a_fresh_one_is_taken() {
        let (pair, public) = pair(1);
        let scheme = Telnyx::new(&secret(&public), Tolerance::default()).unwrap();
        let at = |timestamp: &str| verify(&scheme, &sign(&pair, timestamp, BODY), timestamp, BODY);
        assert_eq!((at("1699999700"), at("1700000300")), (Ok(()), Ok(())));
        assert_eq!(at("1699999699"), Err(Rejection::Stale));
        assert_eq!(at("1700000301"), Err(Rejection::Early));
        for timestamp in ["NaN", "", "-1700000000", "1700000000.0", " 1700000000"] {
            assert_eq!(at(timestamp), Err(malformed("telnyx-timestamp")), "{timestamp}");
        }
    }

    #[test]
    fn both_headers_must_be_there() {
        let scheme = Telnyx::new(&secret(&pair(1).1), Tolerance::default()).unwrap();
        let without = |headers: &[(&'static str, &str)]| {
            let headers = self::headers(headers);
            scheme.verify(&received(&headers, BODY), NOW).unwrap_err()
        };
        assert_eq!(without(&[]), missing("telnyx-signature-ed25519"));
        assert_eq!(without(&[("telnyx-signature-ed25519", "AA==")]), missing("telnyx-timestamp"));
        let wrong = [("telnyx-signature-ed25519", "*"), ("telnyx-timestamp", "1")];
        assert_eq!(without(&wrong), malformed("telnyx-signature-ed25519"));
    }
}
