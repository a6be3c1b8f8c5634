//! What a connection asks of the transport under it.

use std::task::{Context, Poll};

use proto::{Close, ErrorCode, Invalid, Request};
use tokio_tungstenite::tungstenite::Utf8Bytes;

use crate::endpoint::Endpoint;
use crate::peer::Peer;

/// How a client's frames arrive. What it is sent goes through its peer.
pub(crate) trait Transport {
    /// Whether bytes are taken again, after they were not.
    fn poll_writable(&mut self, cx: &mut Context<'_>) -> Poll<()>;

    /// What the client does next.
    fn poll_incoming(&mut self, cx: &mut Context<'_>) -> Poll<Incoming>;

    /// Asks the client, behind all that it was sent, for a sign of life that names this number: [`Incoming::Answer`].
    fn ask(&mut self, _peer: &Peer, _number: u32) {}

    /// The session begins: where clients ask for that, they are answered.
    fn accept(&mut self, _peer: &Peer) {}

    /// The session does not begin, since its token is not good. What follows is [`Incoming::Gone`]; only a transport whose
    /// clients are accepted is asked for it.
    fn refuse(&mut self, _peer: &Peer, _code: ErrorCode, _message: &str) {}

    /// The session is over: queues the last thing that the client is sent.
    fn close(&mut self, peer: &Peer, endpoint: &Endpoint, close: Close, reason: Option<&str>) {
        peer.outbound.push_last(endpoint.goodbye(close, reason));
    }
}

/// What a client does.
pub(crate) enum Incoming {
    /// It sends a frame.
    Text(Utf8Bytes),
    /// It asks for something by other means than a frame.
    Request(Result<Request, Invalid>),
    /// It is there.
    SignOfLife,
    /// It answers what it was [asked](Transport::ask): it has all that it was sent before.
    Answer(u32),
    /// It breaks the rules of the transport, which ends the connection with this code.
    Violation(Close),
    /// It takes its leave.
    Goodbye,
    /// It is gone.
    Gone,
}
