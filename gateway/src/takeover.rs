//! What a node tells the others when a client comes back to a session whose old connection may still be open somewhere.

use bytes::Bytes;
use proto::{Close, SessionId};
use serde::{Deserialize, Serialize};

use crate::peer::{Peer, Signal};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Takeover {
    /// The session.
    #[serde(rename = "resumed")]
    pub(crate) session: SessionId,
    /// The connection that goes on with it.
    pub(crate) by: SessionId,
}

impl Takeover {
    pub(crate) fn encode(&self) -> Bytes {
        // Names always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads such a payload; `None` if it is about something else.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }

    /// Ends a connection that is left behind: nobody is there to hear why.
    pub(crate) fn tell(&self, peer: &Peer) {
        if *peer.session() == self.session && *peer.connection() != self.by {
            peer.signal(Signal::Close(Close::Timeout));
        }
    }
}
