//! A table of attacks on tokens, and what must go on working beside them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::identity::Identity;
use super::key::{Algorithm, Key, Keys, base64url};
use super::testing::{EC, ED, HS, NOW, Pair, RSA, SECRET, claims, encode};
use super::token::{LONGEST_TOKEN, Rules, TokenError, check};

fn checked(token: &str, keys: Vec<Key>) -> Result<Identity, TokenError> {
    check(token, &[&Keys::new(keys)], &Rules::default(), NOW)
}

/// The refusal of a token that is signed rightly, but with this header and these claims.
fn refusal(header: &Value, claims: &str) -> TokenError {
    checked(&HS.sign(&header.to_string(), claims), vec![HS.key(None)]).unwrap_err()
}

fn hs256() -> Value {
    json!({"alg": "HS256"})
}

#[test]
fn every_algorithm_accepts_its_own_signature_and_no_other() {
    let (hs384, hs512) =
        (Pair::hmac(Algorithm::Hs384, SECRET.as_bytes()), Pair::hmac(Algorithm::Hs512, SECRET.as_bytes()));
    let pairs = [&*HS, &hs384, &hs512, &*RSA, &*EC, &*ED];
    assert_eq!(pairs.map(|pair| pair.algorithm), Algorithm::ALL);
    for signer in pairs {
        let token = signer.token(None, &claims());
        for verifier in pairs {
            let outcome = checked(&token, vec![verifier.key(None)]).map(|identity| identity.user.to_string());
            let expected = if signer.algorithm == verifier.algorithm {
                Ok("ann".to_owned())
            } else {
                Err(TokenError::WrongAlgorithm)
            };
            assert_eq!(outcome, expected, "{} against {}", signer.algorithm, verifier.algorithm);
        }
        assert!(checked(&token, pairs.map(|pair| pair.key(None)).into()).is_ok(), "{}", signer.algorithm);
    }
}

#[test]
fn another_key_of_the_same_algorithm_does_not_verify() {
    for (signer, key) in
        [(Pair::rsa(), RSA.key(None)), (Pair::ec(), EC.key(None)), (Pair::ed(), ED.key(None))]
    {
        assert_eq!(checked(&signer.token(None, &claims()), vec![key]), Err(TokenError::BadSignature));
    }
    let signer = Pair::hmac(Algorithm::Hs256, b"another secret that nobody has configured");
    assert_eq!(checked(&signer.token(None, &claims()), vec![HS.key(None)]), Err(TokenError::BadSignature));
}

#[test]
fn unsigned_tokens_are_refused_however_none_is_spelled() {
    for none in ["none", "None", "NONE", "nOnE", "none ", "\u{0}none", ""] {
        let signed =
            format!("{}.{}", encode(&json!({"alg": none}).to_string()), encode(&claims().to_string()));
        let real = HS.token(None, &claims());
        let signature = real.rsplit('.').next().unwrap();
        for token in [format!("{signed}."), format!("{signed}.{signature}"), format!("{signed}.AA")] {
            let outcome = checked(&token, vec![HS.key(None), RSA.key(None)]);
            assert_eq!(outcome, Err(TokenError::WrongAlgorithm), "{none:?}");
        }
    }
    // The right algorithm with no signature.
    let signed = format!("{}.{}.", encode(&hs256().to_string()), encode(&claims().to_string()));
    assert_eq!(checked(&signed, vec![HS.key(None)]), Err(TokenError::BadSignature));
}

#[test]
fn the_word_for_an_algorithm_is_exact() {
    for alg in ["hs256", "HS256 ", "HS257", "RS384", "PS256", "ES384", "ES256K", "dir", "A128KW"] {
        assert_eq!(refusal(&json!({"alg": alg}), &claims().to_string()), TokenError::WrongAlgorithm, "{alg}");
    }
    for alg in [json!(null), json!(256), json!(["HS256"]), json!({"HS256": 1})] {
        assert_eq!(refusal(&json!({"alg": alg}), &claims().to_string()), TokenError::Malformed, "{alg}");
    }
    assert_eq!(refusal(&json!({"typ": "JWT"}), &claims().to_string()), TokenError::Malformed);
}

