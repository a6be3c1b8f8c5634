//! Rooms that the backend put a user into: they outlive connections.

use bytes::Bytes;
use proto::{Room, UserId};
use serde::{Deserialize, Serialize};

use crate::Unavailable;

/// How many rooms a user can be a member of.
pub const MEMBERSHIPS_MAX: usize = 10_000;

/// A change of a user's memberships, as the nodes that are subscribed to the user's channel are told by
/// [`Sink::control`](crate::Sink::control). It repeats what was asked for, whether or not it was so before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipChange {
    /// The user is a member of these now.
    pub join: Vec<Room>,
    /// And of these no more. None of them is among the first.
    pub leave: Vec<Room>,
}

/// The form in a message from node to node: JSON, with a key that tells it from other messages.
#[derive(Serialize, Deserialize)]
struct Wire {
    memberships: (Vec<Room>, Vec<Room>),
}

impl MembershipChange {
    /// What is asked for: a room that is to be joined and to be left is joined.
    pub fn new(join: &[Room], leave: &[Room]) -> Self {
        let leave = leave.iter().filter(|room| !join.contains(room));
        Self { join: join.to_vec(), leave: leave.cloned().collect() }
    }

    /// The payload of a message from node to node.
    pub fn encode(&self) -> Result<Bytes, serde_json::Error> {
        let wire = Wire { memberships: (self.join.clone(), self.leave.clone()) };
        serde_json::to_vec(&wire).map(Bytes::from)
    }

    /// Reads such a payload; `None` if it is about something else.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        let Wire { memberships: (join, leave) } = serde_json::from_slice(payload).ok()?;
        Some(Self { join, leave })
    }
}

/// A part of the members of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Members {
    /// In the order of their ids, byte by byte.
    pub users: Vec<UserId>,
    /// Where to go on; absent at the end.
    pub next: Option<UserId>,
}

impl Members {
    /// The first `limit` of those that are still to come, and at least one.
    pub(crate) fn page(users: impl Iterator<Item = UserId>, limit: usize) -> Self {
        let limit = limit.max(1);
        let mut users = users.take(limit.saturating_add(1)).collect::<Vec<_>>();
        let more = users.len() > limit;
        users.truncate(limit);
        Self { next: users.last().filter(|_| more).cloned(), users }
    }
}

/// Why memberships were not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MembershipError {
    /// The user would be in too many rooms, or more were named at once. Nothing was changed.
    #[error("a user can be a member of at most {MEMBERSHIPS_MAX} rooms")]
    TooMany,
    /// It is unknown how much of the change was made. Make it again.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(names: &[&str]) -> Vec<Room> {
        names.iter().map(|name| Room::new(name).unwrap()).collect()
    }

    #[test]
    fn a_change_is_read_as_it_was_written_and_nothing_else_is() {
        let change = MembershipChange::new(&rooms(&["a", "b"]), &rooms(&["b", "c"]));
        assert_eq!((&change.join, &change.leave), (&rooms(&["a", "b"]), &rooms(&["c"])));
        assert_eq!(MembershipChange::decode(&change.encode().unwrap()), Some(change));
        for other in ["", "{}", r#"{"memberships":[["/"],[]]}"#] {
            assert_eq!(MembershipChange::decode(other.as_bytes()), None);
        }
    }
}
