//! How many sessions a user may have at a time: places, which the newest take from the oldest.

use std::time::Duration;

use proto::{Channel, SessionId};

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
