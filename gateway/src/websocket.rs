//! The WebSocket of a connection: reads frames through tungstenite, and tells what they are.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_util::Stream;
use proto::Close;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::connection::{Incoming, Transport};
use crate::endpoint::Endpoint;
use crate::peer::Peer;

/// How much is read from a socket at once. What clients send is small, and each connection holds such a buffer.
const READ_BUFFER: usize = 512;

/// See the module's documentation.
pub(crate) struct WebSocket {
    stream: Arc<TcpStream>,
    socket: WebSocketStream<Socket>,
}

impl WebSocket {
    /// A WebSocket whose handshake is done; `early` was read after it already.
    pub(crate) async fn new(
        stream: Arc<TcpStream>,
        peer: &Arc<Peer>,
        endpoint: &Endpoint,
        early: Bytes,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Control frames go to the outbound queue at once; nothing else is written through tungstenite.
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER)
            .max_message_size(Some(endpoint.max_message))
            .max_frame_size(Some(endpoint.max_message));
        let socket = Socket { stream: Arc::clone(&stream), peer: Arc::clone(peer), early };
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        Self { stream, socket }
    }
}

impl Transport for WebSocket {
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // An error shows in the write that follows.
        self.stream.poll_write_ready(cx).map(drop)
    }

    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming> {
        Pin::new(&mut self.socket).poll_next(cx).map(|message| match message {
            Some(Ok(Message::Text(text))) => Incoming::Text(text),
            Some(Ok(Message::Binary(_))) => Incoming::Violation(Close::UnsupportedData),
            // The answer is queued already; the stream ends when it is written.
            Some(Ok(Message::Close(_))) => Incoming::Goodbye,
            Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_))) => Incoming::SignOfLife,
            Some(Err(error)) => fault(&error).map_or(Incoming::Gone, Incoming::Violation),
            None => Incoming::Gone,
        })
    }
}

/// The code for a frame that could not be read; `None` when the peer is gone.
fn fault(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooBig),
        Error::Utf8(_) => Some(Close::InvalidPayload),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Capacity(_) => Some(Close::ProtocolError),
        _ => None,
    }
}

/// The socket as tungstenite sees it: reads come from the TCP stream, writes go to the outbound queue, where they keep
/// their place among the publications that other threads write.
struct Socket {
    stream: Arc<TcpStream>,
    peer: Arc<Peer>,
    /// What was read before the protocol changed.
    early: Bytes,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.early.is_empty() {
            let count = self.early.len().min(buf.remaining());
            buf.put_slice(&self.early.split_to(count));
            return Poll::Ready(Ok(()));
        }
        loop {
            ready!(self.stream.poll_read_ready(cx))?;
            match self.stream.try_read(buf.initialize_unfilled()) {
                Ok(count) => {
                    buf.advance(count);
                    return Poll::Ready(Ok(()));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // What tungstenite writes is whole control frames: pongs and the answer to a close.
        self.peer.outbound.push_control(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The connection's task is polling this: a full socket is its next concern anyway.
        self.peer.write();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
