//! The WebSocket of a connection: reads frames through tungstenite, and tells what they are.

use std::sync::Arc;
use std::task::{Context, Poll};

use proto::Close;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::connection::{Incoming, Transport};
use crate::endpoint::Endpoint;
use crate::peer::Peer;
use crate::wire::ws_frame;
use crate::wire::ws_reader::{self, Reader};

/// See the module's documentation.
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
