//! The options of tokens: what was written, and the verifier that it means.

use std::path::Path;
use std::time::Duration;

use proto::Tenant;
use secrecy::SecretString;
use serde::Deserialize;
use tokio::time::Instant;

use super::claim_rule::{ClaimRule, RULE};
use super::claims::{ClaimMapping, ClaimPath};
use super::fetch::{Place, read_file};
use super::key::{Algorithm, Key, KeyError, Keys};
use super::key_source::KeySource;
use super::mint::Minter;
use super::schedule::{ASKED_AT_MOST_EVERY, Schedule};
use super::token::{Leeway, Rules};
use super::verifier::Verifier;
use crate::options::{HumanDuration, Kind, Loaded, Mistake, OptionSpec, OptionsError, Origin, Secret};

/// The largest PEM file that is read, in bytes. A key has a few hundred.
const LARGEST_PEM: u64 = 64 * 1024;

/// The longest interval at which a key set is read again. A withdrawn key must not live on for longer.
const RAREST_REFRESH: Duration = Duration::from_secs(24 * 60 * 60);

/// The rows of the tokens' options.
pub const AUTH: &[OptionSpec] = &[
    OptionSpec {
        key: "auth.secret",
        kind: Kind::Secret,
        default: "env:JWT_SECRET",
        help: "The shared secret that signs tokens.",
    },
    OptionSpec {
        key: "auth.previous_secret",
        kind: Kind::Secret,
        default: "env:JWT_SECRET_PREVIOUS",
        help: "A second secret that is accepted as well, while tokens of the old one are still around. New tokens \
               are signed by the first.",
    },
    OptionSpec {
        key: "auth.algorithm",
        kind: Kind::Text,
        default: "HS256",
        help: "The algorithm of the secrets: HS256, HS384 or HS512. A token never chooses it.",
    },
    OptionSpec {
        key: "auth.public_keys",
        kind: Kind::List,
        default: "",
        help: "PEM files with one public key each. RSA checks RS256, P-256 checks ES256, Ed25519 checks EdDSA.",
    },
    OptionSpec {
        key: "auth.jwks",
        kind: Kind::Text,
        default: "",
        help: "A JSON Web Key Set with public keys: the https URL of an identity provider's, or a file. It is read \
               again regularly, and when a token names a key that is not in it.",
    },
    OptionSpec {
        key: "auth.jwks_refresh",
        kind: Kind::Duration,
        default: "10m",
        help: "How often the key set is read again: between 10s and 1day.",
    },
    OptionSpec {
        key: "auth.jwks_allow_http",
        kind: Kind::Boolean,
        default: "false",
        help: "Take the key set over plain http from other machines too. Whoever is on the way can then sign tokens.",
    },
    OptionSpec {
        key: "auth.issuers",
        kind: Kind::List,
        default: "",
        help: "A token must have one of these as `iss`. Empty: any.",
    },
    OptionSpec {
        key: "auth.audiences",
        kind: Kind::List,
        default: "",
        help: "A token must have one of these in `aud`. Empty: any.",
    },
    OptionSpec {
        key: "auth.leeway",
        kind: Kind::Duration,
        default: "30s",
        help: "How far the clock of the issuer may be from ours; at most 60s.",
    },
    OptionSpec {
        key: "auth.claims.user",
        kind: Kind::List,
        default: "sub",
        help: "The claim that is the user's id; of several, the first that a token has. As everywhere here, dots lead \
               into objects: `user.id`.",
    },
    OptionSpec {
        key: "auth.claims.tenant",
        kind: Kind::Text,
        default: "tenant",
        help: "The claim that is the tenant.",
    },
    OptionSpec {
        key: "auth.claims.default_tenant",
        kind: Kind::Text,
        default: "default",
        help: "The tenant of tokens that name none. Written as an empty text in the file, such tokens are refused.",
    },
    OptionSpec {
        key: "auth.claims.name",
        kind: Kind::Text,
        default: "name",
        help: "The claim that others see as the user's name.",
    },
    OptionSpec {
        key: "auth.claims.rooms",
        kind: Kind::Text,
        default: "rooms",
        help: "The claim that lists rooms, by name or pattern.",
    },
    OptionSpec {
        key: "auth.claims.scopes",
        kind: Kind::Text,
        default: "scope",
        help: "The claim that lists scopes: words with spaces between, or a list.",
    },
    OptionSpec {
        key: "auth.claims.rules",
        kind: Kind::Tables(RULE),
        default: "",
        help: "What else a token must say. The claim must be there, unless the table holds only `not`.",
    },
];

