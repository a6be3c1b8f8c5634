//! A page to try the WebSocket endpoints on: connect with a token, see what comes, send frames.

use axum::Router;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE};
use axum::routing::get;

use crate::endpoint::{Endpoint, Protocol};

/// Nothing but its own script runs in the page.
const POLICY: &str = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; \
                      connect-src 'self' ws: wss:; img-src data:; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The page at this path, for these endpoints.
pub(crate) fn router<'a>(path: &str, endpoints: impl Iterator<Item = &'a Endpoint>) -> Router {
    // Paths hold nothing that means something to HTML.
    let options = endpoints
        .filter(|endpoint| endpoint.protocol == Protocol::WebSocket)
        .map(|endpoint| format!("<option>{}</option>", endpoint.path));
    let page = include_str!("trial.html").replace("{{paths}}", &options.collect::<String>());
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (CACHE_CONTROL, HeaderValue::from_static("no-store")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
    ];
    Router::new().route(path, get(async move || (headers, page)))
}
