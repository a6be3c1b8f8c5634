//! What the templates of a webhook can speak of.

use std::borrow::Cow;

use proto::Timestamp;
use proto::template::{Holds, Step, Values, Variable, reach};

use crate::clean::clean;

/// The variables of a webhook's templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// The body: JSON, or a form as an object.
    Body,
    /// The body with the markup removed from its texts.
    Clean,
    /// What the table of the configuration holds for this webhook.
    Found,
    /// What the application answered about it.
    Answer,
    /// When it came in, in milliseconds since 1970.
    Now,
}

impl Variable for Fact {
    const ALL: &'static [(&'static str, Self, Holds)] = &[
        ("body", Self::Body, Holds::Json),
        ("clean", Self::Clean, Holds::Json),
        ("found", Self::Found, Holds::Json),
        ("answer", Self::Answer, Holds::Json),
        ("now", Self::Now, Holds::Scalar),
    ];
}

/// A webhook that was found good.
#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub(super) body: &'a str,
    pub(super) found: Option<&'a str>,
    pub(super) answer: Option<&'a str>,
    pub(super) now: Timestamp,
}

impl Values<Fact> for Event<'_> {
    fn get(&self, fact: Fact, path: &[Step]) -> Option<Cow<'_, str>> {
        match fact {
            Fact::Body => reach(self.body, path).map(Cow::Borrowed),
            Fact::Clean => reach(self.body, path).map(clean),
            Fact::Found => reach(self.found?, path).map(Cow::Borrowed),
            Fact::Answer => reach(self.answer?, path).map(Cow::Borrowed),
            Fact::Now => Some(Cow::Owned(self.now.0.to_string())),
        }
    }
}

/// The variables of the template that tells webhooks apart: only what the provider's signature covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signed {
    /// The body.
    Body,
    /// The header `webhook-id` of Standard Webhooks.
    Id,
}

impl Variable for Signed {
    const ALL: &'static [(&'static str, Self, Holds)] =
        &[("body", Self::Body, Holds::Json), ("id", Self::Id, Holds::Scalar)];
}

/// What is signed of a webhook.
#[derive(Debug)]
pub(super) struct SignedParts<'a> {
    pub(super) body: &'a str,
    /// Where the scheme signs one.
    pub(super) id: Option<&'a str>,
}

impl Values<Signed> for SignedParts<'_> {
    fn get(&self, fact: Signed, path: &[Step]) -> Option<Cow<'_, str>> {
        match fact {
            Signed::Body => reach(self.body, path).map(Cow::Borrowed),
            Signed::Id => serde_json::to_string(self.id?).ok().map(Cow::Owned),
        }
    }
}
