//! The names of keys and PUB/SUB channels.
//!
//! Everything about one channel carries the hash tag `{<canonical channel>}`, so that one script in one slot of a cluster
//! sees it all. Names cannot hold braces ([`proto::Channel`], [`proto::NodeId`]), so a tag cannot be left.

use proto::Channel;

use super::link::slot::slot;
use crate::{IdempotencyKey, KeptKey, Question};

/// How many parts the index of outboxes has: enough that no server of a cluster has all of it, few enough to ask all of them
/// often.
pub(super) const PARTS: u16 = 8;

/// Makes names from the prefix of this deployment.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    prefix: String,
}

impl Keys {
    pub(super) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// The PUB/SUB channel.
    pub(super) fn channel(&self, channel: &Channel) -> String {
        [&self.prefix, ":{", channel.as_str(), "}"].concat()
    }

    /// A hash: `e` the epoch, `s` the top offset, `n` the top nonce, all decimal text.
    pub(super) fn meta(&self, channel: &Channel) -> String {
        self.of(channel, ":m")
    }

    /// A stream with ids `<offset>-<nonce>` and the fields `p`, the nonce before, and `d`, the payload.
    pub(super) fn stream(&self, channel: &Channel) -> String {
        self.of(channel, ":s")
    }

    /// A string `<fingerprint>:<epoch>:<offset>:<nonce>`.
    pub(super) fn record(&self, channel: &Channel, key: IdempotencyKey) -> String {
        self.of(channel, ":i:") + &key.hex()
    }

    /// A hash of nothing by `<node>/<user>`: who holds whom.
    pub(super) fn holds(&self, channel: &Channel) -> String {
        self.of(channel, ":h")
    }

    /// A hash of `<number of nodes>:<entry>` by user.
    pub(super) fn users(&self, channel: &Channel) -> String {
        self.of(channel, ":u")
    }

    /// A hash of numbers of users by node.
    pub(super) fn nodes(&self, channel: &Channel) -> String {
        self.of(channel, ":n")
    }

    /// A string: the number of users that was told last.
    pub(super) fn told(&self, channel: &Channel) -> String {
        self.of(channel, ":c")
    }

    /// A set of the rooms that the user with this channel is a member of.
    pub(super) fn memberships(&self, user: &Channel) -> String {
        self.of(user, ":r")
    }

    /// A sorted set of the members of the room with this channel, all with the same score.
    pub(super) fn members(&self, room: &Channel) -> String {
        self.of(room, ":b")
    }

    /// A string: how much may wait in the outbox of a channel whose backend is told when it is occupied, and when vacated.
    pub(super) fn reported(&self, channel: &Channel) -> String {
        self.of(channel, ":e")
    }

    /// A stream of letters with the fields `i` and `d`: `m:<epoch>:<offset>:<nonce>` and the payload of a message,
    /// `p:<nonce>:<number>` and `<+ or -><user>/<note>` where the first user came or the last one went.
    pub(super) fn outbox(&self, channel: &Channel) -> String {
        self.of(channel, ":o")
    }

    /// A string: `yes` while the channel surely stands in the index of those with something in their outbox, or a ticket.
    pub(super) fn mark(&self, channel: &Channel) -> String {
        self.of(channel, ":w")
    }

    /// A part of that index: the channels by their turn (ms), who works on each, and by since when each waits (ms).
    pub(super) fn part(&self, part: u16) -> [String; 3] {
        ["turns", "holders", "ages"].map(|what| format!("{}:outbox:{{{part}}}:{what}", self.prefix))
    }

    /// Which part of the index a channel belongs to.
    pub(super) fn part_of(channel: &Channel) -> u16 {
        slot(channel.as_str().as_bytes()) % PARTS
    }

    /// A stream that the backend reads, with the fields `id` and `body`.
    pub(super) fn relayed(&self, stream: &str) -> String {
        [&self.prefix, ":backend:", stream].concat()
    }

