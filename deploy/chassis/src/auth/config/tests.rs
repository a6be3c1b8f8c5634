//! Options of tokens as a person writes them: a file goes in, a verifier or messages come out.

use std::io::Write;

use serde_json::json;
use tempfile::NamedTempFile;

use super::*;
use crate::auth::testing::{EC, ED, HS, NOW, Pair, RSA, SECRET, claims};
use crate::auth::token::TokenError;
use crate::options::load_from;

fn file(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    file
}

fn read(text: &str) -> Result<AuthConfig, String> {
    read_with_warnings(text).map(|(config, _)| config)
}

fn read_with_warnings(text: &str) -> Result<(AuthConfig, Vec<String>), String> {
    let file = file(text);
    let args = ["gateway", "--config", file.path().to_str().unwrap()];
    let loaded = load_from("gateway", "", &[AUTH], args, [].into()).map_err(|error| error.to_string())?;
    let config = AuthConfig::from_options(&loaded).map_err(|error| error.to_string())?;
    Ok((config, loaded.warnings()))
}

#[test]
fn the_defaults_of_the_table_are_those_of_the_code() {
    let config = read("").unwrap();
    assert_eq!(config.algorithm, Algorithm::Hs256);
    assert_eq!(config.rules, Rules::default());
    assert!(!config.has_keys() && config.minter().is_none());
}

#[test]
fn a_service_that_could_only_refuse_does_not_start() {
    let error = read("").unwrap().verifier().unwrap_err().to_string();
    assert!(error.contains("auth.secret") && error.contains("JWT_SECRET"), "{error}");
    let verifier = read("").unwrap().with_secret(Secret::new(SECRET)).unwrap().verifier().unwrap();
    assert!(verifier.verify(&HS.token(None, &claims()), NOW).is_ok());
}

