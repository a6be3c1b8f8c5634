//! From what came in to what is published: templates for the tenant, the target, the event and its data.
//!
//! One mapping serves every way in that the configuration describes; they differ in the variables that they know.

use std::borrow::Cow;

use chassis::options::Field;
use proto::template::{Missing, Template, Values, Variable, scalar};
use proto::{ChannelRules, NameError, Tenant};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::refusal::{Refusal, read_json};
use crate::request::{Order, PublishRequest, To};

/// The keys of a target, of which one is written.
const TARGETS: [&str; 5] = ["room", "user", "users", "followers", "all"];

/// What is wrong with a part of the configuration: the whole key, and why.
pub(crate) type Wrong = (String, String);

/// The rows of a mapping's keys, for the reference.
pub(crate) const TO: Field = Field::new(
    "to",
    "template",
    "",
    "To whom: `{ room = … }`, `{ user = … }` and the like, as in the publishing API.",
);
pub(crate) const EVENT: Field = Field::new("event", "template", "", "The name of the event.");
pub(crate) const DATA: Field = Field::new("data", "template", "", "Its data.");
pub(crate) const EPHEMERAL: Field =
    Field::new("ephemeral", "boolean", "false", "Whether nothing of it is kept.");

/// A mapping as it was written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written<'a> {
    /// The tenant; that of the caller, or `default`, where it is absent.
    pub(crate) tenant: Option<&'a Value>,
    /// One of `room`, `user`, `users`, `followers` and `all`.
    pub(crate) to: Option<&'a Value>,
    /// The name of the event.
    pub(crate) event: Option<&'a Value>,
    /// Its data.
    pub(crate) data: Option<&'a Value>,
    /// Whether it is live only.
    pub(crate) ephemeral: bool,
}

/// A compiled mapping.
#[derive(Debug, Clone)]
pub(crate) struct Mapping<V> {
    tenant: Option<Template<V>>,
    to: Template<V>,
    event: Template<V>,
    data: Template<V>,
    ephemeral: bool,
}

/// Why nothing can be published of what came in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unmapped {
    /// A value that the mapping needs is not there.
    #[error("{0} is missing")]
    Missing(String),
    /// The tenant is no tenant's name.
    #[error("the tenant {0}")]
    Tenant(NameError),
    /// What the mapping makes is no message.
    #[error("{}{}", place(.0), .0)]
    Refused(#[from] Refusal),
}

impl From<Missing> for Unmapped {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing.0)
    }
}

/// Which part of the message is meant.
fn place(refusal: &Refusal) -> String {
    match refusal.pointer() {
        Some("") | None => String::new(),
        Some(pointer) => format!("{pointer} "),
    }
}

impl<V: Variable> Mapping<V> {
    /// Compiles what was written under `key`.
    ///
    /// # Errors
    /// Names the key that is wrong.
    pub(crate) fn compile(key: &str, written: &Written<'_>) -> Result<Self, Wrong> {
        let there = |name: &str, value: Option<&Value>| match value {
            Some(value) => template(&format!("{key}.{name}"), value),
            None => Err((format!("{key}.{name}"), "must be given".to_owned())),
        };
        let to = there("to", written.to)?;
        if !written.to.is_some_and(is_target) {
            let one = format!("must be a table with one of {}", TARGETS.join(", "));
            return Err((format!("{key}.to"), one));
        }
        Ok(Self {
            tenant: written.tenant.map(|tenant| template(&format!("{key}.tenant"), tenant)).transpose()?,
            to,
            event: there("event", written.event)?,
            data: there("data", written.data)?,
            ephemeral: written.ephemeral,
        })
    }

    /// The message that follows from `values`, checked. `own` is the tenant where the mapping names none.
    pub(crate) fn order(
        &self,
        values: &impl Values<V>,
        own: &Tenant,
        rules: &ChannelRules,
    ) -> Result<Order, Unmapped> {
        let tenant = match &self.tenant {
            Some(tenant) => Tenant::new(text(tenant, values)?).map_err(Unmapped::Tenant)?,
            None => own.clone(),
        };
        let to: To = read_json(self.to.render_whole(values)?.as_bytes())?;
        // A field of the data may be missing; the data as a whole may not.
        let data = self.data.render(values).ok_or_else(|| Unmapped::Missing("the data".into()))?;
        let request = PublishRequest {
            to,
            event: text(&self.event, values)?,
            data: RawValue::from_string(data).map_err(|error| Refusal::malformed("", error.to_string()))?,
            binary: Vec::new(),
            id: None,
            ephemeral: self.ephemeral,
            durability: None,
            tenant: None,
        };
        Ok(Order::check(request, &tenant, rules)?)
    }
}

/// Compiles one template.
pub(crate) fn template<V: Variable>(key: &str, written: &Value) -> Result<Template<V>, Wrong> {
    Template::compile(key, written).map_err(|error| (error.key, error.problem.to_string()))
}

/// The plain text of a template that needs all of its values.
pub(crate) fn text<V: Variable>(template: &Template<V>, values: &impl Values<V>) -> Result<String, Missing> {
    let json = template.render_whole(values)?;
    scalar(&json).map(Cow::into_owned).ok_or_else(|| Missing("a text".to_owned()))
}

/// Whether a path of the configuration would take one of our own, or of every process.
pub(crate) fn is_own_path(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    matches!(first, "v1" | "docs" | "openapi.json" | "livez" | "readyz" | "health" | "status" | "metrics")
}

fn is_target(to: &Value) -> bool {
    let keys = to.as_object().map(|to| to.keys().map(String::as_str).collect::<Vec<_>>());
    matches!(keys.as_deref(), Some([key]) if TARGETS.contains(key))
}