/// What the options of tokens mean.
#[derive(Debug)]
pub struct AuthConfig {
    rules: Rules,
    algorithm: Algorithm,
    /// The one that signs comes first.
    secrets: Vec<Secret>,
    keys: Keys,
    source: Option<KeySource>,
}

impl AuthConfig {
    /// Reads the options, and the files that they name. All mistakes are told at once.
    pub fn from_options(loaded: &Loaded) -> Result<Self, OptionsError> {
        let Section { auth } = loaded.section(AUTH)?;
        let mut mistakes = Mistakes { loaded, found: Vec::new() };
        let rules = auth.rules(&mut mistakes);
        let algorithm = mistakes.note("auth.algorithm", auth.secret_algorithm()).unwrap_or(Algorithm::Hs256);

        let mut keys = Keys::default();
        let mut secrets = Vec::new();
        for (key, secret) in [("auth.secret", auth.secret), ("auth.previous_secret", auth.previous_secret)] {
            let Some(secret) = secret else { continue };
            if let Some(made) = mistakes.note(key, secret_key(algorithm, &secret)) {
                keys.push(made);
                secrets.push(secret);
            }
        }
        for (index, path) in auth.public_keys.iter().enumerate() {
            let made = public_key(Path::new(path));
            if let Some(key) = mistakes.note(&format!("auth.public_keys[{index}]"), made) {
                keys.push(key);
            }
        }
        let refresh = mistakes.note("auth.jwks_refresh", refresh_interval(auth.jwks_refresh.0));
        let source =
            auth.jwks.map(|place| key_source(&place, auth.jwks_allow_http, refresh.unwrap_or_default()));
        let source = source.and_then(|source| mistakes.note("auth.jwks", source));
        mistakes.none()?;
        warn_of_weak(&secrets, algorithm, loaded);
        Ok(Self { rules, algorithm, secrets, keys, source })
    }

    /// Whether any token can be checked, now or when the key set is there.
    pub const fn has_keys(&self) -> bool {
        !self.keys.is_empty() || self.source.is_some()
    }

    /// Adds a secret that was made here, such as that of a development mode.
    pub fn with_secret(mut self, secret: Secret) -> Result<Self, KeyError> {
        self.keys.push(Key::from_secret(self.algorithm, &wiped(&secret), None)?);
        self.secrets.push(secret);
        Ok(self)
    }

    /// Makes tokens that the verifier accepts; `None` without a secret.
    pub fn minter(&self) -> Option<Minter> {
        let secret = self.secrets.first()?;
        Minter::new(self.algorithm, &wiped(secret), None, self.rules.clone()).ok()
    }

    /// The verifier, to be kept up to date by [`Verifier::run`]. An error if there is no key, since it could only
    /// refuse everyone.
    pub fn verifier(self) -> Result<Verifier, OptionsError> {
        if !self.has_keys() {
            return Err(OptionsError::Invalid(vec![Mistake {
                key: "auth.secret".to_owned(),
                origin: Origin::Default,
                message:
                    "there is no key to check tokens by: set JWT_SECRET, auth.secret, auth.public_keys or \
                          auth.jwks"
                        .to_owned(),
            }]));
        }
        let verifier = Verifier::new(self.rules, self.keys);
        Ok(match self.source {
            Some(source) => verifier.with_source(source),
            None => verifier,
        })
    }
}

