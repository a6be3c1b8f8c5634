//! Keys that check signatures, each pinned to one algorithm.
//!
//! A token's header never chooses how it is checked: an RSA public key can only ever check RS256, whatever the
//! header says (RFC 8725, sections 2.1 and 3.1).

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use aws_lc_rs::rsa::PublicKey as RsaPublicKey;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{DecodingKey, DecodingKeyKind};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

/// The sizes of RSA keys that are strong enough and not absurd, in bytes of the modulus.
const RSA_BYTES: RangeInclusive<usize> = 256..=1024;

/// How a token is signed (RFC 7518, section 3.1; RFC 8037).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// RSA PKCS#1 v1.5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::Rs256, Self::Es256, Self::EdDsa];

    /// The word that a token's header has for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    /// The shortest secret that is as strong as the algorithm, in bytes (RFC 7518, section 3.2); `None` for
    /// algorithms without a secret.
    pub const fn recommended_secret(self) -> Option<usize> {
        match self {
            Self::Hs256 => Some(32),
            Self::Hs384 => Some(48),
            Self::Hs512 => Some(64),
            Self::Rs256 | Self::Es256 | Self::EdDsa => None,
        }
    }

    pub(super) const fn in_library(self) -> jsonwebtoken::Algorithm {
        match self {
            Self::Hs256 => jsonwebtoken::Algorithm::HS256,
            Self::Hs384 => jsonwebtoken::Algorithm::HS384,
            Self::Hs512 => jsonwebtoken::Algorithm::HS512,
            Self::Rs256 => jsonwebtoken::Algorithm::RS256,
            Self::Es256 => jsonwebtoken::Algorithm::ES256,
            Self::EdDsa => jsonwebtoken::Algorithm::EdDSA,
        }
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::ALL.into_iter().find(|algorithm| algorithm.as_str() == text).ok_or(KeyError::Algorithm)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something is not a key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not an algorithm that is supported.
    #[error("the algorithm must be one of HS256, HS384, HS512, RS256, ES256 and EdDSA")]
    Algorithm,
    /// HS256 and its like need a secret, the others a public key.
    #[error(
        "this algorithm takes another kind of key (HS256, HS384, HS512: a secret; RS256, ES256, EdDSA: a public key)"
    )]
    Kind,
    /// The secret is empty.
    #[error("the secret is empty")]
    EmptySecret,
    /// The secret is a PEM text. Anyone who knows a public key could sign with it.
    #[error("the secret is a PEM key; a public key must not serve as a secret")]
    PemAsSecret,
    /// The PEM text holds no public key.
    #[error("the PEM text must hold one PUBLIC KEY or RSA PUBLIC KEY, and nothing that is private")]
    NotPublicPem,
    /// The key is not one of the algorithm: malformed, another curve, or RSA with less than 2,048 bits.
    #[error(
        "the key does not fit the algorithm (RS256: RSA with 2048 to 8192 bits; ES256: P-256; EdDSA: Ed25519)"
    )]
    Unfit,
}

/// A key that checks signatures of one algorithm.
#[derive(Clone)]
pub struct Key {
    id: Option<String>,
    algorithm: Algorithm,
    material: DecodingKey,
}

impl Key {
    /// A shared secret for one of the HMAC algorithms. `id` is what tokens name as `kid`.
    pub fn from_secret(
        algorithm: Algorithm,
        secret: &SecretString,
        id: Option<String>,
    ) -> Result<Self, KeyError> {
        let secret = secret.expose_secret();
        if algorithm.recommended_secret().is_none() {
            return Err(KeyError::Kind);
        }
        if secret.is_empty() {
            return Err(KeyError::EmptySecret);
        }
        if secret.trim_start().starts_with("-----BEGIN") {
            return Err(KeyError::PemAsSecret);
        }
        Ok(Self { id, algorithm, material: DecodingKey::from_secret(secret.as_bytes()) })
    }

    /// A public key in PEM (SPKI, or PKCS#1 for RSA).
    pub fn from_pem(algorithm: Algorithm, pem: &str, id: Option<String>) -> Result<Self, KeyError> {
        let is_public =
            pem.contains("-----BEGIN PUBLIC KEY-----") || pem.contains("-----BEGIN RSA PUBLIC KEY-----");
        if !is_public || pem.contains("PRIVATE KEY") {
            return Err(KeyError::NotPublicPem);
        }
        let material = match algorithm {
            Algorithm::Rs256 => DecodingKey::from_rsa_pem(pem.as_bytes()),
            Algorithm::Es256 => DecodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDsa => DecodingKey::from_ed_pem(pem.as_bytes()),
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => return Err(KeyError::Kind),
        }
        .map_err(|_| KeyError::Unfit)?;
        Self { id, algorithm, material }.checked()
    }

