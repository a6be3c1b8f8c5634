//! What is served over Engine.IO: sessions that take messages.

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::http::request;
use proto::Close;

use super::link::{Link, Message};
use super::refusal::Refusal;

/// Opens sessions.
pub trait Service: Send + Sync + 'static {
    /// One client's session.
    type Session: Session;

    /// A client has come; `head` is its first request, and the only one that is shown. What is sent through the link is
    /// delivered after the handshake.
    ///
    /// # Errors
    /// When it is not to be let in.
    fn open(&self, link: &Arc<Link>, head: &request::Parts) -> Result<Self::Session, Refusal>;
}

/// One client's session: belongs to one task, and is told everything in order.
pub trait Session: Send + 'static {
    /// A message came.
    ///
    /// # Errors
    /// With what the session is to be closed.
    fn message(&mut self, message: Message<'_>) -> Result<(), Close>;

    /// Somebody woke the session's task, perhaps for this: see [`Link::wake`].
    fn woken(&mut self) {}

    /// Whether it takes another message now. If not, it has its task woken when it does.
    fn is_ready(&self) -> bool {
        true
    }

    /// Goes on with what the session does beside its messages. Ready when it is to be closed, and with what.
    fn poll(&mut self, _cx: &mut Context<'_>) -> Poll<Close> {
        Poll::Pending
    }

    /// Whether it wants the client to be pinged now, behind all that it was sent. Asked for whenever it was polled.
    fn wants_ping(&mut self) -> bool {
        false
    }

    /// The client is pinged.
    fn pinged(&mut self) {}

    /// The client answered the last ping: it has all that it was sent before.
    fn ponged(&mut self) {}

    /// When [`Session::expired`] is to be called.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// The deadline has come.
    ///
    /// # Errors
    /// With what the session is to be closed.
    fn expired(&mut self) -> Result<(), Close> {
        Ok(())
    }

    /// The session is over. Nothing that is sent any more arrives.
    fn closed(&mut self, ended: Ended);
}

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The client said goodbye.
    Left,
    /// The connection broke, or was closed by the client.
    Gone,
    /// The client did not answer a ping.
    Silent,
    /// It was closed from here.
    Closed(Close),
}

impl Ended {
    /// The name used in logs.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Gone => "gone",
            Self::Silent => "silent",
            Self::Closed(close) => close.label(),
        }
    }
}
