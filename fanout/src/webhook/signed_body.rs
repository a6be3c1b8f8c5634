//! Any provider that signs its bodies with an HMAC: which header, hash, encoding and content is configuration.

use aws_lc_rs::hmac;
use chassis::options::Secret;
use http::HeaderName;

use super::encoding::Encoding;
use super::keys::text_key;
use super::{KeyError, Received, Rejection, Rotation, Tolerance, header};

/// How a provider signs.
#[derive(Debug, Clone)]
pub struct SignedBodyConfig {
    /// The header that holds the signature.
    pub header: HeaderName,
    /// What stands before the signature in its header, such as `sha256=`.
    pub prefix: String,
    /// The hash.
    pub hash: Hash,
    /// How the signature is written.
    pub encoding: Encoding,
    /// What is signed: a text in which `{body}` and `{timestamp}` stand for these, such as `v0:{timestamp}:{body}`.
    pub content: String,
    /// The header that holds the time in seconds since 1970, and how far it may be off.
    pub timestamp: Option<(HeaderName, Tolerance)>,
}

/// A hash for an HMAC (RFC 2104).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// SHA-1: weak as a hash, still sound in an HMAC, and all that some providers have.
    Sha1,
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

/// What is wrong with how a provider is said to sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// The secret is no key.
    #[error("the secret {0}")]
    Key(#[from] KeyError),
    /// There is something else in braces.
    #[error("the content may have {{body}} and {{timestamp}} in braces, and nothing else")]
    Unknown,
    /// The body is not in it, so anyone could change it.
    #[error("the content must have {{body}} in it once")]
    Body,
    /// A time is signed and no header holds it, or the other way round: a time that is not signed proves nothing.
    #[error("the content must have {{timestamp}} in it once if there is a header for it, and not otherwise")]
    Timestamp,
}

/// Webhooks signed with an HMAC.
#[derive(Debug)]
pub struct SignedBody {
    keys: Rotation<hmac::Key>,
    content: Vec<Piece>,
    config: SignedBodyConfig,
}

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Body,
    Timestamp,
}

impl SignedBody {
    /// Compiles how a provider signs.
    pub fn new(secrets: &Rotation<Secret>, config: SignedBodyConfig) -> Result<Self, TemplateError> {
        let content = pieces(&config.content)?;
        let count = |wanted: &Piece| content.iter().filter(|piece| *piece == wanted).count();
        if count(&Piece::Body) != 1 {
            return Err(TemplateError::Body);
        }
        if count(&Piece::Timestamp) != usize::from(config.timestamp.is_some()) {
            return Err(TemplateError::Timestamp);
        }
        let keys = secrets.try_map(|secret| text_key(config.hash.algorithm(), secret))?;
        Ok(Self { keys, content, config })
    }

    /// See [`Scheme::verify`](super::Scheme::verify).
    pub fn verify(&self, received: &Received<'_>, now: u64) -> Result<(), Rejection> {
        let name = &self.config.header;
        let signature = header::one(received.headers, name)?
            .strip_prefix(&self.config.prefix)
            .and_then(|text| self.config.encoding.decode(text))
            .ok_or_else(|| Rejection::Malformed(name.clone()))?;
        let time = match &self.config.timestamp {
            Some((name, tolerance)) => Some((header::time(received.headers, name)?, tolerance)),
            None => None,
        };
        let timestamp = time.map_or("", |((text, _), _)| text);
        let mut message = Vec::with_capacity(received.body.len() + 64);
        for piece in &self.content {
            message.extend_from_slice(match piece {
                Piece::Text(text) => text.as_bytes(),
                Piece::Body => received.body,
                Piece::Timestamp => timestamp.as_bytes(),
            });
        }
        if !self.keys.any(|key| hmac::verify(key, &message, &signature).is_ok()) {
            return Err(Rejection::BadSignature);
        }
        time.map_or(Ok(()), |((_, made), tolerance)| tolerance.check(made, now))
    }
}

