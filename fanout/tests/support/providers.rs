//! Providers of webhooks, which sign what they post.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use axum::body::Body;
use base64::prelude::{BASE64_STANDARD, Engine};
use http::Request;
use serde_json::json;

/// The auth token of Twilio.
pub const TWILIO_TOKEN: &str = "12345";

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

/// The public key of Telnyx.
pub fn telnyx_key() -> String {
    BASE64_STANDARD.encode(pair().public_key().as_ref())
}

/// Seconds since 1970.
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// What Telnyx posts.
pub fn telnyx(body: &str, made: u64) -> Request<Body> {
    let signature = pair().sign(format!("{made}|{body}").as_bytes());
    Request::post("/webhooks/telnyx")
        .header("telnyx-signature-ed25519", BASE64_STANDARD.encode(signature))
        .header("telnyx-timestamp", made)
        .body(body.to_owned().into())
        .unwrap()
}

/// An event of Telnyx.
pub fn call(id: &str, kind: &str, attempt: u32) -> String {
    let payload = json!({"call_session_id": "s1", "from": "+1", "n": 1.5});
    let data = json!({"event_type": kind, "id": id, "payload": payload, "record_type": "event"});
    json!({"data": data, "meta": {"attempt": attempt}}).to_string()
}

/// The usual signature of a body, by the same secret as Twilio's.
pub fn hex_signature(body: &str) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, TWILIO_TOKEN.as_bytes());
    hmac::sign(&key, body.as_bytes()).as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What Twilio posts to a path behind `base`.
pub fn twilio(base: &str, path: &str, fields: &[(&str, &str)]) -> Request<Body> {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let mut sorted = fields.to_vec();
    sorted.sort_unstable();
    let signed: String = sorted.iter().flat_map(|(name, value)| [*name, *value]).collect();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, TWILIO_TOKEN.as_bytes());
    let tag = hmac::sign(&key, format!("{base}{path}{signed}").as_bytes());
    Request::post(path)
        .header("x-twilio-signature", BASE64_STANDARD.encode(tag))
        .header("content-type", "application/x-www-form-urlencoded")
        .body(body.into())
        .unwrap()
}
