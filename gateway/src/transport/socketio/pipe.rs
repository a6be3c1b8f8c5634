//! How what a client of Socket.IO does reaches its connection, and how it is told that it is connected, or why not.

use std::task::{Context, Poll};

use proto::framing::socketio::{Body, Packet};
use proto::{Close, ErrorCode, Retry};
use serde::Serialize;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};

use crate::connection::{Incoming, Transport};
use crate::endpoint::Endpoint;
use crate::engineio::Frames;
use crate::peer::Peer;
use crate::socketio::NotConnected;

/// See the module's documentation. Belongs to the task that polls the connection, so nobody has to be woken.
pub(super) struct Pipe {
    namespace: Box<str>,
    /// What the connection is to take next. More is given only when it was taken.
    incoming: Option<Box<Incoming>>,
    /// The question that the client's next ping is to be, and the one that its last ping was.
    asks: Option<u32>,
    asked: Option<u32>,
    end: Option<End>,
}

/// How a connection came to its end, where that was not the transport's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The client was not accepted; it has been told.
    Refused,
    /// The client left the namespace.
    Left,
    /// The session was closed from here.
    Closed(Close),
}

impl Pipe {
    pub(super) const fn new(namespace: Box<str>) -> Self {
        Self { namespace, incoming: None, asks: None, asked: None, end: None }
    }

    /// The client does something. Only for a connection that takes more.
    pub(super) fn give(&mut self, incoming: Incoming) {
        self.incoming = Some(Box::new(incoming));
    }

    /// Whether the client is to be pinged.
    pub(super) const fn asks(&self) -> bool {
        self.asks.is_some()
    }

    /// The client was pinged.
    pub(super) const fn asked(&mut self) {
        self.asked = self.asks.take();
    }

    /// The client answered its last ping. Only for a connection that takes more.
    pub(super) fn answer(&mut self) {
        if let Some(number) = self.asked.take() {
            self.give(Incoming::Answer(number));
        }
    }

    /// The client leaves the namespace.
    pub(super) fn leave(&mut self) {
        self.end.get_or_insert(End::Left);
        self.incoming = Some(Box::new(Incoming::Goodbye));
    }

    pub(super) const fn end(&self) -> Option<End> {
        self.end
    }

    fn tell(&self, peer: &Peer, body: Body<'_>) {
        let packet = Packet { namespace: &self.namespace, body };
        peer.outbound.push_control(Frames::text(&packet.to_text()).into_bytes());
    }
}

impl Transport for Pipe {
    fn poll_writable(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // The session's task looks after its socket itself.
        Poll::Pending
    }

    fn poll_incoming(&mut self, _cx: &mut Context<'_>) -> Poll<Incoming> {
        match (self.incoming.take(), self.end) {
            (Some(incoming), _) => Poll::Ready(*incoming),
            (None, Some(_)) => Poll::Ready(Incoming::Gone),
            (None, None) => Poll::Pending,
        }
    }

    fn ask(&mut self, _peer: &Peer, number: u32) {
        self.asks = Some(number);
    }

    fn accept(&mut self, peer: &Peer) {
        let mut answer = json!({ "sid": peer.session() });
        if let (Some(key), Some(answer)) =
            (peer.standing(|standing| standing.key.clone()), answer.as_object_mut())
        {
            answer.insert("pid".to_owned(), json!(key));
        }
        self.tell(peer, Body::Connect(Some(&raw(&answer))));
    }

    /// The client does not come back by itself after this.
    fn refuse(&mut self, peer: &Peer, code: ErrorCode, message: &str) {
        let data = raw(&json!({ "code": code }));
        let refusal = NotConnected { message: message.to_owned(), data: Some(data) };
        self.tell(peer, Body::ConnectError(&raw(&refusal)));
        self.end = Some(End::Refused);
    }

    /// A client that is to come back sees its transport end, for which it does that by itself. One that is not is
    /// disconnected from the namespace first.
    fn close(&mut self, peer: &Peer, _: &Endpoint, close: Close, _: Option<&str>) {
        if close.retry() == Retry::Never {
            self.tell(peer, Body::Disconnect);
        }
        self.end = Some(End::Closed(close));
    }
}

/// Texts and raw JSON always have a form in JSON.
fn raw(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
