//! A WebSocket under a session: the frames of the client are read here, and what is written goes through the outbound
//! queue, where it keeps its place among what other threads send.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use chassis::listener::ConnectionGuard;
use futures_util::Stream;
use hyper::upgrade::OnUpgrade;
use proto::Close;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frames::Frames;
use super::link::Queue;
use crate::handshake::take_over;
use crate::outbound::Outbound;
use crate::wire::{self, READ_BUFFER, Wire};
use crate::ws_frame;

/// See the module's documentation.
pub(super) struct WebSocket {
    stream: Arc<TcpStream>,
    queue: Queue,
    frames: WebSocketStream<Wire<dyn AsRef<Outbound> + Send + Sync>>,
    /// A frame could not be read, so no more are looked for.
    is_broken: bool,
    /// Its place among the connections that the process may hold.
    _guard: Option<ConnectionGuard>,
}

impl WebSocket {
    /// Takes the socket over when the answer to the handshake is written. `None` when the client is gone. It has a small
    /// queue of its own until it becomes the transport of a session.
    pub(super) async fn open(
        upgrade: OnUpgrade,
        max_message: usize,
        guard: Option<ConnectionGuard>,
    ) -> Option<Self> {
        let (stream, early) = take_over(upgrade).await?;
        let queue: Queue = Arc::new(Outbound::new(Arc::clone(&stream), READ_BUFFER));
        let frames = wire::frames(Arc::clone(&stream), Arc::clone(&queue), early, max_message).await;
        Some(Self { stream, queue, frames, is_broken: false, _guard: guard })
    }

    /// Makes it the way of a session's queue.
    pub(super) fn carry(&mut self, queue: &Queue) {
        let own = std::mem::replace(&mut self.queue, Arc::clone(queue));
        self.frames.get_mut().write_to(Arc::clone(queue));
        self.outbound().use_socket(Arc::clone(&self.stream), (*own).as_ref().take());
    }

    pub(super) fn outbound(&self) -> &Outbound {
        (*self.queue).as_ref()
    }

    /// Writes something, to its own queue or the session's.
    pub(super) fn write(&self, frames: Frames) {
        self.outbound().push_control(frames.into_bytes());
        self.outbound().flush();
    }

    /// Says goodbye after everything that is queued.
    pub(super) fn close(&self, close: Close) {
        self.outbound().push_last(ws_frame::close(close, None));
        self.outbound().flush();
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
        if !self.outbound().is_blocked() {
            return Poll::Pending;
        }
        self.stream.poll_write_ready(cx).map(|_| ())
    }
}