    /// A public key in PEM, pinned to the one algorithm here that its kind has.
    pub fn from_public_pem(pem: &str, id: Option<&str>) -> Result<Self, KeyError> {
        let mut refusal = KeyError::Unfit;
        for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
            match Self::from_pem(algorithm, pem, id.map(str::to_owned)) {
                Ok(key) => return Ok(key),
                Err(error) => refusal = error,
            }
        }
        Err(refusal)
    }

    /// A public key of a JSON Web Key Set. Its algorithm is what it says, else what its kind implies.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, KeyError> {
        let (algorithm, material) = match (jwk.kty.as_str(), jwk.crv.as_deref(), jwk.alg.as_deref()) {
            ("RSA", _, None | Some("RS256")) => {
                let (Some(n), Some(e)) = (&jwk.n, &jwk.e) else { return Err(KeyError::Unfit) };
                (Algorithm::Rs256, DecodingKey::from_rsa_components(n, e))
            }
            ("EC", Some("P-256"), None | Some("ES256")) => {
                let (Some(x), Some(y)) = (&jwk.x, &jwk.y) else { return Err(KeyError::Unfit) };
                (Algorithm::Es256, DecodingKey::from_ec_components(x, y))
            }
            // RFC 9864 gives EdDSA on this curve a name of its own, which key sets already use.
            ("OKP", Some("Ed25519"), None | Some("EdDSA" | "Ed25519")) => {
                let Some(x) = &jwk.x else { return Err(KeyError::Unfit) };
                (Algorithm::EdDsa, DecodingKey::from_ed_components(x))
            }
            // A secret in a key set would be a published secret.
            ("oct", ..) => return Err(KeyError::Kind),
            _ => return Err(KeyError::Algorithm),
        };
        let material = material.map_err(|_| KeyError::Unfit)?;
        Self { id: jwk.kid.clone(), algorithm, material }.checked()
    }

    /// What tokens name as `kid`.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The only algorithm that this key checks.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether `signature` (base64url) is this key's for `message`.
    pub(super) fn verifies(&self, message: &str, signature: &str) -> bool {
        let algorithm = self.algorithm.in_library();
        jsonwebtoken::crypto::verify(signature, message.as_bytes(), &self.material, algorithm)
            .unwrap_or(false)
    }

    /// Refuses now what could only fail at the first token.
    fn checked(self) -> Result<Self, KeyError> {
        let fits = match (self.algorithm, self.material.kind()) {
            (Algorithm::Rs256, DecodingKeyKind::SecretOrDer(der)) => {
                RsaPublicKey::from_der(der).is_ok_and(|key| {
                    let exponent = key.exponent().big_endian_without_leading_zero();
                    RSA_BYTES.contains(&key.modulus_len()) && is_sound_exponent(exponent)
                })
            }
            (Algorithm::Rs256, DecodingKeyKind::RsaModulusExponent { n, e }) => {
                let key = RsaPublicKeyComponents { n, e };
                RSA_BYTES.contains(&n.len())
                    && is_sound_exponent(e)
                    && key.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).is_ok()
            }
            (Algorithm::Es256, DecodingKeyKind::SecretOrDer(point)) => {
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).is_ok()
            }
            (Algorithm::EdDsa, DecodingKeyKind::SecretOrDer(point)) => {
                ParsedPublicKey::new(&ED25519, point).is_ok()
            }
            _ => false,
        };
        if fits { Ok(self) } else { Err(KeyError::Unfit) }
    }
}

