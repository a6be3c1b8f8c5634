//! A WebSocket under a session: the frames of the client are read here, and what is written goes through the outbound
//! queue, where it keeps its place among what other threads send.

use std::sync::Arc;
use std::task::{Context, Poll};

use chassis::listener::ConnectionGuard;
use hyper::upgrade::OnUpgrade;
use proto::Close;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::{Error, Message};

use super::frames::Frames;
use crate::wire::outbound::{Outbound, SharedOutbound};
use crate::wire::ws_frame;
use crate::wire::ws_handshake::take_over;
use crate::wire::ws_reader::{READ_BUFFER, Reader};

/// See the module's documentation.
pub(super) struct WebSocket {
    stream: Arc<TcpStream>,
    queue: SharedOutbound,
    reader: Reader<dyn AsRef<Outbound> + Send + Sync>,
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
        let queue: SharedOutbound = Arc::new(Outbound::new(Arc::clone(&stream), READ_BUFFER));
        let reader = Reader::new(Arc::clone(&stream), Arc::clone(&queue), &early, max_message);
        Some(Self { stream, queue, reader, _guard: guard })
    }

    /// Makes it the way of a session's queue.
    pub(super) fn carry(&mut self, queue: &SharedOutbound) {
        let own = std::mem::replace(&mut self.queue, Arc::clone(queue));
        self.reader.write_to(Arc::clone(queue));
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
        self.reader.poll_message(cx)
    }

    /// Ready when the socket was full and takes bytes again.
    pub(super) fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.outbound().is_blocked() {
            return Poll::Pending;
        }
        self.stream.poll_write_ready(cx).map(|_| ())
    }
}
