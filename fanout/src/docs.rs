//! Serves the description of the API.

use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::header;
use utoipa::openapi::OpenApi;

/// The description as it is served and committed: pretty JSON.
pub(crate) fn text(description: &OpenApi) -> String {
    // What consists of texts, numbers and truth values always has a form in JSON.
    description.to_pretty_json().unwrap_or_default() + "\n"
}

/// `GET /openapi.json`
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(description: &OpenApi) -> Router<S> {
    let text = Bytes::from(text(description));
    let json = [(header::CONTENT_TYPE, "application/json")];
    Router::new().route("/openapi.json", get(async move || (json, text)))
}
