//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use std::sync::Arc;

use axum::body::Body;
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use chassis::problem::Problem;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use proto::ErrorCode;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

/// Checks the fields of a handshake (RFC 6455, section 4.2.1) and computes the answer to its key.
pub(crate) fn handshake(headers: &HeaderMap) -> Result<HeaderValue, Problem> {
    let is_upgrade = lists(headers, &CONNECTION, "upgrade") && lists(headers, &UPGRADE, "websocket");
    if !is_upgrade {
        let problem = Problem::new(ErrorCode::InvalidMessage).status(StatusCode::UPGRADE_REQUIRED);
        return Err(problem.detail("this path speaks WebSocket; connect to it with ws:// or wss://"));
    }
    if headers.get(SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        let problem = Problem::new(ErrorCode::InvalidMessage).status(StatusCode::UPGRADE_REQUIRED);
        return Err(problem.detail("only version 13 of WebSocket is spoken here"));
    }
    let key = headers.get(SEC_WEBSOCKET_KEY).filter(|key| key.len() == 24);
    let accept = key.and_then(|key| HeaderValue::from_str(&derive_accept_key(key.as_bytes())).ok());
    accept.ok_or_else(|| {
        Problem::new(ErrorCode::InvalidMessage).detail("Sec-WebSocket-Key is missing or malformed")
    })
}

/// The answer that makes a connection a WebSocket (RFC 6455, section 4.2.2).
pub(crate) fn switching_protocols(accept: HeaderValue) -> Response<Body> {
    let mut response = StatusCode::SWITCHING_PROTOCOLS.into_response();
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// Takes the socket over when the answer is written, with what the client has sent already. `None` when it is gone, or the
/// listener hands out something else than sockets.
pub(crate) async fn take_over(upgrade: OnUpgrade) -> Option<(Arc<TcpStream>, Bytes)> {
    let parts = upgrade.await.ok()?.downcast::<TokioIo<TcpStream>>().ok()?;
    // A copy, since the buffer that it was read into is large and would stay as long as the connection.
    Some((Arc::new(parts.io.into_inner()), Bytes::copy_from_slice(&parts.read_buf)))
}

/// Whether a field whose value is a list of words has this one.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}
