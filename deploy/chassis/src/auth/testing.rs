//! Keys, and tokens of any shape, for tests.

use std::sync::LazyLock;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::EncodingKey;
use jsonwebtoken::jwk::Jwk;
use secrecy::SecretString;
use serde_json::{Value, json};

use super::key::{Algorithm, Key};

/// The time in the tests of this module.
pub(super) const NOW: u64 = 1_800_000_000;

/// Long enough for every HMAC algorithm.
pub(super) const SECRET: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// A pair of keys, or a secret.
pub(super) struct Pair {
    pub(super) algorithm: Algorithm,
    /// The public key; empty for a secret.
    pub(super) public_pem: String,
    /// The private key; empty for a secret.
    pub(super) private_pem: String,
    signing: EncodingKey,
}

impl Pair {
    fn new(algorithm: Algorithm, public_der: &[u8], private_der: &[u8]) -> Self {
        let public_pem = pem("PUBLIC KEY", public_der);
        let private_pem = pem("PRIVATE KEY", private_der);
        let signing = match algorithm {
            Algorithm::Rs256 => EncodingKey::from_rsa_pem(private_pem.as_bytes()),
            Algorithm::Es256 => EncodingKey::from_ec_pem(private_pem.as_bytes()),
            _ => EncodingKey::from_ed_pem(private_pem.as_bytes()),
        };
        Self { algorithm, public_pem, private_pem, signing: signing.unwrap() }
    }

    pub(super) fn hmac(algorithm: Algorithm, secret: &[u8]) -> Self {
        let signing = EncodingKey::from_secret(secret);
        Self { algorithm, public_pem: String::new(), private_pem: String::new(), signing }
    }

    pub(super) fn rsa() -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        let private: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        Self::new(Algorithm::Rs256, public.as_ref(), private.as_ref())
    }

    pub(super) fn ec() -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::new(Algorithm::Es256, public.as_ref(), pair.to_pkcs8v1().unwrap().as_ref())
    }

    pub(super) fn ed() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
        Self::new(Algorithm::EdDsa, public.as_ref(), pair.to_pkcs8v1().unwrap().as_ref())
    }

    /// The key that checks what this pair signs.
    pub(super) fn key(&self, id: Option<&str>) -> Key {
        let id = id.map(str::to_owned);
        if self.public_pem.is_empty() {
            Key::from_secret(self.algorithm, &SecretString::from(SECRET), id).unwrap()
        } else {
            Key::from_pem(self.algorithm, &self.public_pem, id).unwrap()
        }
    }

    /// The public key as a member of a key set.
    pub(super) fn jwk(&self, id: &str) -> Value {
        let jwk = Jwk::from_encoding_key(&self.signing, self.algorithm.in_library()).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = id.into();
        jwk
    }

    /// Signs whatever it is given, by this pair's own algorithm.
    pub(super) fn sign(&self, header: &str, claims: &str) -> String {
        let signed = format!("{}.{}", encode(header), encode(claims));
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.signing, self.algorithm.in_library())
                .unwrap();
        format!("{signed}.{signature}")
    }

    /// A token as it should be.
    pub(super) fn token(&self, id: Option<&str>, claims: &Value) -> String {
        let mut header = json!({"alg": self.algorithm.as_str(), "typ": "JWT"});
        if let Some(id) = id {
            header["kid"] = id.into();
        }
        self.sign(&header.to_string(), &claims.to_string())
    }
}

/// One pair of each sort, made once: an RSA key takes a moment.
pub(super) static RSA: LazyLock<Pair> = LazyLock::new(Pair::rsa);
pub(super) static EC: LazyLock<Pair> = LazyLock::new(Pair::ec);
pub(super) static ED: LazyLock<Pair> = LazyLock::new(Pair::ed);
pub(super) static HS: LazyLock<Pair> = LazyLock::new(|| Pair::hmac(Algorithm::Hs256, SECRET.as_bytes()));

pub(super) fn encode(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// The least that is accepted.
pub(super) fn claims() -> Value {
    json!({"sub": "ann", "exp": NOW + 60})
}

fn pem(tag: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let lines: Vec<_> = body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {tag}-----\n{}\n-----END {tag}-----\n", lines.join("\n"))
}
