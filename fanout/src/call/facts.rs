//! What the templates of a call can speak of.

use std::borrow::Cow;
use std::collections::BTreeMap;

use proto::Timestamp;
use proto::template::{Holds, Step, Values, Variable, reach};
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::caller::Caller;
use crate::clean::clean;

/// The variables of a call's templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// The body; `null` where the method has none.
    Body,
    /// The body with the markup removed from its texts.
    Clean,
    /// The fields of the body without those that the call names.
    Rest,
    /// The parts of the path that have names.
    Path,
    /// Who calls: `tenant`, and with a token `user`, `name` and `claims`.
    Caller,
    /// When the call came in, in milliseconds since 1970.
    Now,
    /// What was found out or done; absent until then, and for what is published.
    Result,
}

impl Variable for Fact {
    const ALL: &'static [(&'static str, Self, Holds)] = &[
        ("body", Self::Body, Holds::Json),
        ("clean", Self::Clean, Holds::Json),
        ("rest", Self::Rest, Holds::Json),
        ("path", Self::Path, Holds::Json),
        ("caller", Self::Caller, Holds::Json),
        ("now", Self::Now, Holds::Scalar),
        ("result", Self::Result, Holds::Json),
    ];
}

/// A call that was found good. All texts are JSON.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) body: String,
    pub(super) rest: Option<String>,
    pub(super) path: String,
    pub(super) caller: String,
    pub(super) now: Timestamp,
    pub(super) result: Option<String>,
}

impl Values<Fact> for Facts {
    fn get(&self, fact: Fact, path: &[Step]) -> Option<Cow<'_, str>> {
        match fact {
            Fact::Body => reach(&self.body, path).map(Cow::Borrowed),
            Fact::Clean => reach(&self.body, path).map(clean),
            Fact::Rest => reach(self.rest.as_deref()?, path).map(Cow::Borrowed),
            Fact::Path => reach(&self.path, path).map(Cow::Borrowed),
            Fact::Caller => reach(&self.caller, path).map(Cow::Borrowed),
            Fact::Result => reach(self.result.as_deref()?, path).map(Cow::Borrowed),
            Fact::Now => Some(Cow::Owned(self.now.0.to_string())),
        }
    }
}

/// The fields of an object without some of them, each as it was written; `None` for anything else than an object.
pub(super) fn without(body: &str, named: &[String]) -> Option<String> {
    let mut fields: BTreeMap<Cow<'_, str>, &RawValue> = serde_json::from_str(body).ok()?;
    fields.retain(|name, _| !named.iter().any(|other| other == name));
    serde_json::to_string(&fields).ok()
}

/// Who calls, as JSON.
pub(super) fn describe(caller: &Caller) -> String {
    let mut facts = Map::new();
    facts.insert("tenant".into(), json!(caller.own_tenant()));
    if let Some(user) = &caller.user {
        facts.insert("user".into(), json!(user.id));
        facts.insert("name".into(), json!(user.name));
        facts.insert("claims".into(), Value::Object(user.claims.clone()));
    }
    Value::Object(facts).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rest_is_every_other_field_as_it_was_written() {
        let named = ["a".to_owned(), "z".to_owned()];
        assert_eq!(without(r#"{"a":1,"b":1.50,"c":{"a":2}}"#, &named).unwrap(), r#"{"b":1.50,"c":{"a":2}}"#);
        assert_eq!(without("[1]", &named), None);
    }
}
