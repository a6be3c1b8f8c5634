//! Webhooks as the configuration writes them.

use std::collections::BTreeMap;

use chassis::options::{ByteSize, Field, HumanDuration, Secret};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::body::BodyKind;
use crate::mapping;

/// What stands in a table of `[[webhooks]]`.
pub(super) const WEBHOOK: &[Field] = &[
    Field::new("path", "path", "", "Where the provider posts to."),
    Field::new("name", "text", "", "What the webhook is called in metrics and logs. Its path, if absent."),
    Field::new(
        "scheme",
        "scheme",
        "",
        "How it is verified: `telnyx`, `twilio`, `standard` (Standard Webhooks), `stripe`, `github`, `hmac` (see `signature`) \
         or `bearer`.",
    ),
    Field::new("secret", "secret", "", "The provider's secret or public key."),
    Field::new(
        "previous_secret",
        "secret",
        "",
        "The one before, which is good as well while it is replaced.",
    ),
    Field::new(
        "tolerance",
        "duration",
        "5m",
        "How far the time that is signed may be from ours, where a time is signed.",
    ),
    Field::new(
        "replay_window",
        "duration",
        "",
        "How long a webhook is recognised when it comes again: twice the tolerance, or `1d` where no time is signed, if \
         absent; at most `7d`.",
    ),
    Field::new("signature", "table", "", "For the scheme `hmac`: how the body is signed."),
    Field::new(
        "body",
        "`json`, `form`",
        "",
        "How the body is written. As the provider of the scheme does, if absent.",
    ),
    Field::new("max_body", "size", "64KiB", "The largest body; at most `1MiB`."),
    Field::new(
        "max_in_flight",
        "number",
        "64",
        "How many are worked on at a time; four times as many wait, and more are answered 429. So a flood of one provider does \
         not starve another.",
    ),
    Field::new("type", "template", "", "By what an event is chosen from `events`."),
    Field::new(
        "id",
        "template",
        "",
        "What stays the same when the provider repeats a webhook. As the scheme has it; the whole body, if absent.",
    ),
    Field::new("tenant", "template", "", "The tenant. That of tokens which name none, if absent."),
    mapping::TO,
    mapping::EVENT,
    mapping::DATA,
    mapping::EPHEMERAL,
    Field::new(
        "events",
        "table",
        "",
        "By type, the name of the event, or a table with what differs of `tenant`, `to`, `event`, `data` and `ephemeral`. \
         `*` is for every other type; without it those are answered, and nothing is published.",
    ),
    Field::new("lookup", "table", "", "What the configuration holds for the webhook, as `$found`."),
    Field::new("enrich", "table", "", "What the application is asked before it is published, as `$answer`."),
    Field::new("answer", "table", "", "What the provider is told when all went well."),
    Field::new("signature.header", "text", "", "The header with the signature."),
    Field::new("signature.prefix", "text", "", "What stands before the signature there."),
    Field::new("signature.hash", "hash", "sha256", "`sha1`, `sha256`, `sha384` or `sha512`."),
    Field::new("signature.encoding", "encoding", "hex", "`hex`, `base64` or `base64url`."),
    Field::new("signature.content", "text", "{body}", "What is signed, from `{body}` and `{timestamp}`."),
    Field::new("signature.timestamp", "text", "", "The header with the time, in seconds since 1970."),
    Field::new("lookup.key", "template", "", "By what it is looked up."),
    Field::new("lookup.table", "table", "", "The values; or:"),
    Field::new("lookup.env", "text", "", "the variable that holds them as a JSON object; or:"),
    Field::new("lookup.file", "text", "", "the file that does."),
    Field::new("enrich.url", "URL", "", "Where the application is asked; or:"),
    Field::new(
        "enrich.env",
        "text",
        "",
        "the variable with the address. Nothing is asked where it is not set.",
    ),
    Field::new("enrich.token", "secret", "", "What it is sent as `Authorization: Bearer`."),
    Field::new("enrich.body", "template", "", "What it is sent."),
    Field::new(
        "enrich.timeout",
        "duration",
        "1s",
        "How long it may take; at most `1500ms`. Then `$answer` is empty.",
    ),
    Field::new(
        "enrich.allow_private",
        "boolean",
        "false",
        "Whether it may have an address of a private network.",
    ),
    Field::new("answer.status", "number", "200", "The status, from 200 to 299."),
    Field::new("answer.type", "text", "", "The media type of the body."),
    Field::new("answer.body", "text", "", "The body."),
    Field::new(
        "answer.always",
        "boolean",
        "false",
        "Whether a genuine webhook is answered so even if it could not be published.",
    ),
];

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

#[cfg(test)]
mod tests {
    use serde_aux::serde_introspection::serde_introspect;

    use super::*;

    #[test]
    fn the_reference_names_every_key() {
        for (table, keys) in [
            (None, serde_introspect::<Table>()),
            (Some("signature"), serde_introspect::<Signature>()),
            (Some("lookup"), serde_introspect::<Lookup>()),
            (Some("enrich"), serde_introspect::<Enrich>()),
            (Some("answer"), serde_introspect::<Answer>()),
        ] {
            assert_eq!(Field::keys(WEBHOOK, table), keys, "{table:?}");
        }
    }
}
