//! How many sessions a user may have at a time: places, which the newest take from the oldest.

use std::time::Duration;

use bytes::Bytes;
use proto::{Channel, SessionId};
use serde::{Deserialize, Serialize};

/// How long a place is kept for a session that does not [claim](crate::Broker::claim) it again.
pub const PLACE_KEPT: Duration = Duration::from_secs(48 * 3600);

/// A session's place among those that its user may have at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The user's own channel.
    pub user: Channel,
    /// Among which sessions of the user: a text without braces. Those of other circles do not count.
    pub circle: String,
    /// The session.
    pub session: SessionId,
    /// How many there may be, at least one.
    pub limit: u32,
}

/// The sessions that lost their places to newer ones, as the nodes that are subscribed to the user's channel are told by
/// [`Sink::control`](crate::Sink::control).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The sessions.
    #[serde(rename = "replaced")]
    pub sessions: Vec<SessionId>,
}

impl Replaced {
    /// The payload of a message from node to node.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        serde_json::to_vec(self).map(Bytes::from)
    }

    /// Reads such a payload; `None` if it is about something else.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}
