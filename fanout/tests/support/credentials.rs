//! Real tokens and keys, by the name of who has them.

use std::io::Write;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use chassis::auth::{
    API_KEYS, Algorithm, ApiKeys, Grant, Key, Keys, Minter, NewApiKey, Rules, Scopes, Verifier,
};
use proto::{Tenant, UserId};
use secrecy::{ExposeSecret, SecretString};
use switchboard_fanout::Callers;

static SECRET: LazyLock<SecretString> = LazyLock::new(|| "a secret that only these tests have".into());
static KEY: LazyLock<NewApiKey> = LazyLock::new(|| NewApiKey::new().unwrap());

/// The secret that signs the tokens.
pub fn secret() -> &'static str {
    SECRET.expose_secret()
}

pub fn callers() -> Callers {
    let key = Key::from_secret(Algorithm::Hs256, &SECRET, None).unwrap();
    let tokens = Verifier::new(Rules::default(), Keys::new(vec![key]));
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let scopes = Scopes::new(["publish"]).unwrap();
    file.write_all(KEY.table("tests", &["acme".into(), "globex".into()], &scopes).as_bytes()).unwrap();
    let args = ["fanout", "--config", file.path().to_str().unwrap()];
    let loaded = chassis::options::load("fanout", "", &[API_KEYS], args).unwrap();
    Callers::new(Arc::new(tokens), Arc::new(ApiKeys::from_options(&loaded).unwrap()))
}

/// The token of `acme` (a user of that tenant), `root` (may publish to any tenant), `reader` (may not publish), `sender` (may send), `admin` (may administer) and
/// `late` (whose token has expired); the API key of `key` (for acme and globex). Any other name stands for itself.
pub fn credential(name: &str) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    match name {
        "acme" => token("publish", now),
        "root" => token("publish:any-tenant", now),
        "reader" => token("history", now),
        "sender" => token("send", now),
        "admin" => token("admin", now),
        "late" => token("publish", now - 7200),
        "key" => KEY.expose().to_owned(),
        other => other.to_owned(),
    }
}

fn token(scope: &str, now: u64) -> String {
    let grant = Grant {
        user: UserId::new("backend").unwrap(),
        tenant: Some(Tenant::new("acme").unwrap()),
        name: None,
        rooms: Vec::new(),
        scopes: Scopes::new([scope]).unwrap(),
        lifetime: Duration::from_secs(3600),
    };
    Minter::new(Algorithm::Hs256, &SECRET, None, Rules::default()).unwrap().mint(&grant, now).unwrap()
}

/// A token with these claims alone.
pub fn token_of(claims: serde_json::Map<String, serde_json::Value>) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let minter = Minter::new(Algorithm::Hs256, &SECRET, None, Rules::default()).unwrap();
    minter.mint_claims(claims, Duration::from_secs(3600), now).unwrap()
}
