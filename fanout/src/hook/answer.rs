//! What a provider is told.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderValue, StatusCode, header};

/// The answer to a webhook that was taken in.
#[derive(Debug, Clone, Default)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) kind: Option<HeaderValue>,
    pub(super) body: Bytes,
    /// Whether it is given to a genuine webhook also when nothing could be published, because the provider acts on what
    /// it says: an error on the voice URL of a call is read out to the caller.
    pub(super) always: bool,
}

impl IntoResponse for &Answer {
    fn into_response(self) -> Response {
        let mut response = self.body.clone().into_response();
        *response.status_mut() = self.status;
        match &self.kind {
            Some(kind) => response.headers_mut().insert(header::CONTENT_TYPE, kind.clone()),
            None => response.headers_mut().remove(header::CONTENT_TYPE),
        };
        response
    }
}
