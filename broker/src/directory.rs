//! What administration asks: lists that are too long to be had at once, and sums over all nodes.

use async_trait::async_trait;
use proto::{Channel, Position, PresenceEntry, Room, Tenant, Timestamp};

use crate::{Entry, Revocation, Unavailable};

/// The questions that only people and their tools ask. None of them is on the way of a message.
///
/// Lists come in pages. A page is begun with `from`: 0, or the [`next`](Page::next) of the page before. It holds about
/// `limit` things, and can hold none although there are more. What is there all the while is seen at least once, and
/// seldom twice.
#[async_trait]
pub trait Directory: Send + Sync {
    /// Who is in the channel, over all nodes.
    async fn present_page(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<Page<PresenceEntry>, Unavailable>;

    /// The rooms of a tenant in which somebody is present. Changes show within seconds.
    async fn rooms(&self, tenant: &Tenant, from: u64, limit: usize) -> Result<Page<RoomCount>, Unavailable>;

    /// How many rooms there are in which somebody is present, and those with the most users first. Changes show within
    /// seconds.
    async fn busiest(&self, tenant: &Tenant, limit: usize) -> Result<Busiest, Unavailable>;

    /// States how many sessions this node has in a tenant. It stands for a few minutes, and for no longer than the node.
    async fn report_sessions(&self, tenant: &Tenant, sessions: u64) -> Result<(), Unavailable>;

    /// How many sessions all nodes have in a tenant, as they last said.
    async fn sessions(&self, tenant: &Tenant) -> Result<u64, Unavailable>;

    /// Revokes what a text says, until a time, on every process: see [`RevocationReader`](crate::RevocationReader).
    /// Answers whether it could; [`REVOKED_MAX`](crate::REVOKED_MAX) things are the most.
    async fn revoke(&self, text: &str, until: Timestamp) -> Result<bool, Unavailable>;

    /// What was revoked after a place in that order, and is not past yet, up to `limit` of it.
    async fn revoked(&self, after: u64, limit: usize) -> Result<Vec<Revocation>, Unavailable>;

    /// Reads a stream backwards, from the primary: the last `limit` publications before a place, or before the top.
    async fn earlier(
        &self,
        channel: &Channel,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Earlier, Unavailable>;
}

/// A part of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What it holds.
    pub items: Vec<T>,
    /// Where to go on; absent at the end.
    pub next: Option<u64>,
}

/// A room and how many users are present in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomCount {
    /// The room.
    pub room: Room,
    /// The users in it, each once.
    pub users: u64,
}

/// The rooms of a tenant, summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Busiest {
    /// How many rooms there are in which somebody is present.
    pub rooms: u64,
    /// Those with the most users, in this order.
    pub busiest: Vec<RoomCount>,
}

/// A part of a stream that ends before a place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The place after the last publication of the stream at the time of reading; all zeros for a stream that there is not.
    pub top: Position,
    /// Oldest first, without a hole, up to the place.
    pub entries: Vec<Entry>,
    /// Whether the place is one of the stream's. If not, because the stream began anew, lost writes or does not reach
    /// back to it, there are no entries.
    pub known: bool,
}

impl Earlier {
    /// Judges what was read backwards: the entries from `before` itself on, newest first, of the stream with this top.
    pub(crate) fn judge(before: Option<Position>, top: Position, mut read: Vec<Entry>, limit: u32) -> Self {
        let known = match before {
            None => true,
            Some(before) if before == top => true,
            Some(before) if before.offset == 0 => before.epoch == top.epoch,
            Some(before) => read.first().is_some_and(|own| own.step.position == before),
        };
        if !known {
            return Self { top, entries: Vec::new(), known };
        }
        if before.is_some() && !read.is_empty() {
            read.remove(0);
        }
        read.truncate(limit as usize);
        read.reverse();
        Self { top, entries: read, known }
    }
}
