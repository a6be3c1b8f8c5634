//! An application's own names for what Switchboard does: a table that turns its events into commands, and what clients
//! are told into its events.
//!
//! ```toml
//! [profile]                                    # what others are shown of a user, from the token's claims
//! id = "$claims.id"
//! username = "$claims.username"
//!
//! [incoming.chat_message]                      # the client's event
//! action = "publish"                           # join, leave, publish, signal, presence, online, history, ping, auth, refresh
//! room = "$body.roomSlug"
//! message_id = "$body.messageId"
//! data = { text = "$body.message" }
//!
//! [outgoing.published]                         # what a client is told
//! event = "message_sent"
//! body = { messageId = "$messageId", timestamp = "$timestamp" }
//!
//! [publications.chat_message]                  # a publication by its event, or "*"
//! event = "new_message"
//! body = { roomSlug = "$room", userId = "$user.id", text = "$data.text" }
//!
//! [errors.not_authenticated]                   # an error by its code, or by the command that failed
//! event = "error"
//! body = { message = "Not authenticated" }
//! ```
//!
//! What has no rule is not sent. Incoming data must be complete: a placeholder in `data` that finds nothing, and has no
//! alternative, makes the frame invalid. The values are [templates](crate::template); `proto/vocabularies.md` has all names and
//! a worked example.

mod incoming;
mod kind;
mod outgoing;

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use incoming::Heard;
use incoming::Incoming;
use kind::Telling;
use outgoing::OutgoingRules;

use crate::message::{Invalid, Outgoing, Request, RequestId};
use crate::profile::{Profile, ProfileError};
use crate::publication::{Publication, Timestamp};
use crate::template::{Holds, Step, Template, TemplateError, Values, Variable, reach};

/// The name of the rule for every event that has none of its own.
const WILDCARD: &str = "*";

/// A compiled vocabulary. See the module's documentation.
#[derive(Debug)]
pub struct Vocabulary {
    profile: Option<Template<Claims>>,
    incoming: Incoming,
    outgoing: OutgoingRules,
}

/// Where in a vocabulary something is wrong, and what.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct VocabularyError {
    /// The path of the key, such as `outgoing.joined.body.userCount`.
    pub key: String,
    /// What is wrong there.
    pub problem: String,
}

impl VocabularyError {
    pub(crate) fn new(key: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { key: key.into(), problem: problem.into() }
    }
}

impl From<TemplateError> for VocabularyError {
    fn from(error: TemplateError) -> Self {
        Self::new(error.key, error.problem.to_string())
    }
}

/// Who of a channel's sessions is given a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// All of them.
    #[default]
    Everyone,
    /// All but the session that sent it.
    OtherSessions,
    /// All but those of the user who sent it.
    OtherUsers,
}

/// What a client is told, in the application's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// The event's name.
    pub event: String,
    /// What goes with it, as JSON text; absent where the rule has no body.
    pub body: Option<String>,
}

/// The claims of a token, for templates: `$claims.email`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Claims;

impl Variable for Claims {
    const ALL: &'static [(&'static str, Self, Holds)] = &[("claims", Self, Holds::Json)];
}

/// Claims as a JSON text.
impl Values<Claims> for &str {
    fn get(&self, _: Claims, path: &[Step]) -> Option<Cow<'_, str>> {
        reach(self, path).map(Cow::Borrowed)
    }
}

impl Vocabulary {
    /// Compiles what was written under `key`.
    ///
    /// # Errors
    /// Names the key that is wrong: an unknown table, kind, action, field or placeholder, or something that is missing.
    pub fn compile(key: &str, written: &Value) -> Result<Self, VocabularyError> {
        let mut vocabulary =
            Self { profile: None, incoming: Incoming::default(), outgoing: OutgoingRules::default() };
        for (section, written) in table(key, written)? {
            let key = format!("{key}.{section}");
            match section.as_str() {
                "profile" => vocabulary.profile = Some(Template::compile(&key, written)?),
                "incoming" => vocabulary.incoming = Incoming::compile(&key, table(&key, written)?)?,
                "outgoing" => vocabulary.outgoing.compile_kinds(&key, table(&key, written)?)?,
                "publications" => vocabulary.outgoing.compile_publications(&key, table(&key, written)?)?,
                "errors" => vocabulary.outgoing.compile_errors(&key, table(&key, written)?)?,
                _ => {
                    let known = "is none of profile, incoming, outgoing, publications, errors";
                    return Err(VocabularyError::new(key, known));
                }
            }
        }
        Ok(vocabulary)
    }

    /// Makes a command of a client's event.
    ///
    /// # Errors
    /// [`Invalid`] names the field and never quotes content.
    pub fn decode(&self, heard: Heard<'_>) -> Result<Request, Invalid> {
        self.incoming.decode(heard)
    }

    /// Says what a client is told in the application's words; `None` where the application has none for it. `now` is the
    /// time of what has no time of its own.
    pub fn encode(&self, outgoing: &Outgoing<'_>, id: Option<&RequestId>, now: Timestamp) -> Option<Told> {
        self.outgoing.encode(&Telling { outgoing, id, now })
    }

    /// Says what is told after it, if there is something.
    pub fn encode_also(&self, outgoing: &Outgoing<'_>, now: Timestamp) -> Option<Told> {
        self.outgoing.encode_also(&Telling { outgoing, id: None, now })
    }

    /// Who of a channel's sessions is given a publication.
    pub fn audience(&self, publication: &Publication) -> Audience {
        self.outgoing.audience(publication)
    }

    /// What others are shown of a user whose token has these claims, a JSON object; `None` without a rule for it.
    ///
    /// # Errors
    /// The profile would be too long, or is no object.
    pub fn profile(&self, claims: &str) -> Result<Option<Profile>, ProfileError> {
        let Some(template) = &self.profile else { return Ok(None) };
        template.render(&claims).map(Profile::new).transpose()
    }

    /// Each outgoing rule's key with the fields of its body, where the body is an object and not a placeholder.
    pub(crate) fn bodies(&self) -> impl Iterator<Item = (&str, Option<Vec<String>>)> {
        self.outgoing.bodies()
    }
}

fn table<'a>(key: &str, written: &'a Value) -> Result<&'a Map<String, Value>, VocabularyError> {
    written.as_object().ok_or_else(|| VocabularyError::new(key, "is not a table"))
}

/// Reads one rule.
fn rule<T: DeserializeOwned>(key: &str, written: &Value) -> Result<T, VocabularyError> {
    serde_json::from_value(written.clone()).map_err(|error| VocabularyError::new(key, error.to_string()))
}

#[cfg(test)]
mod tests;