#[test]
fn a_public_key_never_serves_as_a_secret() {
    for pair in [&*RSA, &*EC, &*ED] {
        let pem = &pair.public_pem;
        for secret in [pem.as_str(), pem.trim_end(), &pem.replace('\n', "\r\n"), &pem.replace('\n', "")] {
            let forger = Pair::hmac(Algorithm::Hs256, secret.as_bytes());
            let plain = forger.token(None, &claims());
            assert_eq!(checked(&plain, vec![pair.key(None)]), Err(TokenError::WrongAlgorithm));
            assert_eq!(checked(&plain, vec![pair.key(None), HS.key(None)]), Err(TokenError::BadSignature));
            let named = forger.token(Some("idp"), &claims());
            let keys = vec![pair.key(Some("idp")), HS.key(None), HS.key(Some("own"))];
            assert_eq!(checked(&named, keys), Err(TokenError::WrongAlgorithm));
        }
    }
}

#[test]
fn a_key_id_is_a_name_and_nothing_else() {
    let keys = || vec![HS.key(Some("own")), RSA.key(Some("idp"))];
    for id in [
        "other",
        "",
        "OWN",
        "own ",
        "own\0",
        "../../dev/null",
        "/dev/null",
        "' OR '1'='1",
        "own' UNION SELECT 'x",
        "|/bin/true",
        "http://127.0.0.1/key",
        "*",
        "%00",
    ] {
        assert_eq!(checked(&HS.token(Some(id), &claims()), keys()), Err(TokenError::UnknownKey), "{id:?}");
    }
    for id in [json!(1), json!(null), json!(["own"]), json!({})] {
        let token = HS.sign(&json!({"alg": "HS256", "kid": id}).to_string(), &claims().to_string());
        assert_eq!(checked(&token, keys()), Err(TokenError::Malformed), "{id}");
    }
    // A signature by one key under the name of another.
    assert_eq!(checked(&HS.token(Some("idp"), &claims()), keys()), Err(TokenError::WrongAlgorithm));
    let twins = vec![EC.key(Some("a")), Pair::ec().key(Some("b"))];
    assert_eq!(checked(&EC.token(Some("b"), &claims()), twins.clone()), Err(TokenError::BadSignature));
    // The right name, and no name at all.
    assert!(checked(&EC.token(Some("a"), &claims()), twins.clone()).is_ok());
    assert!(checked(&EC.token(None, &claims()), twins).is_ok());
    // A key that was configured without an id takes tokens that name one.
    assert!(checked(&HS.token(Some("whatever"), &claims()), vec![HS.key(None)]).is_ok());
}

#[test]
fn keys_that_the_token_brings_along_are_not_used() {
    let forger = Pair::rsa();
    let jwk = forger.jwk("idp");
    for (member, value) in [
        ("jwk", jwk.clone()),
        ("jku", json!("http://127.0.0.1:9/keys.json")),
        ("x5u", json!("http://127.0.0.1:9/cert.pem")),
        ("x5c", json!(["MIIB"])),
    ] {
        for id in [None, Some("idp")] {
            let mut header = json!({"alg": "RS256", member: value});
            if let Some(id) = id {
                header["kid"] = id.into();
            }
            let token = forger.sign(&header.to_string(), &claims().to_string());
            assert_eq!(
                checked(&token, vec![RSA.key(Some("idp"))]),
                Err(TokenError::BadSignature),
                "{member}"
            );
            // They change nothing for a token that is signed rightly, either.
            let token = RSA.sign(&header.to_string(), &claims().to_string());
            assert!(checked(&token, vec![RSA.key(Some("idp"))]).is_ok(), "{member}");
        }
    }
}

/// A good token with its signature made into another one.
fn resigned(pair: &Pair, change: impl FnOnce(Vec<u8>) -> Vec<u8>) -> Result<Identity, TokenError> {
    let token = pair.token(None, &claims());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let signature = change(base64url(signature).unwrap());
    checked(&format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature)), vec![pair.key(None)])
}

#[test]
fn hollow_signatures_are_refused() {
    for pair in [&*HS, &*RSA, &*EC, &*ED] {
        assert!(resigned(pair, |signature| signature).is_ok());
        for change in [
            |signature: Vec<u8>| vec![0; signature.len()],
            |signature: Vec<u8>| vec![0xff; signature.len()],
            |_: Vec<u8>| vec![],
            |_: Vec<u8>| vec![0],
            |signature: Vec<u8>| signature[1..].to_vec(),
            |signature: Vec<u8>| signature[..signature.len() - 1].to_vec(),
            |signature: Vec<u8>| [&signature[..], &[0]].concat(),
            |signature: Vec<u8>| [&[0], &signature[..]].concat(),
            |signature: Vec<u8>| [&signature[..], &signature[..]].concat(),
        ] {
            assert_eq!(resigned(pair, change), Err(TokenError::BadSignature), "{}", pair.algorithm);
        }
    }
}

