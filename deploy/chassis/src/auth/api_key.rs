//! API keys: credentials of backends, each with a name, tenants and scopes, of which the configuration holds only
//! hashes.
//!
//! A key reads `sb_<id>_<secret>`. The id finds its row; it is no secret. The secret has 256 random bits, so a plain
//! SHA-256 of the key cannot be turned back by guessing, and a slow hash would only help those who want to keep the
//! service busy.
//!
//! ```toml
//! [[api_keys]]
//! id = "4f1c2a9be07d"
//! name = "billing"
//! hash = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
//! tenants = ["acme"]
//! scopes = ["publish"]
//! ```

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use proto::{NameError, Tenant};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use super::identity::{ScopeError, Scopes};
use crate::options::{Field, Kind, Loaded, OptionSpec, OptionsError};

/// What every key begins with, so that scanners for leaked credentials can know it.
const PREFIX: &str = "sb_";

/// Random bytes of an id: enough that two keys of one configuration never meet.
const ID_BYTES: usize = 6;

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// The longest name of a key, in bytes.
const LONGEST_NAME: usize = 128;

/// The row of the API keys' options.
pub const API_KEYS: &[OptionSpec] = &[OptionSpec {
    key: "api_keys",
    kind: Kind::Tables(ROW),
    default: "",
    help: "API keys of backends. `standalone key` makes a key and its table.",
}];

/// What stands in one table.
const ROW: &[Field] = &[
    Field::new("id", "text", "", "The part of the key that names it."),
    Field::new("name", "text", "", "Whose key it is, for logs."),
    Field::new("hash", "text", "", "The SHA-256 of the whole key, in hex."),
    Field::new(
        "tenants",
        "list of texts",
        "",
        "Where it may act: the first is used when a request names none; `*` stands for every other.",
    ),
    Field::new("scopes", "list of texts", "", "What it may do."),
];

/// Who presented an API key, and what they may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// The part of the key that names it. Safe to log.
    pub id: Box<str>,
    /// Whose key it is, for logs and the audit trail.
    pub name: Box<str>,
    /// Where it may act.
    pub tenants: Tenants,
    /// What it may do.
    pub scopes: Scopes,
}

/// The tenants that a key may act in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenants {
    own: Tenant,
    others: Others,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Others {
    These(Box<[Tenant]>),
    All,
}

/// The keys of the configuration.
#[derive(Debug, Default)]
pub struct ApiKeys {
    // Keyed hashing: the id of a lookup is chosen by the client.
    by_id: HashMap<Box<str>, (ApiKey, Hash)>,
}

/// The key is not one of the configuration. Does not say whether its id is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API key is not known")]
pub struct UnknownApiKey;

/// The SHA-256 of a whole key.
#[derive(Clone, Copy)]
struct Hash([u8; SHA256_OUTPUT_LEN]);

impl Tenants {
    /// The tenants of a list: the first is the key's own, `*` stands for all others. `None` if the list is empty.
    fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Option<Self>, NameError> {
        let mut named = Vec::new();
        let mut all = false;
        for name in names {
            match name {
                "*" => all = true,
                name => named.push(Tenant::new(name)?),
            }
        }
        if named.is_empty() && all {
            named.push(Tenant::new("default")?);
        }
        let mut named = named.into_iter();
        Ok(named
            .next()
            .map(|own| Self { own, others: if all { Others::All } else { Others::These(named.collect()) } }))
    }

    /// The tenant of requests that name none.
    pub const fn own(&self) -> &Tenant {
        &self.own
    }

    /// Whether the key may act in this tenant.
    pub fn contains(&self, tenant: &Tenant) -> bool {
        *tenant == self.own
            || match &self.others {
                Others::These(others) => others.contains(tenant),
                Others::All => true,
            }
    }
}

