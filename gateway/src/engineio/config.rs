//! How Engine.IO and Socket.IO are served on a path.

use std::time::Duration;

use crate::endpoint::Origins;

/// See the module's documentation. The defaults are those that clients of the reference implementation know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Where it is served, with and without a slash at the end.
    pub path: String,
    /// Whose pages may connect. When all may, they may not send cookies.
    pub origins: Origins,
    /// How often the server pings.
    pub ping_interval: Duration,
    /// How long it waits for the answer before it takes the client for dead.
    pub ping_timeout: Duration,
    /// How long a client may take to change from polling to WebSocket.
    pub upgrade_timeout: Duration,
    /// How long a client of Socket.IO may take to connect to its first namespace.
    pub connect_timeout: Duration,
    /// The largest polling body and WebSocket message that a client may send, in bytes; also about the most that one
    /// polling answer holds.
    pub max_payload: usize,
    /// How many bytes may wait for one client.
    pub queue_bytes: usize,
    /// How many sessions there may be at once. A session that polls holds no connection that the listener counts.
    pub max_sessions: usize,
    /// How many attachments a packet of a client may have; together they may have `max_payload` bytes.
    pub max_attachments: usize,
    /// How many namespaces a client may be connected to at once.
    pub max_namespaces: usize,
    /// How many acknowledgements may be awaited from one client in one namespace.
    pub max_awaited: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/socket.io".to_owned(),
            origins: Origins::default(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            max_payload: 1_000_000,
            queue_bytes: 256 * 1024,
            max_sessions: 100_000,
            max_attachments: 10,
            max_namespaces: 8,
            max_awaited: 128,
        }
    }
}
