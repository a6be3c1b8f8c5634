//! A WebSocket under a session: the frames of the client are read here, and what is written goes through the outbound
//! queue, where it keeps its place among what other threads send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use chassis::listener::ConnectionGuard;
use futures_util::Stream;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use proto::Close;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frames::Frames;
use crate::outbound::Outbound;
use crate::ws_frame;

/// How much is read from a socket at once. What clients send is small, and each connection holds such a buffer.
const READ_BUFFER: usize = 1024;

/// See the module's documentation.
pub(super) struct WebSocket {
    stream: Arc<TcpStream>,
    outbound: Arc<Outbound>,
    frames: WebSocketStream<Wire>,
    /// A frame could not be read, so no more are looked for.
    is_broken: bool,
    /// Its place among the connections that the process may hold.
    _guard: Option<ConnectionGuard>,
}

impl WebSocket {
    /// Takes the socket over when the answer to the handshake is written. `None` when the client is gone.
    pub(super) async fn open(
        upgrade: OnUpgrade,
        max_message: usize,
        queue_bytes: usize,
        guard: Option<ConnectionGuard>,
    ) -> Option<Self> {
        let upgraded = upgrade.await.ok()?;
        let parts = Upgraded::downcast::<TokioIo<TcpStream>>(upgraded).ok()?;
        let stream = Arc::new(parts.io.into_inner());
        let outbound = Arc::new(Outbound::new(Arc::clone(&stream), queue_bytes));
        let wire =
            Wire { stream: Arc::clone(&stream), outbound: Arc::clone(&outbound), early: parts.read_buf };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Control frames go to the outbound queue at once; nothing else is written through tungstenite.
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let frames = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
        Some(Self { stream, outbound, frames, is_broken: false, _guard: guard })
    }

    pub(super) const fn outbound(&self) -> &Arc<Outbound> {
        &self.outbound
    }

    /// Writes something apart from the session's queue.
    pub(super) fn write(&self, frames: Frames) {
        self.outbound.push_control(frames.into_bytes());
        self.outbound.flush();
    }

    /// Says goodbye after everything that is queued.
    pub(super) fn close(&self, close: Close) {
        self.outbound.push_last(ws_frame::close(close, None));
        self.outbound.flush();
    }

    /// The next message of the client.
    pub(super) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
        if self.is_broken {
            return self.poll_discard(cx).map(|()| None);
        }
        let message = ready!(Pin::new(&mut self.frames).poll_next(cx));
        self.is_broken = matches!(message, Some(Err(_)));
        Poll::Ready(message)
    }

    /// Reads the rest to its end. A socket that is closed with something unread takes the goodbye back.
    fn poll_discard(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut rest = [0; READ_BUFFER];
        loop {
            if ready!(self.stream.poll_read_ready(cx)).is_err() {
                return Poll::Ready(());
            }
            match self.stream.try_read(&mut rest) {
                Ok(1..) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => return Poll::Ready(()),
            }
        }
    }

    /// Ready when the socket was full and takes bytes again.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.outbound.is_blocked() {
            return Poll::Pending;
        }
        self.stream.poll_write_ready(cx).map(|_| ())
    }
}

/// The socket as tungstenite sees it.
struct Wire {
    stream: Arc<TcpStream>,
    outbound: Arc<Outbound>,
    /// What was read before the protocol changed.
    early: Bytes,
}

impl AsyncRead for Wire {
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

impl AsyncWrite for Wire {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // What tungstenite writes is whole control frames: pongs and the answer to a close.
        self.outbound.push_control(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The session's task is polling this: a full socket is its next concern anyway.
        self.outbound.flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
