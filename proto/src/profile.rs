//! What an application shows of a user beside the id.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// What other clients are shown of a user: a JSON object built from the claims of the token, kept as text so that a number
/// stays the number it was. It travels with everything that the user does, so it is small.
#[derive(Clone, Serialize)]
#[serde(transparent)]
pub struct Profile(Arc<RawValue>);

/// Why a JSON text is not a profile.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Not JSON, or JSON of another type.
    #[error("is not a JSON object")]
    NotAnObject,
    /// Larger than [`Profile::MAX`].
    #[error("has more than {} bytes", Profile::MAX)]
    TooLong,
}

impl Profile {
    /// The largest length of the JSON text in bytes.
    pub const MAX: usize = 1024;

    /// Checks the text of a JSON object and makes it a profile.
    pub fn new(json: impl Into<String>) -> Result<Self, ProfileError> {
        let json = json.into();
        if json.len() > Self::MAX {
            return Err(ProfileError::TooLong);
        }
        let raw = RawValue::from_string(json).map_err(|_| ProfileError::NotAnObject)?;
        if !raw.get().starts_with('{') {
            return Err(ProfileError::NotAnObject);
        }
        Ok(Self(raw.into()))
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for Profile {
    /// Equal when written in the same way.
    fn eq(&self, other: &Self) -> bool {
        self.as_json() == other.as_json()
    }
}

impl Eq for Profile {}

impl fmt::Debug for Profile {
    /// Without the content, which is about a person.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Profile(…)")
    }
}

impl<'de> Deserialize<'de> for Profile {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::new(Box::<str>::from(raw)).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_keeps_its_numbers_as_they_were_written() {
        let text = r#"{"id":12345678901234567890123, "share":1.50}"#;
        assert_eq!(Profile::new(text).unwrap().as_json(), text);
        let read: Profile = serde_json::from_str(text).unwrap();
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "[]", "1", "null", "{", r#""{}""#] {
            assert_eq!(Profile::new(text), Err(ProfileError::NotAnObject), "{text}");
        }
        let long = format!(r#"{{"a":"{}"}}"#, "a".repeat(Profile::MAX));
        assert_eq!(Profile::new(&*long), Err(ProfileError::TooLong));
        assert!(serde_json::from_str::<Profile>(&long).is_err());
    }
}