/// Whether an RSA exponent, big-endian, is odd, more than 1 (by which anyone could sign) and not absurdly large.
fn is_sound_exponent(exponent: &[u8]) -> bool {
    let leading_zeros = exponent.iter().take_while(|byte| **byte == 0).count();
    match exponent.get(leading_zeros..) {
        Some([] | [1]) | None => false,
        Some(digits) => digits.len() <= 4 && digits.last().is_some_and(|last| last % 2 == 1),
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// A key of a JSON Web Key Set (RFC 7517, section 4): the members that matter for checking signatures.
#[derive(Debug, Deserialize)]
pub struct Jwk {
    kty: String,
    crv: Option<String>,
    alg: Option<String>,
    kid: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Jwk {
    /// Whether the key may check signatures (RFC 7517, sections 4.2 and 4.3).
    pub fn is_for_signatures(&self) -> bool {
        self.usage.as_deref().is_none_or(|usage| usage == "sig")
            && self.key_ops.as_ref().is_none_or(|all| all.iter().any(|operation| operation == "verify"))
    }
}

/// Keys to choose from.
#[derive(Debug, Clone, Default)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Puts keys together.
    pub const fn new(keys: Vec<Key>) -> Self {
        Self(keys)
    }

    /// Adds one.
    pub fn push(&mut self, key: Key) {
        self.0.push(key);
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// How many there are.
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    /// The keys, in the order given.
    pub fn iter(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }
}

/// Decodes base64url without padding, canonical only: one token has one spelling.
pub(super) fn base64url(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::testing::{EC, ED, NOW, Pair, RSA, SECRET, claims};
    use crate::auth::token::{Rules, check};
    use serde_json::{Value, json};

    fn jwk(value: Value) -> Result<Key, KeyError> {
        Key::from_jwk(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn a_secret_is_a_secret() {
        let refusal =
            |algorithm, text: &str| Key::from_secret(algorithm, &SecretString::from(text), None).err();
        assert_eq!(refusal(Algorithm::Hs256, ""), Some(KeyError::EmptySecret));
        assert_eq!(refusal(Algorithm::Hs256, &RSA.public_pem), Some(KeyError::PemAsSecret));
        assert_eq!(refusal(Algorithm::Rs256, SECRET), Some(KeyError::Kind));
        assert_eq!(refusal(Algorithm::Hs512, SECRET), None);
    }

    #[test]
    fn a_pem_key_fits_its_algorithm_and_is_public() {
        let refusal = |algorithm, pem: &str| Key::from_pem(algorithm, pem, None).err();
        for pair in [&*RSA, &*EC, &*ED] {
            for algorithm in [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa] {
                let expected = (algorithm != pair.algorithm).then_some(KeyError::Unfit);
                assert_eq!(refusal(algorithm, &pair.public_pem), expected, "{algorithm} {}", pair.algorithm);
            }
            assert_eq!(refusal(Algorithm::Hs256, &pair.public_pem), Some(KeyError::Kind));
            assert_eq!(refusal(pair.algorithm, &pair.private_pem), Some(KeyError::NotPublicPem));
            let both = format!("{}{}", pair.public_pem, pair.private_pem);
            assert_eq!(refusal(pair.algorithm, &both), Some(KeyError::NotPublicPem));
        }
        assert_eq!(refusal(Algorithm::Rs256, "no PEM"), Some(KeyError::NotPublicPem));
        let hollow = "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n";
        assert_eq!(refusal(Algorithm::Rs256, hollow), Some(KeyError::Unfit));
    }

    #[test]
    fn a_pem_key_has_its_algorithm_by_itself() {
        for pair in [&*RSA, &*EC, &*ED] {
            let key = Key::from_public_pem(&pair.public_pem, Some("k")).unwrap();
            assert_eq!((key.algorithm(), key.id()), (pair.algorithm, Some("k")));
            assert_eq!(Key::from_public_pem(&pair.private_pem, None).err(), Some(KeyError::NotPublicPem));
        }
    }

    #[test]
    fn a_key_of_a_set_checks_what_its_pair_signs() {
        for pair in [&*RSA, &*EC, &*ED] {
            let mut value = pair.jwk("k1");
            for alg in [json!(pair.algorithm.as_str()), Value::Null] {
                value["alg"] = alg;
                let key = jwk(value.clone()).unwrap();
                assert_eq!((key.id(), key.algorithm()), (Some("k1"), pair.algorithm));
                let token = pair.token(Some("k1"), &claims());
                assert!(check(&token, &[&Keys::new(vec![key])], &Rules::default(), NOW).is_ok());
            }
        }
    }

    #[test]
    fn a_key_of_a_set_is_pinned_and_sound() {
        let with = |pair: &Pair, member: &str, value: Value| {
            let mut jwk = pair.jwk("k1");
            jwk[member] = value;
            jwk
        };
        for (value, expected) in [
            (with(&RSA, "alg", json!("HS256")), KeyError::Algorithm),
            (with(&RSA, "alg", json!("RS512")), KeyError::Algorithm),
            (with(&EC, "alg", json!("EdDSA")), KeyError::Algorithm),
            (with(&EC, "crv", json!("P-384")), KeyError::Algorithm),
            (with(&EC, "crv", Value::Null), KeyError::Algorithm),
            (with(&EC, "x", json!("AAAA")), KeyError::Unfit),
            (with(&EC, "y", EC.jwk("k1")["x"].clone()), KeyError::Unfit),
            (with(&EC, "y", Value::Null), KeyError::Unfit),
            (with(&ED, "x", json!("AAAA")), KeyError::Unfit),
            (with(&RSA, "n", json!("AQAB")), KeyError::Unfit),
            (with(&RSA, "n", json!("***")), KeyError::Unfit),
            (with(&RSA, "e", Value::Null), KeyError::Unfit),
            // With these exponents everyone could sign.
            (with(&RSA, "e", json!("AQ")), KeyError::Unfit),
            (with(&RSA, "e", json!("")), KeyError::Unfit),
            (with(&RSA, "e", json!("AA")), KeyError::Unfit),
            (with(&RSA, "e", json!("AAE")), KeyError::Unfit),
            (with(&RSA, "e", json!("AQAA")), KeyError::Unfit),
            (with(&RSA, "e", RSA.jwk("k1")["n"].clone()), KeyError::Unfit),
            (json!({"kty": "oct", "alg": "HS256", "k": "c2VjcmV0"}), KeyError::Kind),
            (json!({"kty": "???"}), KeyError::Algorithm),
        ] {
            assert_eq!(jwk(value.clone()).unwrap_err(), expected, "{value}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let key = Key::from_secret(Algorithm::Hs256, &SecretString::from(SECRET), None).unwrap();
        assert!(!format!("{key:?}").contains(&SECRET[..8]));
    }
}
