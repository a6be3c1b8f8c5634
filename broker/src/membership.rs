//! Rooms that the backend put a user into: they outlive connections.

use proto::{Room, UserId};
use serde::{Deserialize, Serialize};

use crate::Unavailable;

/// How many rooms a user can be a member of.
pub const MEMBERSHIPS_MAX: usize = 10_000;

/// A change of a user's memberships. It repeats what was asked for, whether or not it was so before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MembershipChange {
    /// The user is a member of these now.
    pub join: Vec<Room>,
    /// And of these no more. None of them is among the first.
    pub leave: Vec<Room>,
}

impl MembershipChange {
    /// What is asked for: a room that is to be joined and to be left is joined.
    pub fn new(join: &[Room], leave: &[Room]) -> Self {
        let leave = leave.iter().filter(|room| !join.contains(room));
        Self { join: join.to_vec(), leave: leave.cloned().collect() }
    }

    /// Refuses more rooms at once than anybody can be a member of.
    pub(crate) fn check(&self) -> Result<(), MembershipError> {
        let fits = |rooms: &[Room]| rooms.len() <= MEMBERSHIPS_MAX;
        if fits(&self.join) && fits(&self.leave) { Ok(()) } else { Err(MembershipError::TooMany) }
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
    fn who_is_to_join_and_to_leave_joins() {
        let change = MembershipChange::new(&rooms(&["a", "b"]), &rooms(&["b", "c"]));
        assert_eq!((&change.join, &change.leave), (&rooms(&["a", "b"]), &rooms(&["c"])));
    }
}
