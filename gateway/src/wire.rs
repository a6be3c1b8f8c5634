//! How every WebSocket of the gateway is read and written: frames are read through tungstenite, with all of its limits
//! set; what it writes goes to the outbound queue, where it keeps its place among what other threads send.

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

use crate::outbound::Outbound;

/// How much is read from a socket at once. What clients send is small, and each connection holds such a buffer.
pub(crate) const READ_BUFFER: usize = 512;

/// The frames of a socket, as they come.
pub(crate) struct Reader<Q: ?Sized> {
    stream: Arc<TcpStream>,
    frames: WebSocketStream<Wire<Q>>,
    /// A frame could not be read, so no more are looked for.
    is_broken: bool,
}

impl<Q: AsRef<Outbound> + ?Sized> Reader<Q> {
    /// Reads a socket whose handshake is done; `early` was read after it already. `queue` holds the outbound queue.
    pub(crate) async fn new(stream: Arc<TcpStream>, queue: Arc<Q>, early: Bytes, max_message: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Control frames go to the outbound queue at once; nothing else is written through tungstenite.
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER)
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message));
        let wire = Wire { stream: Arc::clone(&stream), queue, early };
        let frames = WebSocketStream::from_raw_socket(wire, Role::Server, Some(config)).await;
        Self { stream, frames, is_broken: false }
    }

    /// What is written goes into another queue from here on.
    pub(crate) fn write_to(&mut self, queue: Arc<Q>) {
        self.frames.get_mut().queue = queue;
    }

    /// The next message of the client. After one that could not be read there is none, and `None` comes when the client has
    /// ended its side.
    pub(crate) fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Message, Error>>> {
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
}

/// The code for a frame that could not be read; `None` when the peer is gone.
pub(crate) const fn fault(error: &Error) -> Option<Close> {
    match error {
        Error::Capacity(CapacityError::MessageTooLong { .. }) => Some(Close::TooBig),
        Error::Utf8(_) => Some(Close::InvalidPayload),
        Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => None,
        Error::Protocol(_) | Error::Capacity(_) => Some(Close::ProtocolError),
        _ => None,
    }
}

/// The socket as tungstenite sees it.
struct Wire<Q: ?Sized> {
    stream: Arc<TcpStream>,
    queue: Arc<Q>,
    /// What was read before the protocol changed.
    early: Bytes,
}

impl<Q: ?Sized> AsyncRead for Wire<Q> {
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

impl<Q: AsRef<Outbound> + ?Sized> AsyncWrite for Wire<Q> {
    fn poll_write(self: Pin<&mut Self>, _cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        // What tungstenite writes is whole control frames: pongs and the answer to a close.
        (*self.queue).as_ref().push_control(Bytes::copy_from_slice(buf));
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // The task that reads is polling this: a full socket is its next concern anyway.
        (*self.queue).as_ref().flush();
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_flush(cx)
    }
}