#[test]
fn the_usual_variables_hold_the_secrets() {
    let variables = [("JWT_SECRET", "one"), ("JWT_SECRET_PREVIOUS", "two")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let loaded = load_from("gateway", "", &[AUTH], ["gateway"], variables).unwrap();
    assert_eq!(loaded.origin("auth.secret"), Origin::Environment("JWT_SECRET".to_owned()));
    assert_eq!(loaded.origin("auth.previous_secret"), Origin::Environment("JWT_SECRET_PREVIOUS".to_owned()));
}

#[test]
fn two_secrets_are_accepted_and_the_first_signs() {
    let other = "another secret of at least thirty-two bytes, which was the first once";
    let (new, old) = (file(SECRET), file(other));
    let (config, warnings) = read_with_warnings(&format!(
        "[auth]\nsecret = {{ file = {:?} }}\nprevious_secret = {{ file = {:?} }}",
        new.path(),
        old.path()
    ))
    .unwrap();
    assert!(config.minter().is_some() && warnings.is_empty());
    let verifier = config.verifier().unwrap();
    let old = Pair::hmac(Algorithm::Hs256, other.as_bytes());
    for pair in [&*HS, &old] {
        assert!(verifier.verify(&pair.token(None, &claims()), NOW).is_ok());
    }
    let stranger = Pair::hmac(Algorithm::Hs256, b"a third one").token(None, &claims());
    assert_eq!(verifier.verify(&stranger, NOW), Err(TokenError::BadSignature));
    let other_algorithm = Pair::hmac(Algorithm::Hs512, SECRET.as_bytes()).token(None, &claims());
    assert_eq!(verifier.verify(&other_algorithm, NOW), Err(TokenError::WrongAlgorithm));
}

#[test]
fn public_keys_have_their_algorithm_by_themselves() {
    let files = [&*RSA, &*EC, &*ED].map(|pair| file(&pair.public_pem));
    let [rsa, ec, ed] = files.each_ref().map(NamedTempFile::path);
    let verifier =
        read(&format!("[auth]\npublic_keys = [{rsa:?}, {ec:?}, {ed:?}]")).unwrap().verifier().unwrap();
    for pair in [&*RSA, &*EC, &*ED] {
        assert!(verifier.verify(&pair.token(Some("k"), &claims()), NOW).is_ok(), "{}", pair.algorithm);
    }
    let forged = Pair::hmac(Algorithm::Hs256, RSA.public_pem.as_bytes()).token(None, &claims());
    assert_eq!(verifier.verify(&forged, NOW), Err(TokenError::WrongAlgorithm));
}

#[test]
fn a_key_set_in_a_file_is_there_at_once() {
    let set = file(&json!({"keys": [EC.jwk("e"), RSA.jwk("r")]}).to_string());
    let config = read(&format!("[auth]\njwks = {:?}", set.path())).unwrap();
    assert!(config.has_keys() && config.minter().is_none());
    let verifier = config.verifier().unwrap();
    let status = verifier.key_set().unwrap();
    assert_eq!((status.keys, status.failed, status.age.is_some()), (2, false, true));
    assert!(verifier.verify(&EC.token(Some("e"), &claims()), NOW).is_ok());
    assert_eq!(verifier.verify(&EC.token(Some("x"), &claims()), NOW), Err(TokenError::UnknownKey));
}

#[test]
fn a_key_set_behind_an_address_may_come_later() {
    let config = read("[auth]\njwks = 'https://id.example/keys'").unwrap();
    let verifier = config.verifier().unwrap();
    assert_eq!(verifier.key_set().map(|status| (status.keys, status.age)), Some((0, None)));
    assert_eq!(verifier.verify(&EC.token(Some("e"), &claims()), NOW), Err(TokenError::KeysUnavailable));
    assert!(read("[auth]\njwks = 'http://id.example/keys'\njwks_allow_http = true").is_ok());
}

#[test]
fn claims_and_times_follow_the_options() {
    let secret = file(SECRET);
    let config = read(&format!(
        "[auth]\nsecret = {{ file = {:?} }}\nissuers = ['https://id.example']\naudiences = ['chat']\n\
         leeway = '0s'\n[auth.claims]\nuser = ['id', 'sub']\ntenant = 'organizationId'\ndefault_tenant = ''\n\
         [[auth.claims.rules]]\nclaim = 'isActive'\nnot = false",
        secret.path()
    ))
    .unwrap();
    let verifier = config.verifier().unwrap();
    let verify = |claims| verifier.verify(&HS.token(None, &claims), NOW);
    let good = || json!({"iss": "https://id.example", "aud": ["chat"], "exp": NOW + 1, "id": 7, "sub": "x", "organizationId": "acme"});
    let identity = verify(good()).unwrap();
    assert_eq!((identity.user.as_str(), identity.tenant.as_str()), ("7", "acme"));
    let without = |name: &str| {
        let mut claims = good();
        claims.as_object_mut().unwrap().remove(name);
        claims
    };
    assert_eq!(verify(without("id")).unwrap().user.as_str(), "x");
    assert_eq!(verify(without("iss")), Err(TokenError::WrongIssuer));
    assert_eq!(verify(without("aud")), Err(TokenError::WrongAudience));
    assert!(matches!(verify(without("organizationId")), Err(TokenError::Claims(_))));
    let mut inactive = good();
    inactive["isActive"] = false.into();
    assert!(matches!(verify(inactive), Err(TokenError::Claims(_))));
    let mut expired = good();
    expired["exp"] = NOW.into();
    assert_eq!(verify(expired), Err(TokenError::Expired));
}

#[test]
fn every_mistake_is_told_by_its_key_and_all_at_once() {
    let (rsa, private, empty) = (file(&RSA.public_pem), file(&RSA.private_pem), file(""));
    let (rsa, private, empty) = (rsa.path(), private.path(), empty.path());
    for (text, expected) in [
        ("algorithm = 'RS256'".to_owned(), "auth.algorithm: must be HS256"),
        ("algorithm = 'none'".to_owned(), "auth.algorithm: must be HS256"),
        ("leeway = '61s'".to_owned(), "auth.leeway: must be at most 60s"),
        (format!("secret = {{ file = {rsa:?} }}"), "auth.secret: the secret is a PEM key"),
        (format!("previous_secret = {{ file = {rsa:?} }}"), "auth.previous_secret: the secret is a PEM key"),
        (format!("secret = {{ file = {empty:?} }}"), "auth.secret"),
        (format!("public_keys = [{rsa:?}, {private:?}]"), "auth.public_keys[1]: "),
        (format!("public_keys = [{empty:?}]"), "must hold one PUBLIC KEY"),
        (
            "public_keys = ['/nowhere/key.pem']".to_owned(),
            "auth.public_keys[0]: cannot read /nowhere/key.pem",
        ),
        ("jwks = 'http://id.example/keys'".to_owned(), "auth.jwks: must be https"),
        ("jwks = '/nowhere/jwks.json'".to_owned(), "auth.jwks: /nowhere/jwks.json: cannot read it"),
        (format!("jwks = {rsa:?}"), "it is not a JSON Web Key Set"),
        ("jwks_refresh = '9s'".to_owned(), "auth.jwks_refresh: must be between 10s"),
        ("jwks_refresh = '25h'".to_owned(), "auth.jwks_refresh: must be between 10s"),
        ("claims.user = []".to_owned(), "auth.claims.user: must name a claim"),
        ("claims.user = ['a..b']".to_owned(), "auth.claims.user: must be the name"),
        ("claims.rooms = ''".to_owned(), "auth.claims.rooms: must be the name"),
        ("claims.rules = [{ claim = '' }]".to_owned(), "auth.claims.rules[0]: the claim must be a name"),
        ("claims.default_tenant = 'a/b'".to_owned(), "auth.claims.default_tenant: has a character"),
    ] {
        let message = read(&format!("[auth]\n{text}")).unwrap_err();
        assert!(message.contains(expected) && message.contains("line 2"), "{text}: {message}");
        assert!(!message.contains("-----"), "{message}");
    }
    let both = read("[auth]\nalgorithm = 'x'\nleeway = '2m'").unwrap_err();
    assert!(both.contains("auth.algorithm") && both.contains("auth.leeway"), "{both}");
}

#[test]
fn a_weak_secret_is_accepted_with_a_warning_and_never_shown() {
    let secret = file("canary-1");
    let read = read_with_warnings(&format!("[auth]\nsecret = {{ file = {:?} }}", secret.path())).unwrap();
    let shown = format!("{read:?}");
    assert!(shown.contains("8 bytes") && !shown.contains("canary-1"), "{shown}");
}
