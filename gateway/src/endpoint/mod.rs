//! A path that the gateway serves with one framing and one set of policies.

pub(crate) mod offline;
pub(crate) mod policy;

use std::time::Duration;

use bytes::Bytes;
use proto::framing::Framing;
use proto::{Close, Epoch, GapReason, Invalid, Outgoing, Position, Request, RequestId};
use smallvec::SmallVec;

use crate::clock;
use crate::wire::{event_stream, ws_frame};
use offline::Offline;
use policy::Admission;

/// The frames that ask for a sign of life.
pub(crate) type Pings = SmallVec<[Bytes; 2]>;

/// The index of an endpoint in the gateway's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EndpointId(pub(crate) u8);

/// What an endpoint is spoken to by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// WebSocket, both ways (RFC 6455).
    WebSocket,
    /// Server-sent events, one way (HTML Living Standard, section 9.2).
    ServerSentEvents,
    /// Socket.IO, by polling and over WebSocket.
    SocketIo,
}

impl Protocol {
    /// Whether a client asks to be connected after its handshake, and is told when it is, or why not.
    pub(crate) const fn accepts_clients(self) -> bool {
        matches!(self, Self::SocketIo)
    }
}

/// The origins whose pages may connect (RFC 6454), so that a page cannot use what a browser holds for another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(Vec<String>);

impl Origins {
    /// A list of origins such as `https://app.example`; an empty one allows all.
    ///
    /// # Errors
    /// The first text that is not an origin.
    pub fn new(origins: &[String]) -> Result<Self, String> {
        let is_origin = |text: &String| {
            let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
            host.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '?', '#', '@']))
        };
        match origins.iter().find(|origin| !is_origin(origin)) {
            Some(bad) => Err(bad.clone()),
            None => Ok(Self(origins.iter().map(|origin| origin.to_ascii_lowercase()).collect())),
        }
    }

    /// Whether a page of this origin may connect.
    pub fn allow(&self, origin: &[u8]) -> bool {
        self.0.is_empty() || self.0.iter().any(|allowed| origin.eq_ignore_ascii_case(allowed.as_bytes()))
    }
}

/// How clients without a good token are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// 4001 if the token has run out, which says come back with another; 4500 for everything else.
    ByReason,
    /// 1008, which browsers and older clients know.
    PolicyViolation,
}

/// The policies of an endpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct Endpoint {
    /// Where it is served.
    pub path: String,
    /// Whose pages may connect.
    pub origins: Origins,
    /// What it is spoken to by.
    pub protocol: Protocol,
    /// How frames look.
    pub framing: Framing,
    /// Whether a token may also come in a frame. If not, a client without one is refused at once.
    pub in_band: bool,
    /// How long a client may take to present a token.
    pub auth_timeout: Duration,
    /// Which tokens it takes, and the rooms that its sessions are in by themselves.
    pub admission: Admission,
    /// How many sessions a user may have here at a time; with one more the oldest is closed. 0: any number.
    pub max_sessions: u32,
    /// How long a client of Socket.IO may stay away and still miss nothing; `None` if it cannot come back to its session.
    pub recovery: Option<Duration>,
    /// Whether what is sent to a user who is away waits for their next connection here.
    pub offline: Option<Offline>,
    /// With which ending a client without a good token is refused.
    pub refusal: Refusal,
    /// How often a client is asked for a sign of life, to within five seconds.
    pub heartbeat: Duration,
    /// How long a client may give none.
    pub pong_timeout: Duration,
    /// Whether it is also asked by a frame of its own.
    pub text_ping: bool,
    /// How many requests a second a client may send; twice as many at once.
    pub rate: u32,
    /// How many a user may send with all sessions on one node. 0: any number.
    pub user_rate: u32,
    /// How many rooms a session may be in.
    pub max_rooms: usize,
    /// The largest message a client may send, in bytes.
    pub max_message: usize,
    /// How many bytes may wait for one client before it lags.
    pub queue_bytes: usize,
    /// How long a client that lags may take to make room in its queue before it is closed as too slow.
    pub max_lag: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            path: "/ws".to_owned(),
            origins: Origins::default(),
            protocol: Protocol::WebSocket,
            framing: Framing::Native,
            in_band: true,
            auth_timeout: Duration::from_secs(10),
            admission: Admission::default(),
            max_sessions: 0,
            recovery: None,
            offline: None,
            refusal: Refusal::ByReason,
            heartbeat: Duration::from_secs(25),
            pong_timeout: Duration::from_secs(45),
            text_ping: false,
            rate: 100,
            user_rate: 0,
            max_rooms: 128,
            max_message: 64 * 1024,
            queue_bytes: 256 * 1024,
            max_lag: Duration::from_secs(30),
        }
    }
}

