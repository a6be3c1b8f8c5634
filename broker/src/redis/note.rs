//! What is noted about a user who is there, besides who it is: JSON.

use proto::{PresenceEntry, Profile, UserId};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// The note about a user.
pub(super) fn write(user: &PresenceEntry) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Note { name: user.name.clone(), profile: user.profile.clone() })
}

/// Whom a note is about; `None` for what is none.
pub(super) fn read(user: &str, note: &str) -> Option<PresenceEntry> {
    let Note { name, profile } = serde_json::from_str(note).ok()?;
    Some(PresenceEntry { user: UserId::new(user).ok()?, name, profile })
}
