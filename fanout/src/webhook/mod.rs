//! How providers prove that a webhook is theirs.
//!
//! Each [`Scheme`] is a pure function over what came in: the public URL, the head and the raw body, with the time as an
//! argument. It holds one or two keys, so that a secret can be changed without losing a webhook. Signatures are compared
//! in constant time, and before anything in the body is looked at.
//!
//! | scheme | what is signed | how | freshness | an id that stays the same over retries |
//! | --- | --- | --- | --- | --- |
//! | [`Telnyx`] | time, body | Ed25519 | yes | `data.id` in the body |
//! | [`Twilio`] | URL, parameters of a form or the body's hash | HMAC-SHA1 | none to check | `I-Twilio-Idempotency-Token`, not signed |
//! | [`StandardWebhooks`] | id, time, body | HMAC-SHA256 or Ed25519 | yes | `webhook-id`, signed |
//! | [`Stripe`] | time, body | HMAC-SHA256 | yes | `id` in the body |
//! | [`github`] | body | HMAC-SHA256 | none to check | `X-GitHub-Delivery`, not signed |
//! | [`SignedBody`] | as configured | HMAC, as configured | where a time is signed | as the provider says |
//! | [`Bearer`] | nothing: the secret itself comes along | constant-time comparison | none to check | as the provider says |
//!
//! Where nothing tells when a webhook was made, only deduplication stands against a replay, and it must go by what the
//! signature covers: an id in an unsigned header can be changed by whoever replays.

mod bearer;
mod encoding;
mod freshness;
mod github;
mod header;
mod keys;
mod signed_body;
mod standard;
mod stripe;
mod telnyx;
#[cfg(test)]
mod testing;
mod twilio;

use http::{HeaderMap, HeaderName};

pub use bearer::Bearer;
pub use encoding::Encoding;
pub use freshness::Tolerance;
pub use github::github;
pub use keys::{KeyError, Rotation};
pub use signed_body::{Hash, SignedBody, SignedBodyConfig, TemplateError};
pub use standard::StandardWebhooks;
pub use stripe::Stripe;
pub use telnyx::Telnyx;
pub use twilio::Twilio;

/// A webhook as it came in.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    /// The URL as the provider called it: the public address from the configuration, with the path and query of this
    /// request. What a proxy says about it is not to be trusted.
    pub url: &'a str,
    /// The head.
    pub headers: &'a HeaderMap,
    /// The body, byte for byte.
    pub body: &'a [u8],
}

/// The way in which one provider proves that a webhook is theirs.
#[derive(Debug)]
pub enum Scheme {
    /// Telnyx: Ed25519 over time and body.
    Telnyx(Telnyx),
    /// Twilio: HMAC-SHA1 over URL and parameters.
    Twilio(Twilio),
    /// Standard Webhooks: HMAC-SHA256 or Ed25519 over id, time and body.
    StandardWebhooks(StandardWebhooks),
    /// Stripe: HMAC-SHA256 over time and body.
    Stripe(Stripe),
    /// Any HMAC of the body, GitHub's among them.
    SignedBody(SignedBody),
    /// A secret that comes along.
    Bearer(Bearer),
}

/// Why a webhook is refused. Holds nothing of what came in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejection {
    /// A header that the scheme needs is not there.
    #[error("the header {0} is missing")]
    Missing(HeaderName),
    /// A header that the scheme needs comes twice, or does not have its form.
    #[error("the header {0} comes twice or does not have its form")]
    Malformed(HeaderName),
    /// The body is not a part of what was signed.
    #[error("the signature does not cover the body")]
    UnsignedBody,
    /// No key made this signature of this content.
    #[error("the signature is wrong")]
    BadSignature,
    /// The webhook was made too long ago.
    #[error("the webhook was made too long ago")]
    Stale,
    /// The webhook claims to be made in the future.
    #[error("the webhook claims to be made in the future")]
    Early,
}

impl Scheme {
    /// Checks that a webhook is the provider's, unchanged, and fresh at `now`, in seconds since 1970.
    pub fn verify(&self, received: &Received<'_>, now: u64) -> Result<(), Rejection> {
        match self {
            Self::Telnyx(scheme) => scheme.verify(received, now),
            Self::Twilio(scheme) => scheme.verify(received),
            Self::StandardWebhooks(scheme) => scheme.verify(received, now),
            Self::Stripe(scheme) => scheme.verify(received, now),
            Self::SignedBody(scheme) => scheme.verify(received, now),
            Self::Bearer(scheme) => scheme.verify(received),
        }
    }
}

impl Rejection {
    /// A stable word for a metric's label.
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Missing(_) => "missing",
            Self::Malformed(_) => "malformed",
            Self::UnsignedBody => "unsigned_body",
            Self::BadSignature => "bad_signature",
            Self::Stale => "stale",
            Self::Early => "early",
        }
    }
}