/// A short secret works, and can be found from any token that it signed.
fn warn_of_weak(secrets: &[Secret], algorithm: Algorithm, loaded: &Loaded) {
    let least = algorithm.recommended_secret().unwrap_or(0);
    let shortest = secrets.iter().map(|secret| secret.expose().len()).min();
    if let Some(length) = shortest.filter(|length| *length < least) {
        loaded.warn(format!(
            "a secret that checks tokens has {length} bytes; {algorithm} should have {least} random bytes or more, or \
             it may be guessed from any token"
        ));
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    auth: Written,
}

/// The options, as written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    secret: Option<Secret>,
    previous_secret: Option<Secret>,
    algorithm: String,
    public_keys: Vec<String>,
    jwks: Option<String>,
    jwks_refresh: HumanDuration,
    jwks_allow_http: bool,
    issuers: Vec<String>,
    audiences: Vec<String>,
    leeway: HumanDuration,
    claims: WrittenClaims,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenClaims {
    user: Vec<String>,
    tenant: String,
    default_tenant: String,
    name: String,
    rooms: String,
    scopes: String,
    #[serde(default)]
    rules: Vec<ClaimRule>,
}

impl Written {
    fn secret_algorithm(&self) -> Result<Algorithm, String> {
        match self.algorithm.parse::<Algorithm>() {
            Ok(algorithm) if algorithm.recommended_secret().is_some() => Ok(algorithm),
            _ => {
                Err("must be HS256, HS384 or HS512; other keys have their algorithm by themselves".to_owned())
            }
        }
    }

    /// What was wrong keeps its default, so that the rest can be looked at too.
    fn rules(&self, mistakes: &mut Mistakes<'_>) -> Rules {
        let leeway = if self.leeway.0 <= Duration::from_secs(60) { Leeway::new(self.leeway.0) } else { None };
        let leeway = leeway.ok_or_else(|| "must be at most 60s".to_owned());
        Rules {
            audiences: self.audiences.clone(),
            issuers: self.issuers.clone(),
            leeway: mistakes.note("auth.leeway", leeway).unwrap_or_default(),
            claims: self.claims.mapping(mistakes),
            claim_rules: self.claims.rules.clone(),
        }
    }
}

impl WrittenClaims {
    fn mapping(&self, mistakes: &mut Mistakes<'_>) -> ClaimMapping {
        let mut mapping = ClaimMapping::default();
        let user: Result<Vec<_>, _> = self.user.iter().map(|name| claim(name)).collect();
        let user = user
            .and_then(|user| if user.is_empty() { Err("must name a claim".to_owned()) } else { Ok(user) });
        if let Some(user) = mistakes.note("auth.claims.user", user) {
            mapping.user = user;
        }
        for (key, written, place) in [
            ("auth.claims.tenant", &self.tenant, &mut mapping.tenant),
            ("auth.claims.name", &self.name, &mut mapping.name),
            ("auth.claims.rooms", &self.rooms, &mut mapping.rooms),
            ("auth.claims.scopes", &self.scopes, &mut mapping.scopes),
        ] {
            if let Some(path) = mistakes.note(key, claim(written)) {
                *place = path;
            }
        }
        let tenant = match self.default_tenant.as_str() {
            "" => Ok(None),
            name => Tenant::new(name).map(Some).map_err(|error| error.to_string()),
        };
        if let Some(tenant) = mistakes.note("auth.claims.default_tenant", tenant) {
            mapping.default_tenant = tenant;
        }
        mapping
    }
}

/// Collects what is wrong, by key.
struct Mistakes<'a> {
    loaded: &'a Loaded,
    found: Vec<Mistake>,
}

impl Mistakes<'_> {
    fn note<T>(&mut self, key: &str, outcome: Result<T, String>) -> Option<T> {
        outcome.map_err(|message| self.found.push(self.loaded.mistake(key, message))).ok()
    }

    fn none(self) -> Result<(), OptionsError> {
        if self.found.is_empty() { Ok(()) } else { Err(OptionsError::Invalid(self.found)) }
    }
}

fn claim(path: &str) -> Result<ClaimPath, String> {
    ClaimPath::new(path)
        .ok_or_else(|| "must be the name of a claim, or names with single dots between".to_owned())
}

fn secret_key(algorithm: Algorithm, secret: &Secret) -> Result<Key, String> {
    Key::from_secret(algorithm, &wiped(secret), None).map_err(|error| error.to_string())
}

fn public_key(path: &Path) -> Result<Key, String> {
    let shown = path.display();
    let pem = read_file(path, LARGEST_PEM).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let pem = String::from_utf8(pem).map_err(|_| format!("{shown} is not a text"))?;
    Key::from_public_pem(&pem, None).map_err(|error| format!("{shown}: {error}"))
}

fn refresh_interval(written: Duration) -> Result<Duration, String> {
    if (ASKED_AT_MOST_EVERY..=RAREST_REFRESH).contains(&written) {
        Ok(written)
    } else {
        Err("must be between 10s and 1day".to_owned())
    }
}

/// A file must be there and be a key set when the service starts; an identity provider may come later.
fn key_source(place: &str, allow_http: bool, every: Duration) -> Result<KeySource, String> {
    let place = Place::parse(place, allow_http).map_err(|error| error.to_string())?;
    let keys = place.read_now().transpose().map_err(|error| format!("{place}: {error}"))?;
    let now = Instant::now();
    let first = if keys.is_some() { now + every } else { now };
    let source = KeySource::new(place, Schedule::new(every, ASKED_AT_MOST_EVERY, first));
    Ok(match keys {
        Some(keys) => source.with_keys(keys),
        None => source,
    })
}

fn wiped(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose())
}

#[cfg(test)]
mod tests;
