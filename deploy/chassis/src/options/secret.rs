//! Credentials, which come from the environment or from a file of their own and never show themselves.

use std::fmt;
use std::path::{Path, PathBuf};

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};

/// A credential, written as `{ env = "JWT_SECRET" }` or `{ file = "/run/secrets/jwt" }`. Its memory is wiped when
/// it is dropped.
#[derive(Clone)]
pub struct Secret(SecretString);

/// Why a credential cannot be had. Says where it was looked for, never what was found.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The environment has no such variable.
    #[error("the environment variable {0} is not set, or is empty")]
    Unset(String),
    /// The file cannot be read as text.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The file holds nothing.
    #[error("{0} is empty")]
    Empty(PathBuf),
}

impl Secret {
    /// A credential that was made here, such as that of a development mode.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into().into())
    }

    /// The credential itself. Whoever calls this must not log it.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn from_variable(name: &str, read: impl Fn(&str) -> Option<String>) -> Result<Self, SecretError> {
        match read(name) {
            Some(value) if !value.is_empty() => Ok(Self::new(value)),
            _ => Err(SecretError::Unset(name.to_owned())),
        }
    }

    /// Without the line break that editors and `echo` leave at the end.
    fn from_file(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| SecretError::Unreadable { path: path.to_owned(), error })?;
        let value = text.trim_end_matches(['\n', '\r']);
        if value.is_empty() { Err(SecretError::Empty(path.to_owned())) } else { Ok(Self::new(value)) }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Place)
    }
}

/// Reads where the credential is. Serde's usual message for a text would repeat the text, which here is likely to
/// be the credential.
struct Place;

impl<'de> Visitor<'de> for Place {
    type Value = Secret;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{ env = \"NAME\" } or { file = \"/path\" }")
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Secret, E> {
        Err(E::custom(
            "a secret does not stand in the file itself: write { env = \"NAME\" } or { file = \"/path\" }",
        ))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Secret, A::Error> {
        let wrong = || de::Error::custom("write { env = \"NAME\" } or { file = \"/path\" }");
        let Some(key) = map.next_key::<String>()? else { return Err(wrong()) };
        let place = map.next_value::<String>().map_err(|_| wrong())?;
        if map.next_key::<String>()?.is_some() {
            return Err(wrong());
        }
        match key.as_str() {
            "env" => Secret::from_variable(&place, |name| std::env::var(name).ok()),
            "file" => Secret::from_file(Path::new(&place)),
            _ => return Err(wrong()),
        }
        .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize, Debug)]
    struct Holder {
        secret: Secret,
    }

    fn read(text: &str) -> Result<Holder, String> {
        toml::from_str::<toml::Table>(text)
            .unwrap()
            .try_into()
            .map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_secret_is_read_from_a_file_without_its_line_break() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jwt");
        std::fs::write(&path, "canary-1\r\n").unwrap();
        let holder = read(&format!("secret = {{ file = {path:?} }}")).unwrap();
        assert_eq!(holder.secret.expose(), "canary-1");
        std::fs::write(&path, "\n").unwrap();
        assert!(read(&format!("secret = {{ file = {path:?} }}")).unwrap_err().contains("is empty"));
    }

    #[test]
    fn a_secret_is_read_from_the_environment() {
        let variables = |name: &str| (name == "HERE").then(|| "canary-1".to_owned());
        assert_eq!(Secret::from_variable("HERE", variables).unwrap().expose(), "canary-1");
        assert!(Secret::from_variable("GONE", variables).unwrap_err().to_string().contains("GONE"));
        // Cargo sets this one for every test.
        assert_eq!(
            read("secret = { env = \"CARGO_PKG_NAME\" }").unwrap().secret.expose(),
            "switchboard-chassis"
        );
    }

    #[test]
    fn a_secret_never_shows_itself() {
        assert_eq!(format!("{:?}", Holder { secret: Secret::new("canary-1") }), "Holder { secret: *** }");
        for wrong in [
            "secret = 'canary-1'",
            "secret = { value = 'canary-1' }",
            "secret = { env = 'A', file = 'canary-1' }",
        ] {
            let message = read(wrong).unwrap_err();
            assert!(!message.contains("canary-1"), "{message}");
            assert!(message.contains("{ env = \"NAME\" }"), "{message}");
        }
    }
}