impl Endpoint {
    /// Decodes a complete text message.
    pub(crate) fn decode(&self, text: &str) -> Result<Request, Invalid> {
        self.framing.decode(text)
    }

    /// Builds what goes over the wire to tell a client something; `None` where its vocabulary has no words for it.
    pub(crate) fn frame(&self, outgoing: &Outgoing<'_>, id: Option<&RequestId>) -> Option<Bytes> {
        let now = clock::now();
        if let Framing::SocketIo(events) = &self.framing
            && let Some((text, attachments)) = events.encode_binary(outgoing, now)
        {
            return Some(ws_frame::with_binaries(&self.wrap(outgoing, &text), &attachments));
        }
        let text = self.framing.encode(outgoing, id, now)?;
        Some(self.wrap(outgoing, &text))
    }

    /// Builds the question that a publication is to a client who can acknowledge it under this id.
    pub(crate) fn question(&self, outgoing: &Outgoing<'_>, id: u64) -> Option<Bytes> {
        let Framing::SocketIo(events) = &self.framing else { return None };
        Some(ws_frame::text(&events.encode_question(outgoing, id, clock::now())?))
    }

    /// Builds what is told after it, if there is something.
    pub(crate) fn frame_also(&self, outgoing: &Outgoing<'_>) -> Option<Bytes> {
        let text = self.framing.encode_also(outgoing, clock::now())?;
        Some(self.wrap(outgoing, &text))
    }

    /// Whether it has words for a gap.
    pub(crate) fn can_tell_gaps(&self) -> bool {
        let position = Position::start(Epoch(0));
        self.frame(&Outgoing::Gap { channel: "", reason: GapReason::Trimmed, position }, None).is_some()
    }

    fn wrap(&self, outgoing: &Outgoing<'_>, text: &str) -> Bytes {
        match self.protocol {
            Protocol::WebSocket => ws_frame::text(text),
            // Whoever sends an event to a client says at its end where that client stands.
            Protocol::SocketIo => match text.strip_suffix(']') {
                Some(begin)
                    if self.recovery.is_some() && (text.starts_with("42") || text.starts_with("45")) =>
                {
                    ws_frame::begin_of_text(begin)
                }
                _ => ws_frame::text(text),
            },
            Protocol::ServerSentEvents => event_stream::event(outgoing, text),
        }
    }

    /// What asks a client, or the way to it, for a sign of life; nothing where the transport does that itself.
    pub(crate) fn pings(&self) -> Pings {
        let ping = match self.protocol {
            Protocol::WebSocket => ws_frame::PING_FRAME,
            Protocol::ServerSentEvents => event_stream::COMMENT,
            Protocol::SocketIo => return Pings::new(),
        };
        let text = self.text_ping.then(|| Outgoing::Ping { timestamp: clock::now() });
        std::iter::once(ping).chain(text.and_then(|ping| self.frame(&ping, None))).collect()
    }

    /// The last thing that a client is sent.
    pub(crate) fn goodbye(&self, close: Close, reason: Option<&str>) -> Bytes {
        match self.protocol {
            Protocol::WebSocket | Protocol::SocketIo => ws_frame::close(close, reason),
            Protocol::ServerSentEvents => event_stream::end(close, reason),
        }
    }
}

/// What follows from something for each endpoint, found out when it is first needed.
pub(crate) struct PerEndpoint<'a, T> {
    endpoints: &'a [Endpoint],
    found: SmallVec<[Option<T>; 4]>,
}

impl<'a, T: Clone> PerEndpoint<'a, T> {
    pub(crate) fn new(endpoints: &'a [Endpoint]) -> Self {
        Self { endpoints, found: SmallVec::from_elem(None, endpoints.len()) }
    }

    pub(crate) fn of(&mut self, id: EndpointId, find: impl FnOnce(&Endpoint) -> T) -> Option<T> {
        let index = usize::from(id.0);
        let (found, endpoint) = (self.found.get_mut(index)?, self.endpoints.get(index)?);
        Some(found.get_or_insert_with(|| find(endpoint)).clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_listed_origins_may_connect() {
        let origins = |list: &[&str]| Origins::new(&list.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(origins(&[]).unwrap().allow(b"https://anywhere.example"));
        let listed = origins(&["https://app.example", "http://localhost:3000"]).unwrap();
        assert!(listed.allow(b"https://APP.example") && listed.allow(b"http://localhost:3000"));
        for other in
            ["http://app.example", "https://app.example.evil", "https://app.example:8443", "null", ""]
        {
            assert!(!listed.allow(other.as_bytes()), "{other}");
        }
        for bad in ["app.example", "https://", "https://*.example", "https://app.example/", "null"] {
            assert_eq!(origins(&[bad]), Err(bad.to_owned()));
        }
    }
}
