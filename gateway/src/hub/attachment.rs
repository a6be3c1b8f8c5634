//! A connection's hold on a channel.

use std::sync::Arc;
use std::time::Instant;

use proto::{Channel, Position};

use super::{Hub, Subscriber};
use crate::peer::Peer;

/// A connection's hold on a channel: the node listens to it until this is dropped.
pub(crate) struct Attachment {
    pub(super) hub: Arc<Hub>,
    pub(super) channel: Channel,
    /// Whether only the newest publication matters.
    pub(super) latest: bool,
    /// Whether the connection makes its user present there.
    pub(super) makes_present: bool,
    /// Its place among the channel's subscribers, once it was fed.
    pub(super) slot: Option<usize>,
}

impl Attachment {
    pub(crate) const fn channel(&self) -> &Channel {
        &self.channel
    }

    /// Whether only the newest publication of the channel matters.
    pub(crate) const fn is_latest(&self) -> bool {
        self.latest
    }

    /// Makes the connection one whose user is present, from the next time that it is fed.
    pub(crate) const fn introduce(&mut self) {
        self.makes_present = true;
    }

    /// Makes the peer one of the channel's, which is not fed yet, but told what nodes tell each other.
    pub(crate) fn enlist(&mut self, peer: &Arc<Peer>) {
        let mut shard = self.hub.shard(self.channel.as_str());
        let Some(entry) = shard.get_mut(&self.channel) else { return };
        let after = Position::start(proto::Epoch(0));
        let subscriber =
            Subscriber { peer: Arc::clone(peer), is_present: self.makes_present, after, fed: false };
        self.slot.get_or_insert_with(|| entry.subscribers.insert(subscriber));
    }

    /// How many gaps this node has told in the channel.
    pub(crate) fn gaps(&self) -> u64 {
        self.hub.shard(self.channel.as_str()).get(&self.channel).map_or(0, |entry| entry.gaps)
    }

    /// Feeds the peer with all that comes after `at`. It may be ahead of this node only if the stream was seen to go on
    /// at `at` since this node last told a gap; `seen` is how many [gaps](Self::gaps) were told before that look.
    ///
    /// # Errors
    /// [`Behind`] when this node has already delivered more than that, or something else: read the stream up to its top
    /// and try again.
    pub(crate) fn feed(&mut self, peer: &Arc<Peer>, at: Position, seen: Option<u64>) -> Result<(), Behind> {
        let mut shard = self.hub.shard(self.channel.as_str());
        let Some(entry) = shard.get_mut(&self.channel) else { return Err(Behind) };
        let Some(position) = entry.follower.position() else { return Err(Behind) };
        let ahead = at.epoch == position.epoch && at.offset > position.offset && seen == Some(entry.gaps);
        if at != position && !ahead {
            return Err(Behind);
        }
        let subscriber =
            Subscriber { peer: Arc::clone(peer), is_present: self.makes_present, after: at, fed: true };
        match self.slot.and_then(|slot| entry.subscribers.get_mut(slot)) {
            Some(paused) => *paused = subscriber,
            None => self.slot = Some(entry.subscribers.insert(subscriber)),
        }
        Ok(())
    }
}

impl Drop for Attachment {
    fn drop(&mut self) {
        let mut shard = self.hub.shard(self.channel.as_str());
        let Some(entry) = shard.get_mut(&self.channel) else { return };
        if let Some(slot) = self.slot {
            entry.subscribers.try_remove(slot);
        }
        entry.attachments -= 1;
        if entry.attachments == 0 {
            entry.idle_since = Some(Instant::now());
        }
    }
}

/// A peer cannot be fed from where it stands: it has to read the stream first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Behind;
