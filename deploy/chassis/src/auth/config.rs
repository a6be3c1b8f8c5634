//! The options of tokens: what was written, and the verifier that it means.

use std::path::Path;
use std::time::Duration;

use proto::Tenant;
use secrecy::SecretString;
use serde::Deserialize;

use super::claims::{ClaimMapping, ClaimPath};
use super::key::{Algorithm, Key, KeyError, Keys};
use super::mint::Minter;
use super::token::{Leeway, Rules};
use super::verifier::Verifier;
use crate::options::{HumanDuration, Kind, Loaded, Mistake, OptionSpec, OptionsError, Origin, Secret};

/// The largest PEM file that is read, in bytes. A key has a few hundred.
const LARGEST_PEM: u64 = 64 * 1024;

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
];

/// What the options of tokens mean.
#[derive(Debug)]
pub struct AuthConfig {
    rules: Rules,
    algorithm: Algorithm,
    /// The one that signs comes first.
    secrets: Vec<Secret>,
    keys: Keys,
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
        mistakes.none()?;
        Ok(Self { rules, algorithm, secrets, keys })
    }

    /// Whether any token can be checked.
    pub const fn has_keys(&self) -> bool {
        !self.keys.is_empty()
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

    /// What works but should be told to whoever runs the service.
    pub fn warnings(&self) -> Vec<String> {
        let least = self.algorithm.recommended_secret().unwrap_or(0);
        let shortest = self.secrets.iter().map(|secret| secret.expose().len()).min();
        match shortest {
            Some(length) if length < least => vec![format!(
                "a secret that checks tokens has {length} bytes; {} should have {least} random bytes or more, or it \
                 may be guessed from any token",
                self.algorithm
            )],
            _ => Vec::new(),
        }
    }

    /// The verifier. An error if there is no key, since it could only refuse everyone.
    pub fn verifier(self) -> Result<Verifier, OptionsError> {
        if !self.has_keys() {
            return Err(OptionsError::Invalid(vec![Mistake {
                key: "auth.secret".to_owned(),
                origin: Origin::Default,
                message:
                    "there is no key to check tokens by: set JWT_SECRET, auth.secret or auth.public_keys"
                        .to_owned(),
            }]));
        }
        Ok(Verifier::new(self.rules, self.keys))
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
    let pem = super::fetch::read_file(path, LARGEST_PEM)
        .map_err(|error| format!("cannot read {shown}: {error}"))?;
    let pem = String::from_utf8(pem).map_err(|_| format!("{shown} is not a text"))?;
    Key::from_public_pem(&pem, None).map_err(|error| format!("{shown}: {error}"))
}

fn wiped(secret: &Secret) -> SecretString {
    SecretString::from(secret.expose())
}

#[cfg(test)]
mod tests {
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
        let file = file(text);
        let args = ["gateway", "--config", file.path().to_str().unwrap()];
        let loaded = load_from("gateway", "", &[AUTH], args, [].into()).map_err(|error| error.to_string())?;
        AuthConfig::from_options(&loaded).map_err(|error| error.to_string())
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
        assert_eq!(
            loaded.origin("auth.previous_secret"),
            Origin::Environment("JWT_SECRET_PREVIOUS".to_owned())
        );
    }

    #[test]
    fn two_secrets_are_accepted_and_the_first_signs() {
        let other = "another secret of at least thirty-two bytes, which was the first once";
        let (new, old) = (file(SECRET), file(other));
        let config = read(&format!(
            "[auth]\nsecret = {{ file = {:?} }}\nprevious_secret = {{ file = {:?} }}",
            new.path(),
            old.path()
        ))
        .unwrap();
        assert!(config.minter().is_some() && config.warnings().is_empty());
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
    fn claims_and_times_follow_the_options() {
        let secret = file(SECRET);
        let config = read(&format!(
            "[auth]\nsecret = {{ file = {:?} }}\nissuers = ['https://id.example']\naudiences = ['chat']\n\
             leeway = '0s'\n[auth.claims]\nuser = ['id', 'sub']\ntenant = 'organizationId'\ndefault_tenant = ''",
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
            (
                format!("previous_secret = {{ file = {rsa:?} }}"),
                "auth.previous_secret: the secret is a PEM key",
            ),
            (format!("secret = {{ file = {empty:?} }}"), "auth.secret"),
            (format!("public_keys = [{rsa:?}, {private:?}]"), "auth.public_keys[1]: "),
            (format!("public_keys = [{empty:?}]"), "must hold one PUBLIC KEY"),
            (
                "public_keys = ['/nowhere/key.pem']".to_owned(),
                "auth.public_keys[0]: cannot read /nowhere/key.pem",
            ),
            ("claims.user = []".to_owned(), "auth.claims.user: must name a claim"),
            ("claims.user = ['a..b']".to_owned(), "auth.claims.user: must be the name"),
            ("claims.rooms = ''".to_owned(), "auth.claims.rooms: must be the name"),
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
        let config = read(&format!("[auth]\nsecret = {{ file = {:?} }}", secret.path())).unwrap();
        let shown = format!("{config:?} {:?}", config.warnings());
        assert!(shown.contains("8 bytes") && !shown.contains("canary-1"), "{shown}");
    }
}
