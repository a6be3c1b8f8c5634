//! Cross-origin requests (the CORS protocol of the Fetch standard): polling needs it, a WebSocket does not.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HeaderMap, ORIGIN,
    VARY,
};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use crate::endpoint::Origins;

/// How long a browser may keep the answer to a preflight, in seconds. None keeps it longer than two hours.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("7200");

/// What the page of an allowed origin is told.
pub(super) enum Allowed {
    /// The request is of no page, or of the same origin in an old browser.
    NoPage,
    /// All origins may connect, so none may use what the browser holds for us.
    Anyone,
    /// This origin was listed.
    Listed(HeaderValue),
}

/// Whether the page that sends a request may.
///
/// # Errors
/// When its origin is not listed.
pub(super) fn allow(headers: &HeaderMap, origins: &Origins) -> Result<Allowed, Refusal> {
    match headers.get(ORIGIN) {
        None => Ok(Allowed::NoPage),
        Some(_) if *origins == Origins::default() => Ok(Allowed::Anyone),
        Some(origin) if origins.allow(origin.as_bytes()) => Ok(Allowed::Listed(origin.clone())),
        Some(_) => Err(Refusal::Forbidden),
    }
}

impl Allowed {
    /// Says in an answer who may read it.
    pub(super) fn mark(self, headers: &mut HeaderMap) {
        match self {
            Self::NoPage => {}
            Self::Anyone => _ = headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*")),
            Self::Listed(origin) => {
                headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
                headers.append(VARY, HeaderValue::from_static("Origin"));
            }
        }
    }
}

/// Answers the question whether a request may be sent.
pub(super) fn preflight(asked: &HeaderMap) -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
    // Applications send fields of their own, and there is none that we would have to keep from them.
    if let Some(fields) = asked.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, fields.clone());
        headers.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    response
}
