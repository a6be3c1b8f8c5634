//! The description of the API, and a page to read it and try its calls. The page asks nobody else for anything.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderName, header};
use utoipa::openapi::OpenApi;

/// What belongs to the page: its path, its media type, its text.
const PAGE: [(&str, &str, &str); 3] = [
    ("/docs", "text/html; charset=utf-8", include_str!("page.html")),
    ("/docs/page.css", "text/css; charset=utf-8", include_str!("page.css")),
    ("/docs/page.js", "text/javascript; charset=utf-8", include_str!("page.js")),
];

/// The page holds a credential while someone tries a call: it runs only what was served with it, talks only to where
/// it came from, and stands in no other page's frame.
const HEADERS: [(HeaderName, &str); 4] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::CACHE_CONTROL, "no-cache"),
];

/// The description as it is served and committed: pretty JSON.
pub(crate) fn text(description: &OpenApi) -> String {
    // What consists of texts, numbers and truth values always has a form in JSON.
    description.to_pretty_json().unwrap_or_default() + "\n"
}

/// `GET /openapi.json`, and the page at `GET /docs`.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>(description: &OpenApi) -> Router<S> {
    let text = Bytes::from(text(description));
    let description = get(async move || file("application/json", text));
    PAGE.into_iter().fold(Router::new().route("/openapi.json", description), |router, (path, kind, text)| {
        router.route(path, get(async move || file(kind, Bytes::from_static(text.as_bytes()))))
    })
}

fn file(kind: &'static str, text: Bytes) -> Response {
    (HEADERS, [(header::CONTENT_TYPE, kind)], text).into_response()
}
