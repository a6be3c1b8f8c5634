//! A path that the gateway serves with one framing and one set of policies.

use std::time::Duration;

use bytes::Bytes;
use proto::framing::native;
use proto::{Invalid, Outgoing, Request, RequestId};

use crate::ws_frame;

/// The index of an endpoint in the gateway's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct EndpointId(pub(crate) u8);

/// How frames look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Flat JSON with Switchboard's own names.
    Native,
}

impl Framing {
    /// Decodes a complete text message.
    pub(crate) fn decode(self, text: &str) -> Result<Request, Invalid> {
        match self {
            Self::Native => native::decode(text),
        }
    }

    /// Builds the WebSocket frame of what a client is told.
    pub(crate) fn frame(self, outgoing: &Outgoing<'_>, id: Option<&RequestId>) -> Bytes {
        match self {
            Self::Native => ws_frame::text(&native::encode(outgoing, id)),
        }
    }
}

/// The policies of an endpoint.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// Where it is served.
    pub path: String,
    /// How frames look.
    pub framing: Framing,
    /// How long a client may take to present a token.
    pub auth_timeout: Duration,
    /// How many rooms a session may be in.
    pub max_rooms: usize,
    /// The largest message a client may send, in bytes.
    pub max_message: usize,
    /// How many bytes may wait for one client before it lags.
    pub queue_bytes: usize,
    /// How long a client may lag before it is closed as too slow.
    pub max_lag: Duration,
}

impl Default for Endpoint {
    fn default() -> Self {
        Self {
            path: "/ws".to_owned(),
            framing: Framing::Native,
            auth_timeout: Duration::from_secs(10),
            max_rooms: 128,
            max_message: 64 * 1024,
            queue_bytes: 256 * 1024,
            max_lag: Duration::from_secs(30),
        }
    }
}