    /// The dead letters: a hash of records by id, and a sorted set `<when>/<id>`, all with the same score.
    pub(super) fn dead(&self) -> [String; 2] {
        ["letters", "order"].map(|what| format!("{}:outbox:{{dead}}:{what}", self.prefix))
    }

    /// A sorted set of the rooms in which somebody is, of the tenant with this channel of everyone, by how many.
    pub(super) fn rooms(&self, everyone: &Channel) -> String {
        self.of(everyone, ":k")
    }

    /// A hash of numbers of sessions by node, of the tenant with this channel of everyone.
    pub(super) fn sessions(&self, everyone: &Channel) -> String {
        self.of(everyone, ":x")
    }

    /// Sorted sets of what is revoked: by its order, and by its end (ms).
    pub(super) fn revoked(&self) -> [String; 2] {
        ["order", "ends"].map(|what| format!("{}:{{revoked}}:{what}", self.prefix))
    }

    /// A hash of answers to a question.
    pub(super) fn answers(&self, question: &Question) -> String {
        [&self.prefix, ":answers:", question.as_str()].concat()
    }

    /// A sorted set of the sessions that have a place in a circle of the user with this channel, by their order.
    pub(super) fn places(&self, user: &Channel, circle: &str) -> String {
        self.of(user, ":p:") + circle
    }

    /// A hash of `<epoch>:<offset>:<nonce>:<when (ms)>` by device of the user with this channel: how far each has got.
    pub(super) fn devices(&self, user: &Channel) -> String {
        self.of(user, ":d")
    }

    /// A string that somebody keeps for a while.
    pub(super) fn kept(&self, key: &KeptKey) -> String {
        match key {
            KeptKey::Session(session) => [&self.prefix, ":session:", session.as_str()].concat(),
            KeptKey::Node(node) => [&self.prefix, ":address:", node.as_str()].concat(),
        }
    }

    /// A string that exists while the node lives.
    pub(super) fn lease(&self, node: &str) -> String {
        [&self.prefix, ":node:", node].concat()
    }

    /// A sorted set of all nodes by the time (ms) until which they surely live.
    pub(super) fn register(&self) -> String {
        [&self.prefix, ":nodes"].concat()
    }

    /// A set of the channels that a node has users in, or had.
    pub(super) fn index(&self, node: &str) -> String {
        [&self.prefix, ":index:", node].concat()
    }

    /// A string that exists while somebody clears up after a dead node.
    pub(super) fn burial(&self, node: &str) -> String {
        [&self.prefix, ":burial:", node].concat()
    }

    /// The field of [`holds`](Self::holds) for one user of one node.
    pub(super) fn note(node: &str, user: &str) -> String {
        [node, "/", user].concat()
    }

    fn of(&self, channel: &Channel, suffix: &str) -> String {
        [&self.prefix, ":{", channel.as_str(), "}", suffix].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{MessageId, Room, Tenant};

    #[test]
    fn all_of_a_channel_shares_its_hash_tag() {
        let keys = Keys::new("sb");
        let channel = Channel::room(&Tenant::new("t").unwrap(), &Room::new("lobby").unwrap());
        let id = IdempotencyKey::new("a", &MessageId::new("1").unwrap());
        assert_eq!(keys.channel(&channel), "sb:{t/r/lobby}");
        for key in [
            keys.meta(&channel),
            keys.stream(&channel),
            keys.record(&channel, id),
            keys.holds(&channel),
            keys.users(&channel),
            keys.nodes(&channel),
            keys.told(&channel),
            keys.memberships(&channel),
            keys.members(&channel),
            keys.outbox(&channel),
            keys.mark(&channel),
            keys.reported(&channel),
            keys.places(&channel, "/ws"),
            keys.devices(&channel),
        ] {
            assert!(key.starts_with("sb:{t/r/lobby}:"), "{key}");
        }
    }
}
