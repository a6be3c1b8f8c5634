//! From an HTTP request to a WebSocket (RFC 6455, section 4.2).

use std::borrow::Cow;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY,
    SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use axum::http::{Response, StatusCode, Uri};
use axum::response::IntoResponse;
use bytes::Bytes;
use chassis::listener::ConnectionGuard;
use chassis::problem::Problem;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use proto::{Cursor, DeviceId, ErrorCode};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::door::Door;
use super::websocket::WebSocket;
use crate::connection::Connection;
use crate::session::Handshake;
use crate::wire::outbound::Outbound;

impl Door {
    /// Answers a handshake. The connection itself begins when the answer is written.
    ///
    /// A wrong token is no reason to refuse: a browser does not show a page why a handshake failed, so the
    /// connection is opened, told, and closed.
    pub(crate) fn open(self, mut request: Request) -> Result<Response<Body>, Problem> {
        let accept = handshake(request.headers())?;
        self.admit(request.headers())?;
        let carried = self.credential(&request)?;
        let token = carried.credential.map(Cow::into_owned);
        let subprotocol = carried.subprotocol.and_then(|name| HeaderValue::from_str(name).ok());
        let (since, device) = asked(request.uri())?;
        let guard = request.extensions().get::<ConnectionGuard>().cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        tokio::spawn(self.serve(upgrade, Handshake { token, since, resume: None, device }, guard));

        let mut response = switching_protocols(accept);
        if let Some(name) = subprotocol {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, name);
        }
        Ok(response)
    }

    async fn serve(self, upgrade: OnUpgrade, handshake: Handshake, guard: Option<ConnectionGuard>) {
        let Some((stream, early)) = take_over(upgrade).await else { return };
        let outbound = Outbound::new(Arc::clone(&stream), self.terms.endpoint.queue_bytes);
        let peer = Arc::new(self.peer(outbound));
        let socket = WebSocket::new(stream, &peer, &self.terms.endpoint, &early);
        let mut connection = Connection::new(self.node, self.terms, peer, socket, guard);
        connection.begin(handshake);
        // A task of its own, for as long as the client stays: this one is larger by what it took to come here.
        tokio::spawn(async move { connection.run().await });
    }
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

/// What a client that brings its token along may say in the query: the places from which it wants to go on, `?since=`, a
/// cursor; and which of the user's devices it is, `?device=`.
fn asked(uri: &Uri) -> Result<(Cursor, Option<DeviceId>), Problem> {
    #[derive(Deserialize)]
    struct Asked {
        since: Option<String>,
        device: Option<String>,
    }
    let bad = |code, detail: String| Problem::new(code).detail(detail);
    let Query(Asked { since, device }) =
        Query::try_from_uri(uri).map_err(|error| bad(ErrorCode::InvalidPosition, error.to_string()))?;
    let since = since.map_or(Ok(Cursor::default()), |since| since.parse());
    let since = since.map_err(|error| bad(ErrorCode::InvalidPosition, format!("since {error}")))?;
    let device = device.map(DeviceId::new).transpose();
    Ok((since, device.map_err(|error| bad(ErrorCode::InvalidName, format!("device {error}")))?))
}

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

/// Whether a field whose value is a list of words has this one.
fn lists(headers: &HeaderMap, name: &HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|item| item.trim().eq_ignore_ascii_case(word))
}
