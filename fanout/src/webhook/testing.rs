//! What the tests of all schemes use.

use chassis::options::Secret;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::{Received, Rejection, Rotation};

pub(super) fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    let mut headers = HeaderMap::new();
    for (name, text) in pairs {
        headers.append(HeaderName::from_static(name), value(text));
    }
    headers
}

pub(super) fn received<'a>(headers: &'a HeaderMap, body: &'a [u8]) -> Received<'a> {
    Received { url: "https://example.com/hook", headers, body }
}

pub(super) fn secret(text: &str) -> Rotation<Secret> {
    Rotation::new(Secret::new(text), None)
}

/// The current secret and the one before it.
pub(super) fn secrets(current: &str, previous: &str) -> Rotation<Secret> {
    Rotation::new(Secret::new(current), Some(Secret::new(previous)))
}

pub(super) fn missing(name: &'static str) -> Rejection {
    Rejection::Missing(HeaderName::from_static(name))
}

pub(super) fn malformed(name: &'static str) -> Rejection {
    Rejection::Malformed(HeaderName::from_static(name))
}