#[test]
fn a_signature_has_one_encoding() {
    // ES256 is r and s side by side (RFC 7518, section 3.4), not the ASN.1 that other protocols have.
    let asn1 = |signature: Vec<u8>| {
        let integer = |number: &[u8]| [&[2, 33, 0], number].concat();
        let both = [integer(&signature[..32]), integer(&signature[32..])].concat();
        [&[0x30, u8::try_from(both.len()).unwrap()], &both[..]].concat()
    };
    assert_eq!(resigned(&EC, asn1), Err(TokenError::BadSignature));

    // Ed25519: adding the order of the group to S gives the same point (RFC 8032, section 8.4).
    let order = [
        0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
    ];
    let larger = |mut signature: Vec<u8>| {
        let mut carry = 0;
        for (byte, added) in signature[32..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + added + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        signature
    };
    assert_eq!(resigned(&ED, larger), Err(TokenError::BadSignature));
}

#[test]
fn a_token_has_one_spelling() {
    let good = HS.token(None, &claims());
    // 32 bytes leave two bits of the last letter unused.
    let last = good.chars().last().unwrap();
    let alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let accepted: Vec<_> = alphabet
        .chars()
        .filter(|letter| checked(&format!("{}{letter}", &good[..good.len() - 1]), vec![HS.key(None)]).is_ok())
        .collect();
    assert_eq!(accepted, [last]);
    for at in 0..good.len() {
        for strange in [" ", "\n", "\r\n", "\t", "=", "%2E", "\u{0}", "\u{200b}"] {
            let mut spelled = good.clone();
            spelled.insert_str(at, strange);
            assert!(checked(&spelled, vec![HS.key(None)]).is_err(), "{strange:?} at {at}");
        }
    }
    let other_alphabet: String = good.replace('-', "+").replace('_', "/");
    assert!(other_alphabet == good || checked(&other_alphabet, vec![HS.key(None)]).is_err());
}

#[test]
fn what_a_key_set_publishes_never_serves_as_a_secret() {
    for pair in [&*RSA, &*EC, &*ED] {
        let jwk = pair.jwk("idp");
        let key = || Key::from_jwk(&serde_json::from_value(jwk.clone()).unwrap()).unwrap();
        let mut guesses = vec![jwk.to_string().into_bytes()];
        for member in ["n", "e", "x", "y"] {
            guesses.extend(jwk[member].as_str().map(|text| text.as_bytes().to_vec()));
            guesses.extend(jwk[member].as_str().and_then(base64url));
        }
        for guess in guesses {
            for algorithm in [Algorithm::Hs256, Algorithm::Hs384, Algorithm::Hs512] {
                let forged = Pair::hmac(algorithm, &guess).token(Some("idp"), &claims());
                assert_eq!(checked(&forged, vec![key()]), Err(TokenError::WrongAlgorithm));
                assert!(checked(&forged, vec![key(), HS.key(None)]).is_err());
            }
        }
    }
}

#[test]
fn encrypted_and_nested_tokens_are_refused() {
    let inner = HS.token(None, &claims());
    let header = json!({"alg": "HS256", "cty": "JWT"}).to_string();
    assert_eq!(checked(&HS.sign(&header, &inner), vec![HS.key(None)]), Err(TokenError::Malformed));
    for alg in ["dir", "RSA-OAEP", "A256KW", "PBES2-HS256+A128KW"] {
        let header = encode(&json!({"alg": alg, "enc": "A256GCM", "p2c": 2_000_000_000}).to_string());
        assert_eq!(checked(&format!("{header}.a.b.c.d"), vec![HS.key(None)]), Err(TokenError::Malformed));
        assert_eq!(
            checked(&format!("{header}.{}.AA", encode("{}")), vec![HS.key(None)]),
            Err(TokenError::WrongAlgorithm)
        );
    }
    // Compression would let a small token become a huge one; `zip` means nothing for signed tokens.
    let zipped = HS.sign(&json!({"alg": "HS256", "zip": "DEF"}).to_string(), "\u{78}\u{1}");
    assert_eq!(checked(&zipped, vec![HS.key(None)]), Err(TokenError::Malformed));
}

#[test]
fn critical_extensions_are_refused() {
    for crit in [json!(["b64"]), json!(["exp"]), json!([]), json!(null), json!("x")] {
        let header = json!({"alg": "HS256", "b64": false, "crit": crit});
        assert_eq!(refusal(&header, &claims().to_string()), TokenError::Critical, "{crit}");
    }
}

#[test]
fn exp_is_needed_and_is_a_time() {
    for (exp, reason) in [
        (json!("1900000000"), "the claim exp must be a number of seconds since 1970, before the year 10000"),
        (json!("never"), "must be a number"),
        (json!(null), "must be a number"),
        (json!(true), "must be a number"),
        (json!([NOW + 60]), "must be a number"),
        (json!({}), "must be a number"),
        (json!(-1), "must be a number"),
        (json!(-1.5), "must be a number"),
        (json!(u64::MAX), "must be a number"),
        (json!(1e300), "must be a number"),
        (json!((NOW + 60) * 1000), "must be a number"),
        (json!(0), "expired"),
        (json!(NOW - 30), "expired"),
        (json!(NOW as f64 - 30.0), "expired"),
    ] {
        let outcome = refusal(&hs256(), &json!({"sub": "ann", "exp": exp}).to_string()).to_string();
        assert!(outcome.contains(reason), "{exp}: {outcome}");
    }
    assert_eq!(refusal(&hs256(), r#"{"sub":"ann"}"#).to_string(), "the claim exp is missing");
    assert_eq!(refusal(&hs256(), r#"{"sub":"ann","exp":1e999}"#), TokenError::Malformed);
    assert_eq!(refusal(&hs256(), r#"{"sub":"ann","exp":NaN}"#), TokenError::Malformed);
    for exp in [json!(NOW - 29), json!(NOW as f64 + 0.5), json!(253_402_300_799_u64)] {
        let token = HS.token(None, &json!({"sub": "ann", "exp": exp}));
        assert!(checked(&token, vec![HS.key(None)]).is_ok(), "{exp}");
    }
}

#[test]
fn nbf_is_respected_and_times_are_numbers() {
    let with = |name: &str, value: Value| {
        let mut claims = claims();
        claims[name] = value;
        checked(&HS.token(None, &claims), vec![HS.key(None)]).map(|_| ())
    };
    assert_eq!(with("nbf", json!(NOW + 30)), Ok(()));
    assert_eq!(with("nbf", json!(NOW + 31)), Err(TokenError::NotYetValid));
    for name in ["nbf", "iat"] {
        for value in [json!("0"), json!(null), json!(-1), json!([])] {
            let outcome = with(name, value.clone());
            assert!(matches!(outcome, Err(TokenError::Claims(_))), "{name} {value}: {outcome:?}");
        }
    }
}

#[test]
fn audience_and_issuer_are_checked_when_configured() {
    let rules = Rules {
        audiences: vec!["a".to_owned(), "b".to_owned()],
        issuers: vec!["https://id.example".to_owned()],
        ..Rules::default()
    };
    let outcome = |aud: Value, iss: Value| {
        let mut claims = claims();
        (claims["aud"], claims["iss"]) = (aud, iss);
        let keys = Keys::new(vec![HS.key(None)]);
        check(&HS.token(None, &claims), &[&keys], &rules, NOW).map(|_| ())
    };
    let id = || json!("https://id.example");
    assert_eq!(outcome(json!("b"), id()), Ok(()));
    assert_eq!(outcome(json!(["x", "a"]), id()), Ok(()));
    for aud in
        [json!("c"), json!(null), json!([]), json!(["c"]), json!({"a": "a"}), json!([["a"]]), json!("a b")]
    {
        assert_eq!(outcome(aud.clone(), id()), Err(TokenError::WrongAudience), "{aud}");
    }
    for iss in [json!("https://id.example/"), json!(null), json!(["https://id.example"]), json!(1)] {
        assert_eq!(outcome(json!("a"), iss.clone()), Err(TokenError::WrongIssuer), "{iss}");
    }
    assert_eq!(
        check(&HS.token(None, &claims()), &[&Keys::new(vec![HS.key(None)])], &rules, NOW),
        Err(TokenError::WrongIssuer)
    );
}

#[test]
fn malformed_tokens_are_refused() {
    let good = HS.token(None, &claims());
    let keys = || vec![HS.key(None)];
    assert!(checked(&good, keys()).is_ok());
    assert_eq!(checked("", keys()), Err(TokenError::Missing));
    for bad in
        ["x", ".", "..", "...", "a.b", "a.b.c", "a.b.c.d", "a.b.c.d.e", "Bearer x.y.z", "é.é.é", " . . "]
    {
        assert_eq!(checked(bad, keys()), Err(TokenError::Malformed), "{bad}");
    }
    for at in 1..good.len() {
        assert!(checked(&good[..at], keys()).is_err(), "cut at {at}");
    }
    for spelled in [format!("{good}="), format!(" {good}"), format!("{good}\n"), good.replace('.', "=.")] {
        assert!(checked(&spelled, keys()).is_err(), "{spelled}");
    }
    for claims in ["null", "[]", "\"sub\"", "1", "{", "", "{}{}"] {
        assert_eq!(refusal(&hs256(), claims), TokenError::Malformed, "{claims}");
    }
}

#[test]
fn a_repeated_name_is_refused() {
    let claims = claims().to_string();
    let twice = claims.replacen('{', r#"{"sub":"bob","#, 1);
    assert_eq!(refusal(&hs256(), &twice), TokenError::Malformed);
    let header = r#"{"alg":"none","alg":"HS256"}"#;
    assert_eq!(checked(&HS.sign(header, &claims), vec![HS.key(None)]), Err(TokenError::Malformed));
}

#[test]
fn a_huge_token_is_not_looked_at() {
    let padded = |bytes: usize| {
        let mut claims = claims();
        claims["pad"] = "x".repeat(bytes).into();
        checked(&HS.token(None, &claims), vec![HS.key(None)]).map(|_| ())
    };
    assert_eq!(padded(LONGEST_TOKEN / 2), Ok(()));
    assert_eq!(padded(LONGEST_TOKEN), Err(TokenError::TooLong));
    assert_eq!(checked(&"a".repeat(10_000_000), vec![HS.key(None)]), Err(TokenError::TooLong));
    let nested = format!(r#"{{"sub":"ann","exp":{},"x":{}"#, NOW + 60, "[".repeat(4000));
    assert_eq!(refusal(&hs256(), &nested), TokenError::Malformed);
}

#[test]
fn no_refusal_repeats_the_token() {
    let marker = "TELLTALE";
    for claims in [
        json!({"sub": format!("{marker}{{"), "exp": NOW + 60}),
        json!({"sub": "a", "exp": marker}),
        json!({"sub": "a", "exp": NOW + 60, "tenant": format!("{marker}/")}),
        json!({"sub": "a", "exp": NOW + 60, "rooms": [marker, 1]}),
        json!({"sub": "a", "exp": NOW + 60, "scope": [format!("{marker} x")]}),
        json!({"sub": "a", "exp": 1, "x": marker}),
    ] {
        let token = HS.token(None, &claims);
        let error = checked(&token, vec![HS.key(None)]).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(!shown.contains(marker) && !shown.contains(&token), "{shown}");
    }
    let error = checked(&HS.token(Some(marker), &claims()), vec![HS.key(Some("own"))]).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(marker));
}

#[test]
fn every_refusal_has_a_code_and_a_label_of_its_own() {
    use proto::ErrorCode;
    assert_eq!(TokenError::Missing.code(), ErrorCode::NotAuthenticated);
    assert_eq!(TokenError::Expired.code(), ErrorCode::TokenExpired);
    assert_eq!(TokenError::KeysUnavailable.code(), ErrorCode::Unavailable);
    assert_eq!(TokenError::BadSignature.code(), ErrorCode::InvalidToken);
    assert_eq!(refusal(&hs256(), "{}").label(), "claims");
}

proptest! {
    #[test]
    fn no_text_panics_or_is_accepted(text in any::<String>()) {
        prop_assert!(checked(&text, vec![HS.key(None), EC.key(None)]).is_err());
    }

    #[test]
    fn no_three_parts_panic_or_are_accepted(header in any::<String>(), claims in any::<String>(), tail in any::<String>()) {
        let token = format!("{}.{}.{}", encode(&header), encode(&claims), encode(&tail));
        prop_assert!(checked(&token, vec![HS.key(None), EC.key(None), ED.key(None)]).is_err());
    }

    #[test]
    fn one_changed_byte_spoils_the_signature(at in any::<prop::sample::Index>(), byte in "[A-Za-z0-9_.-]") {
        let good = ED.token(None, &claims());
        let at = at.index(good.len());
        let mut bad = good.clone();
        bad.replace_range(at..=at, &byte);
        prop_assert!(bad == good || checked(&bad, vec![ED.key(None)]).is_err());
    }

    #[test]
    fn whatever_the_claims_are_nothing_panics(exp in any::<f64>(), claims in "[ -~]{0,64}") {
        let token = HS.token(None, &json!({"sub": claims, "exp": exp, "rooms": claims, "scope": claims}));
        let _ = checked(&token, vec![HS.key(None)]);
    }
}
