//! Whatever a client sends as a token: it is refused without a panic, and unless we signed it, it is always refused.
//!
//! The input is the token itself, and also, cut at the first line break, a header and claims that are signed here, so
//! that what is read behind the signature is reached too.

#![no_main]

use std::sync::LazyLock;

use aws_lc_rs::hmac::{HMAC_SHA256, Key as HmacKey, sign};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chassis::auth::{Algorithm, Key, Keys, Rules, Verifier};
use secrecy::SecretString;

const SECRET: &str = "a secret that is only used for fuzzing";
const NOW: u64 = 1_800_000_000;

static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| {
    let key = Key::from_secret(Algorithm::Hs256, &SecretString::from(SECRET), None).expect("a secret");
    Verifier::new(Rules::default(), Keys::new(vec![key]))
});

libfuzzer_sys::fuzz_target!(|input: &str| {
    assert!(VERIFIER.verify(input, NOW).is_err(), "nobody but us knows the secret");

    let (header, claims) = input.split_once('\n').unwrap_or((r#"{"alg":"HS256"}"#, input));
    let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = sign(&HmacKey::new(HMAC_SHA256, SECRET.as_bytes()), signed.as_bytes());
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    if let Ok(identity) = VERIFIER.verify(&token, NOW) {
        assert!(identity.expires_at + 30 > NOW, "an expired token was accepted");
        assert!(identity.claims.contains_key("sub"), "a token without a user was accepted");
    }
});