impl Hash {
    const fn algorithm(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

fn pieces(template: &str) -> Result<Vec<Piece>, TemplateError> {
    let mut pieces = Vec::new();
    let mut rest = template;
    while let Some((text, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(TemplateError::Unknown)?;
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
        pieces.push(match name {
            "body" => Piece::Body,
            "timestamp" => Piece::Timestamp,
            _ => return Err(TemplateError::Unknown),
        });
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(Piece::Text(rest.to_owned()));
    }
    Ok(pieces)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::testing::{headers, malformed, missing, received, secret, secrets};
    use base64::prelude::{BASE64_STANDARD, Engine};

    const NOW: u64 = 1_700_000_000;

    fn plain(hash: Hash, encoding: Encoding) -> SignedBodyConfig {
        let header = HeaderName::from_static("x-signature");
        let content = "{body}".to_owned();
        SignedBodyConfig { header, prefix: String::new(), hash, encoding, content, timestamp: None }
    }

    fn timed(content: &str) -> SignedBodyConfig {
        SignedBodyConfig {
            prefix: "v0=".to_owned(),
            content: content.to_owned(),
            timestamp: Some((HeaderName::from_static("x-timestamp"), Tolerance::default())),
            ..plain(Hash::Sha256, Encoding::Base64)
        }
    }

    fn verify(config: SignedBodyConfig, key: &str, signature: &str, body: &str) -> Result<(), Rejection> {
        let headers = headers(&[("x-signature", signature)]);
        SignedBody::new(&secret(key), config).unwrap().verify(&received(&headers, body.as_bytes()), NOW)
    }

    /// RFC 2202 (case 2) and RFC 4231 (case 2).
    #[test]
    fn the_vectors_of_the_rfcs_hold_for_each_hash() {
        for (hash, signature) in [
            (Hash::Sha1, "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79"),
            (Hash::Sha256, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"),
            (
                Hash::Sha384,
                "af45d2e376484031617f78d2b58a6b1b9c7ef464f5a01b47e42ec3736322445e8e2240ca5e69e2c78b3239ecfab21649",
            ),
            (
                Hash::Sha512,
                "164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737",
            ),
        ] {
            let body = "what do ya want for nothing?";
            assert_eq!(verify(plain(hash, Encoding::Hex), "Jefe", signature, body), Ok(()));
            let upper = signature.to_uppercase();
            assert_eq!(verify(plain(hash, Encoding::Hex), "Jefe", &upper, body), Ok(()));
            for (key, signature, body) in [
                ("jefe", signature, body),
                ("Jefe", signature, "what do ya want for nothing!"),
                ("Jefe", &signature[2..], body),
                ("Jefe", "", body),
            ] {
                let refused = verify(plain(hash, Encoding::Hex), key, signature, body);
                assert_eq!(refused, Err(Rejection::BadSignature), "{signature}");
            }
        }
    }

    #[test]
    fn a_time_in_the_content_is_checked_and_both_secrets_are_good() {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"s");
        let verify = |time: &str, claimed: &str| {
            let signature = hmac::sign(&key, format!("v0:{time}:body").as_bytes());
            let signature = format!("v0={}", BASE64_STANDARD.encode(signature));
            let headers = headers(&[("x-signature", &signature), ("x-timestamp", claimed)]);
            let scheme = SignedBody::new(&secrets("t", "s"), timed("v0:{timestamp}:{body}")).unwrap();
            scheme.verify(&received(&headers, b"body"), NOW)
        };
        assert_eq!(verify("1700000000", "1700000000"), Ok(()));
        assert_eq!(verify("1700000000", "1700000001"), Err(Rejection::BadSignature));
        assert_eq!(verify("1699999699", "1699999699"), Err(Rejection::Stale));
        assert_eq!(verify("x", "x"), Err(malformed("x-timestamp")));
    }

    #[test]
    fn a_header_of_another_form_is_refused() {
        let config = || plain(Hash::Sha256, Encoding::Hex);
        assert_eq!(verify(config(), "s", "xyz", ""), Err(malformed("x-signature")));
        assert_eq!(verify(timed("{timestamp}{body}"), "s", "AAAA", ""), Err(malformed("x-signature")));
        let (scheme, nothing) = (SignedBody::new(&secret("s"), config()).unwrap(), headers(&[]));
        assert_eq!(scheme.verify(&received(&nothing, b""), NOW), Err(missing("x-signature")));
    }

    #[test]
    fn content_that_proves_nothing_is_refused() {
        let plain = |content: &str| {
            let config =
                SignedBodyConfig { content: content.to_owned(), ..plain(Hash::Sha256, Encoding::Hex) };
            SignedBody::new(&secret("s"), config).err()
        };
        assert_eq!(plain("a{body}b"), None);
        for (content, error) in [
            ("", TemplateError::Body),
            ("body", TemplateError::Body),
            ("{body}{body}", TemplateError::Body),
            ("{timestamp}.{body}", TemplateError::Timestamp),
            ("{url}{body}", TemplateError::Unknown),
            ("{body", TemplateError::Unknown),
        ] {
            assert_eq!(plain(content), Some(error), "{content}");
        }
        let unsigned = SignedBody::new(&secret("s"), timed("{body}")).err();
        assert_eq!(unsigned, Some(TemplateError::Timestamp));
        let empty = SignedBody::new(&secret(""), timed("{timestamp}{body}")).err();
        assert_eq!(empty, Some(TemplateError::Key(KeyError::Empty)));
    }
}
