//! Why a request is refused, in the words of the reference implementation, which clients look at.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

/// See the module's documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The transport is missing or none of ours.
    UnknownTransport,
    /// There is no such session, or no longer.
    UnknownSession,
    /// A session is opened with GET.
    BadMethod,
    /// The request does not fit the session or its transport.
    BadRequest,
    /// Pages of this origin may not connect.
    Forbidden,
    /// The revision of the protocol is not 4.
    UnsupportedRevision,
    /// The body is too large.
    TooLarge,
    /// There is no place; come back after so long.
    Unavailable(Duration),
}

impl Refusal {
    const fn parts(self) -> (StatusCode, u8, &'static str) {
        const BAD: StatusCode = StatusCode::BAD_REQUEST;
        match self {
            Self::UnknownTransport => (BAD, 0, "Transport unknown"),
            Self::UnknownSession => (BAD, 1, "Session ID unknown"),
            Self::BadMethod => (BAD, 2, "Bad handshake method"),
            Self::BadRequest => (BAD, 3, "Bad request"),
            Self::Forbidden => (StatusCode::FORBIDDEN, 4, "Forbidden"),
            Self::UnsupportedRevision => (BAD, 5, "Unsupported protocol version"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, 3, "Payload too large"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, 4, "Try again later"),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, code, message) = self.parts();
        let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Self::Unavailable(after) = self {
            headers.insert(RETRY_AFTER, after.as_secs().max(1).into());
        }
        response
    }
}