impl ApiKeys {
    /// Reads the keys of the configuration. All mistakes are told at once.
    pub fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Section {
            #[serde(default)]
            api_keys: Vec<Row>,
        }
        let section: Section = loaded.section(API_KEYS)?;
        let mut keys = Self::default();
        let mut mistakes = Vec::new();
        for (index, row) in section.api_keys.into_iter().enumerate() {
            let outcome = row.meaning().and_then(|(key, hash)| keys.insert(key, hash));
            if let Err((field, message)) = outcome {
                mistakes.push(loaded.mistake(format!("api_keys[{index}].{field}"), message));
            }
        }
        if mistakes.is_empty() { Ok(keys) } else { Err(OptionsError::Invalid(mistakes)) }
    }

    /// Whether a credential has the form of an API key, known or not. A token (JWT) never has.
    pub fn looks_like_one(credential: &str) -> bool {
        credential.starts_with(PREFIX)
    }

    /// Whose key this is.
    pub fn find(&self, credential: &str) -> Result<&ApiKey, UnknownApiKey> {
        let id = id_of(credential).ok_or(UnknownApiKey)?;
        let (key, hash) = self.by_id.get(id).ok_or(UnknownApiKey)?;
        if hash.is_of(credential) { Ok(key) } else { Err(UnknownApiKey) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    fn insert(&mut self, key: ApiKey, hash: Hash) -> Result<(), Complaint> {
        match self.by_id.entry(key.id.clone()) {
            Entry::Vacant(place) => {
                place.insert((key, hash));
                Ok(())
            }
            Entry::Occupied(_) => Err(("id", "is the id of another key as well".to_owned())),
        }
    }
}

/// A new key, before it is handed over: this is the only moment at which it can be read.
pub struct NewApiKey {
    id: String,
    key: SecretString,
}

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

impl NewApiKey {
    /// Makes a key.
    pub fn new() -> Result<Self, NoRandomness> {
        let (mut id, mut secret) = ([0; ID_BYTES], [0; SECRET_BYTES]);
        aws_lc_rs::rand::fill(&mut id).map_err(|_| NoRandomness)?;
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| NoRandomness)?;
        let id = hex(&id);
        let key = SecretString::from(format!("{PREFIX}{id}_{}", hex(&secret)));
        Ok(Self { id, key })
    }

    /// The key itself, for whoever will use it. Whoever calls this must not log it.
    pub fn expose(&self) -> &str {
        self.key.expose_secret()
    }

    /// The table for the configuration, as TOML.
    pub fn table(&self, name: &str, tenants: &[String], scopes: &Scopes) -> String {
        let scopes: Vec<_> = scopes.iter().collect();
        format!(
            "[[api_keys]]\nid = {}\nname = {}\nhash = {}\ntenants = {}\nscopes = {}\n",
            toml::Value::from(self.id.as_str()),
            toml::Value::from(name),
            toml::Value::from(Hash::of(self.expose()).to_string()),
            toml::Value::from(tenants.to_vec()),
            toml::Value::from(scopes),
        )
    }
}

impl fmt::Debug for NewApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewApiKey").field("id", &self.id).finish_non_exhaustive()
    }
}

/// The field that is wrong, and why.
type Complaint = (&'static str, String);

/// One table, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    name: String,
    hash: String,
    tenants: Vec<String>,
    scopes: Vec<String>,
}

impl Row {
    fn meaning(self) -> Result<(ApiKey, Hash), Complaint> {
        if self.id.is_empty() || !self.id.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(("id", "must be letters and digits of ASCII".to_owned()));
        }
        if self.name.is_empty() || self.name.len() > LONGEST_NAME || self.name.chars().any(char::is_control) {
            return Err(("name", format!("must be printable and have 1 to {LONGEST_NAME} bytes")));
        }
        let hash = Hash::parse(&self.hash).ok_or_else(|| {
            ("hash", "must be a SHA-256 in hex: 64 digits, and not the key itself".to_owned())
        })?;
        let tenants = Tenants::new(self.tenants.iter().map(String::as_str))
            .map_err(|error| ("tenants", error.to_string()))?
            .ok_or_else(|| ("tenants", "must name a tenant, or be [\"*\"]".to_owned()))?;
        let scopes = Scopes::new(self.scopes.iter().map(String::as_str))
            .map_err(|error: ScopeError| ("scopes", error.to_string()))?;
        Ok((ApiKey { id: self.id.into(), name: self.name.into(), tenants, scopes }, hash))
    }
}

impl Hash {
    fn of(credential: &str) -> Self {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        bytes.copy_from_slice(digest(&SHA256, credential.as_bytes()).as_ref());
        Self(bytes)
    }

    fn is_of(&self, credential: &str) -> bool {
        verify_slices_are_equal(&self.0, &Self::of(credential).0).is_ok()
    }

    fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; SHA256_OUTPUT_LEN];
        if text.len() != 2 * bytes.len() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(2 * at..2 * at + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// A hash is no secret, but in a log it is only noise.
impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hash")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The id of a key that has the right form; its secret may still be anything.
fn id_of(credential: &str) -> Option<&str> {
    let (id, secret) = credential.strip_prefix(PREFIX)?.split_once('_')?;
    (secret.len() == 2 * SECRET_BYTES && secret.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        assert_eq!(Field::keys(ROW, None), serde_introspect::<Row>());
    }

    fn read(text: &str) -> Result<ApiKeys, String> {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(text.as_bytes()).unwrap();
        let args = ["fanout", "--config", file.path().to_str().unwrap()];
        let loaded = crate::options::load_from("fanout", "", &[API_KEYS], args, [].into()).unwrap();
        ApiKeys::from_options(&loaded).map_err(|error| error.to_string())
    }

    fn scopes(words: &str) -> Scopes {
        Scopes::new(words.split(' ')).unwrap()
    }

    #[test]
    fn a_new_key_is_known_by_the_table_that_comes_with_it() {
        let (billing, ops) = (NewApiKey::new().unwrap(), NewApiKey::new().unwrap());
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect::<Vec<_>>();
        let first = billing.table("the \"billing\" service", &names(&["acme", "globex"]), &scopes("publish"));
        let second = ops.table("ops", &names(&["*"]), &scopes("admin publish"));
        let keys = read(&format!("{first}\n{second}")).unwrap();

        let found = keys.find(billing.expose()).unwrap();
        assert_eq!((&*found.id, &*found.name), (billing.id.as_str(), "the \"billing\" service"));
        assert_eq!(found.tenants.own().as_str(), "acme");
        let tenants = ["acme", "globex", "initech"].map(|name| Tenant::new(name).unwrap());
        assert_eq!(tenants.each_ref().map(|tenant| found.tenants.contains(tenant)), [true, true, false]);
        assert_eq!(found.scopes, scopes("publish"));

        let found = keys.find(ops.expose()).unwrap();
        assert_eq!(found.tenants.own().as_str(), "default");
        assert_eq!(tenants.map(|tenant| found.tenants.contains(&tenant)), [true, true, true]);
        assert_eq!(keys.find(NewApiKey::new().unwrap().expose()), Err(UnknownApiKey));
    }

    #[test]
    fn every_part_of_a_key_counts() {
        let new = NewApiKey::new().unwrap();
        let keys = read(&new.table("x", &["acme".to_owned()], &scopes("publish"))).unwrap();
        let key = new.expose();
        assert!(keys.find(key).is_ok() && ApiKeys::looks_like_one(key));
        for at in 0..key.len() {
            let other = if key.as_bytes()[at] == b'0' { "1" } else { "0" };
            let mut changed = key.to_owned();
            changed.replace_range(at..=at, other);
            assert_eq!(keys.find(&changed), Err(UnknownApiKey), "{at}");
            assert_eq!(keys.find(&key[..at]), Err(UnknownApiKey), "{at}");
        }
        for wrong in
            ["", "sb_", "sb__", &format!("{key}0"), &format!("{key} "), &key.to_uppercase(), "sb_é_é"]
        {
            assert_eq!(keys.find(wrong), Err(UnknownApiKey), "{wrong}");
        }
        assert_eq!(ApiKeys::default().find(key), Err(UnknownApiKey));
    }

    #[test]
    fn what_is_wrong_in_a_table_is_told_by_its_key() {
        let row = |id: &str, name: &str, hash: &str, tenants: &str, scopes: &str| {
            format!(
                "[[api_keys]]\nid = '{id}'\nname = '{name}'\nhash = '{hash}'\ntenants = {tenants}\nscopes = {scopes}\n"
            )
        };
        let hash = "0".repeat(64);
        let good = row("a1", "x", &hash, "['t']", "['publish']");
        assert!(read(&good).is_ok());
        for (bad, key) in [
            (row("", "x", &hash, "['t']", "[]"), "api_keys[1].id: must be"),
            (row("a_b", "x", &hash, "['t']", "[]"), "api_keys[1].id: must be"),
            (row("a1", "x", &hash, "['t']", "[]"), "api_keys[1].id: is the id of another"),
            (row("b", "", &hash, "['t']", "[]"), "api_keys[1].name: must be"),
            (row("b", "x", "sb_b_00", "['t']", "[]"), "api_keys[1].hash: must be"),
            (row("b", "x", &"+".repeat(64), "['t']", "[]"), "api_keys[1].hash: must be"),
            (row("b", "x", &hash, "[]", "[]"), "api_keys[1].tenants: must name"),
            (row("b", "x", &hash, "['a/b']", "[]"), "api_keys[1].tenants: has a character"),
            (row("b", "x", &hash, "['t']", "['a b']"), "api_keys[1].scopes: must be words"),
        ] {
            let message = read(&format!("{good}{bad}")).unwrap_err();
            assert!(message.contains(key) && message.contains("line"), "{message}");
        }
        assert!(read("[[api_keys]]\nid = 'a'\n").unwrap_err().contains("api_keys[0]"));
    }

    #[test]
    fn a_key_is_not_shown() {
        let new = NewApiKey::new().unwrap();
        let table = new.table("x", &["acme".to_owned()], &scopes("publish"));
        let keys = read(&table).unwrap();
        let secret = new.expose().rsplit('_').next().unwrap();
        let shown = format!("{new:?} {keys:?} {table} {:?}", keys.find(new.expose()).unwrap());
        assert!(!shown.contains(secret), "{shown}");
    }
}
