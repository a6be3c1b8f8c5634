//! Webhooks as the configuration writes them.

use std::collections::BTreeMap;

use chassis::options::{ByteSize, HumanDuration, Secret};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::BodyKind;

/// One table of `[[webhooks]]`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    pub(super) path: String,
    pub(super) name: Option<String>,
    pub(super) scheme: SchemeName,
    pub(super) secret: Secret,
    pub(super) previous_secret: Option<Secret>,
    pub(super) tolerance: Option<HumanDuration>,
    pub(super) replay_window: Option<HumanDuration>,
    pub(super) signature: Option<Signature>,
    pub(super) body: Option<BodyKind>,
    pub(super) max_body: Option<ByteSize>,
    pub(super) max_in_flight: Option<usize>,
    #[serde(rename = "type")]
    pub(super) kind: Option<Value>,
    pub(super) id: Option<Value>,
    pub(super) tenant: Option<Value>,
    pub(super) to: Option<Value>,
    pub(super) event: Option<Value>,
    pub(super) data: Option<Value>,
    #[serde(default)]
    pub(super) ephemeral: bool,
    pub(super) events: Option<BTreeMap<String, Value>>,
    pub(super) lookup: Option<Lookup>,
    pub(super) enrich: Option<Enrich>,
    pub(super) answer: Option<Answer>,
}

impl Table {
    /// A part of the mapping, by its key.
    pub(super) fn part(&self, name: &str) -> Option<&Value> {
        part(name, [&self.tenant, &self.to, &self.event, &self.data])
    }
}

fn part<'a>(name: &str, [tenant, to, event, data]: [&'a Option<Value>; 4]) -> Option<&'a Value> {
    match name {
        "tenant" => tenant.as_ref(),
        "to" => to.as_ref(),
        "event" => event.as_ref(),
        "data" => data.as_ref(),
        _ => None,
    }
}

/// The word for a scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum SchemeName {
    Telnyx,
    Twilio,
    Standard,
    Stripe,
    Github,
    Hmac,
    Bearer,
}

impl SchemeName {
    /// Whether the scheme says when a webhook was made, so that its age can be checked.
    pub(super) const fn has_time(self) -> bool {
        matches!(self, Self::Telnyx | Self::Standard | Self::Stripe | Self::Hmac)
    }

    /// How the provider writes its bodies.
    pub(super) const fn body(self) -> BodyKind {
        match self {
            Self::Twilio => BodyKind::Form,
            _ => BodyKind::Json,
        }
    }

    /// The template of what the provider keeps the same when it repeats a webhook.
    pub(super) const fn id(self) -> Option<&'static str> {
        match self {
            Self::Telnyx => Some("$body.data.id"),
            Self::Standard => Some("$id"),
            Self::Stripe => Some("$body.id"),
            Self::Twilio | Self::Github | Self::Hmac | Self::Bearer => None,
        }
    }
}

/// `signature = { … }`, for the scheme `hmac`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Signature {
    pub(super) header: String,
    #[serde(default)]
    pub(super) prefix: String,
    #[serde(default)]
    pub(super) hash: HashName,
    #[serde(default)]
    pub(super) encoding: EncodingName,
    pub(super) content: Option<String>,
    pub(super) timestamp: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum HashName {
    Sha1,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum EncodingName {
    #[default]
    Hex,
    Base64,
    Base64Url,
}

/// A value of `events` that says more than the event's name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Exception {
    pub(super) tenant: Option<Value>,
    pub(super) to: Option<Value>,
    pub(super) event: Option<Value>,
    pub(super) data: Option<Value>,
    pub(super) ephemeral: Option<bool>,
}

impl Exception {
    /// A part of the mapping, by its key.
    pub(super) fn part(&self, name: &str) -> Option<&Value> {
        part(name, [&self.tenant, &self.to, &self.event, &self.data])
    }
}

/// `lookup = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lookup {
    pub(super) key: Value,
    pub(super) table: Option<Map<String, Value>>,
    pub(super) env: Option<String>,
    pub(super) file: Option<String>,
}

/// `enrich = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Enrich {
    pub(super) url: Option<String>,
    pub(super) env: Option<String>,
    pub(super) token: Option<Secret>,
    pub(super) body: Value,
    pub(super) timeout: Option<HumanDuration>,
    #[serde(default)]
    pub(super) allow_private: bool,
}

/// `answer = { … }`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Answer {
    pub(super) status: Option<u16>,
    #[serde(rename = "type")]
    pub(super) kind: Option<String>,
    pub(super) body: Option<String>,
    #[serde(default)]
    pub(super) always: bool,
}
