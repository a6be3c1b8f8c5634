//! Sessions over WebSocket: the way from a handshake to a connection, and what the frames of its client are.

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::header::{HeaderValue, SEC_WEBSOCKET_PROTOCOL};
use axum::http::{Response, Uri};
use chassis::listener::ConnectionGuard;
use chassis::problem::Problem;
use hyper::upgrade::OnUpgrade;
use proto::{Close, Cursor, DeviceId, ErrorCode};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::door::Door;
use crate::connection::{Connection, Incoming, Transport};
use crate::endpoint::Endpoint;
use crate::peer::Peer;
use crate::session::Handshake;
use crate::wire::outbound::Outbound;
use crate::wire::ws_frame;
use crate::wire::ws_handshake::{handshake, switching_protocols, take_over};
use crate::wire::ws_reader::{self, Reader};

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

/// The transport of a connection whose client speaks WebSocket.
pub(crate) struct WebSocket {
    stream: Arc<TcpStream>,
    reader: Reader<Peer>,
}

impl WebSocket {
    /// A WebSocket whose handshake is done; `early` was read after it already.
    pub(crate) fn new(stream: Arc<TcpStream>, peer: &Arc<Peer>, endpoint: &Endpoint, early: &[u8]) -> Self {
        let reader = Reader::new(Arc::clone(&stream), Arc::clone(peer), early, endpoint.max_message);
        Self { stream, reader }
    }
}

impl Transport for WebSocket {
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows in the write that follows.
        self.stream.poll_write_ready(cx).map(drop)
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        self.reader.poll_message(cx).map(|message| match message {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(_))) => Incoming::Violation(Close::UnsupportedData),
            // The answer is queued already; the stream ends when it is written.
            Some(Ok(Message::Close(_))) => Incoming::Goodbye,
            Some(Ok(Message::Pong(payload))) => {
                ws_frame::pong_number(&payload).map_or(Incoming::SignOfLife, Incoming::Answer)
            }
            Some(Ok(Message::Ping(_) | Message::Frame(_))) => Incoming::SignOfLife,
            Some(Err(error)) => ws_reader::fault(&error).map_or(Incoming::Gone, Incoming::Violation),
            None => Incoming::Gone,
        })
    }

    fn ask(&mut self, peer: &Peer, number: u32) {
        peer.outbound.push_control(ws_frame::ping(number));
    }
}
