//! Signs what is delivered, as Standard Webhooks says: HMAC-SHA256 over `{id}.{timestamp}.{body}`.

use aws_lc_rs::hmac;
use base64::prelude::{BASE64_STANDARD, Engine};
use chassis::options::Secret;

use crate::webhook::{Encoding, KeyError, Rotation};

/// Signs with one key, or with two while the receiver changes from one to the other.
#[derive(Debug)]
pub(super) struct Signer(Rotation<hmac::Key>);

impl Signer {
    /// Takes secrets `whsec_…`.
    pub(super) fn new(secrets: &Rotation<Secret>) -> Result<Self, KeyError> {
        secrets.try_map(key).map(Self)
    }

    /// The value of `webhook-signature`: the signatures of all keys, with spaces between.
    pub(super) fn sign(&self, id: &str, timestamp: u64, body: &str) -> String {
        let message = format!("{id}.{timestamp}.{body}");
        let sign =
            |key: &hmac::Key| format!("v1,{}", BASE64_STANDARD.encode(hmac::sign(key, message.as_bytes())));
        self.0.iter().map(sign).collect::<Vec<_>>().join(" ")
    }
}

fn key(secret: &Secret) -> Result<hmac::Key, KeyError> {
    let text = secret.expose().strip_prefix("whsec_").ok_or(KeyError::Prefix("whsec_"))?;
    match Encoding::Base64.decode(text).ok_or(KeyError::Encoding(" after whsec_"))? {
        key if key.is_empty() => Err(KeyError::Empty),
        key => Ok(hmac::Key::new(hmac::HMAC_SHA256, &key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of the specification.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret(text: &str) -> Secret {
        Secret::new(text)
    }

    #[test]
    fn the_published_example_is_signed_as_published() {
        let sign = |secrets: Rotation<Secret>| {
            Signer::new(&secrets).unwrap().sign(
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
            )
        };
        let good = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(sign(Rotation::new(secret(SECRET), None)), good);
        let both = sign(Rotation::new(secret("whsec_bmV3"), Some(secret(SECRET))));
        let (new, old) = both.split_once(' ').unwrap();
        assert!(old == good && new.starts_with("v1,") && new != good, "{both}");
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        for text in ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_", "whsec_*", "whpk_MfKQ"] {
            assert!(Signer::new(&Rotation::new(secret(text), None)).is_err(), "{text}");
        }
    }
}
