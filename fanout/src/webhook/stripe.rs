//! Stripe: `Stripe-Signature: t=…,v1=…` over `{t}.{body}`.

use aws_lc_rs::hmac;
use chassis::options::Secret;
use http::HeaderName;

use super::encoding::Encoding;
use super::freshness::seconds;
use super::keys::text_key;
use super::{KeyError, Received, Rejection, Rotation, Tolerance, header};

const SIGNATURE: HeaderName = HeaderName::from_static("stripe-signature");

/// How many signatures of one webhook are looked at: Stripe signs with each secret that is good at the time.
const MOST_SIGNATURES: usize = 8;

/// Webhooks of Stripe.
#[derive(Debug)]
pub struct Stripe {
    keys: Rotation<hmac::Key>,
    tolerance: Tolerance,
}

/// The header, taken apart.
struct Parts<'a> {
    timestamp: &'a str,
    made: u64,
    signatures: Vec<Vec<u8>>,
}

impl Stripe {
    /// Takes the endpoint's signing secret. All of it is the key, also the `whsec_` in front.
    pub fn new(secrets: &Rotation<Secret>, tolerance: Tolerance) -> Result<Self, KeyError> {
        Ok(Self { keys: secrets.try_map(|secret| text_key(hmac::HMAC_SHA256, secret))?, tolerance })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>, now: u64) -> Result<(), Rejection> {
        let parts =
            Parts::read(header::one(received.headers, &SIGNATURE)?).ok_or(Rejection::Malformed(SIGNATURE))?;
        let message = [parts.timestamp.as_bytes(), b".", received.body].concat();
        let good = |key: &hmac::Key| {
            parts.signatures.iter().any(|signature| hmac::verify(key, &message, signature).is_ok())
        };
        if !self.keys.any(good) {
            return Err(Rejection::BadSignature);
        }
        self.tolerance.check(parts.made, now)
    }
}

impl<'a> Parts<'a> {
    /// One time and any number of signatures of version 1; `v0`, which Stripe uses for test events, proves nothing.
    fn read(header: &'a str) -> Option<Self> {
        let mut timestamp = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            match part.trim().split_once('=')? {
                ("t", text) if timestamp.is_none() => timestamp = Some(text),
                ("t", _) => return None,
                ("v1", text) if signatures.len() < MOST_SIGNATURES => {
                    signatures.push(Encoding::Hex.decode(text)?);
                }
                _ => {}
            }
        }
        let timestamp = timestamp?;
        Some(Self { timestamp, made: seconds(timestamp)?, signatures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers, malformed, missing, received, secret, secrets};

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;
    const NOW: u64 = 1_700_000_000;

    fn sign(secret: &str, timestamp: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let tag = hmac::sign(&key, &[timestamp.as_bytes(), b".", BODY].concat());
        tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn verify(secrets: &Rotation<Secret>, header: &str) -> Result<(), Rejection> {
        let headers = headers(&[("stripe-signature", header)]);
        Stripe::new(secrets, Tolerance::default()).unwrap().verify(&received(&headers, BODY), NOW)
    }

    #[test]
    fn one_good_signature_of_version_1_is_enough() {
        let (t, zeros) = ("1700000000", "00".repeat(32));
        let (good, old) = (sign("whsec_a", t), sign("whsec_b", t));
        let key = secret("whsec_a");
        assert_eq!(verify(&key, &format!("t={t},v1={good}")), Ok(()));
        assert_eq!(verify(&key, &format!("t={t},v1={zeros},v1={good},v0={zeros}")), Ok(()));
        assert_eq!(verify(&secrets("whsec_b", "whsec_a"), &format!("t={t},v1={good}")), Ok(()));
        for header in [
            format!("t={t},v0={good}"),
            format!("t={t},v1={old}"),
            format!("t={t},v1={}", &good[2..]),
            format!("t=1700000001,v1={good}"),
            format!("t={t}"),
        ] {
            assert_eq!(verify(&key, &header), Err(Rejection::BadSignature), "{header}");
        }
        let many = format!("t={t}{},v1={good}", format!(",v1={zeros}").repeat(MOST_SIGNATURES));
        assert_eq!(verify(&key, &many), Err(Rejection::BadSignature));
    }

    #[test]
    fn only_a_fresh_one_is_taken() {
        let at = |t: &str| verify(&secret("whsec_a"), &format!("t={t},v1={}", sign("whsec_a", t)));
        assert_eq!((at("1699999700"), at("1700000300")), (Ok(()), Ok(())));
        assert_eq!((at("1699999699"), at("1700000301")), (Err(Rejection::Stale), Err(Rejection::Early)));
    }

    #[test]
    fn a_header_of_another_form_is_refused() {
        let good = sign("whsec_a", "1700000000");
        for header in ["", "t", "v1=00", "t=x,v1=00", "t=,v1=00", "t=1700000000,v1=xyz", "t=-1,v1=00"] {
            assert_eq!(verify(&secret("whsec_a"), header), Err(malformed("stripe-signature")), "{header}");
        }
        let two_times = format!("t=1700000000,t=1,v1={good}");
        assert_eq!(verify(&secret("whsec_a"), &two_times), Err(malformed("stripe-signature")));
        let scheme = Stripe::new(&secret("whsec_a"), Tolerance::default()).unwrap();
        let nothing = headers(&[]);
        assert_eq!(scheme.verify(&received(&nothing, BODY), NOW), Err(missing("stripe-signature")));
        assert_eq!(Stripe::new(&secret(""), Tolerance::default()).err(), Some(KeyError::Empty));
    }
}
