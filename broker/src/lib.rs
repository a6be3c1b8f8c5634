//! What joins the nodes: publish, subscribe, read history, know who is there.
//!
//! [`Broker`] is the contract; [`memory`] keeps it within one process, [`redis`] across a cluster. Both pass the one
//! suite in `tests/contract`. Local delivery is not a broker's business: it hands frames to the node's [`Sink`], in order,
//! and says when it may have missed some.

#![forbid(unsafe_code)]

pub mod chaos;
mod clock;
mod control;
mod device;
mod directory;
mod history;
mod inquiry;
mod kept;
mod membership;
pub mod memory;
mod outbox;
mod place;
mod presence;
mod publish;
pub mod redis;
mod revocation;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proto::{Channel, DeviceId, Position, PresenceEntry, Room, Step, Tenant, UserId};

pub use control::{Control, LISTED_SESSIONS, Question, SessionSeen, answer, ask};
pub use device::{DEVICES_MAX, Reached};
pub use directory::{Busiest, Directory, Earlier, Page, RoomCount};
pub use history::{Continuity, Entry, History, HistoryQuery};
pub use inquiry::{Inquiry, LONGEST_INQUIRY, Replies, Reply, inquire};
pub use kept::KeptKey;
pub use membership::{MEMBERSHIPS_MAX, Members, MembershipChange, MembershipError};
pub use outbox::{
    Claim, Claimed, DEAD_MAX, DeadLetter, EntryKey, Letter, LetterId, LetterIdError, Outbox, Waiting,
};
pub use place::{PLACE_KEPT, Place};
pub use presence::{PRESENCE_LIMIT, Presence, PresenceNews};
pub use publish::{IdempotencyKey, Publish, PublishError, Published, Retention, patience};
pub use revocation::{REVOKED_MAX, Revocation, RevocationReader};

/// One node's handle on what joins the nodes.
///
/// # What is promised
///
/// 1. **A successful [`publish`](Self::publish) is in the stream** (unless ephemeral) at the position that it returns,
///    and was handed to every node whose subscription is in force. A failed one says so; repeating it with the same
///    [`IdempotencyKey`] within its window publishes at most once.
/// 2. **A channel's stream is totally ordered**: offsets grow by one, and each entry names the nonce of the one before.
/// 3. **Interest is declarative.** [`subscribe`](Self::subscribe) states a wish and returns at once; the broker
///    keeps the wish true for as long as it stands. Each time it becomes true, [`Sink::subscribed`] is called; each time
///    it stops being true, or might have, [`Sink::interrupted`] is called.
/// 4. **Nothing is dropped without a word.** A publication accepted after `subscribed` is passed to [`Sink::frame`], in the
///    order of the stream, or `interrupted` follows. What was published in between is in the history.
/// 5. **Presence outlives no node.** What a node [holds](Self::hold) stands for as long as the node renews its lease,
///    which the broker does by itself; 15 seconds after the node died nobody sees it any more.
/// 6. **Presence is told as it changes.** A user who comes to a channel where no node held them, and one whom the last
///    node let go, is told by [`Sink::presence`] to every node whose subscription is in force, each once, in the order of
///    the changes. Whom a node held that died, the others let go: within 15 seconds, or, where Redis was away as well,
///    within 30 seconds after it is back. In a channel with more users than a configured limit only their number is told,
///    at most about once a second and finally the last one. News are not kept: after an interruption ask who is
///    [present](Self::present). A store that forgot everything makes everybody come anew.
///
/// # What is not promised
///
/// That the store keeps what it acknowledged: a failover of Redis can lose it. That is detected (positions carry
/// nonces), not prevented. Ephemeral publications and what nodes [tell](Self::control) each other are passed on once to
/// whoever is subscribed, and nothing more.
#[async_trait]
pub trait Broker: Directory + Send + Sync + 'static {
    /// Names the receiver of this node's frames. Called once, before the first [`subscribe`](Self::subscribe).
    fn attach(&self, sink: Arc<dyn Sink>);

    /// Publishes to a channel.
    async fn publish(&self, channel: &Channel, publish: Publish) -> Result<Published, PublishError>;

    /// States that this node wants the frames of these channels. Idempotent.
    fn subscribe(&self, channels: &[Channel]);

    /// States that it wants them no more. Frames on their way may still arrive.
    fn unsubscribe(&self, channels: &[Channel]);

    /// Reads the stream, from the primary.
    async fn history(&self, channel: &Channel, query: HistoryQuery) -> Result<History, Unavailable>;

    /// The places after the last publications of these channels, in the same order, read from the primary. A channel
    /// that was never published to gets an epoch, so that the place given out for it is as good as any other.
    async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable>;

    /// States that this node has a session of this user in the channel, and returns how many users are there.
    ///
    /// With `outbox` the backend is told when the channel is occupied and when it is vacated, through the channel's
    /// [`Outbox`], where so much may wait; as the last hold says.
    async fn hold(
        &self,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<u64, Unavailable>;

    /// States that this node's last session of the user in the channel is gone.
    async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable>;

    /// Who is in the channel, over all nodes: each user once, at most `limit` of them, and how many there are. Of a node
    /// that died nobody is there any more; where more than [`PRESENCE_LIMIT`] are, some seconds later.
    async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable>;

    /// Sends a message to every node whose subscription to the channel is in force, this one included: at most once, and
    /// stored nowhere. Returns how many nodes it was handed to.
    async fn control(&self, channel: &Channel, payload: Bytes) -> Result<u64, Unavailable>;

    /// Leaves an answer to a [`Question`] that came by [`control`](Self::control). It is there for about a minute.
    async fn answer(&self, question: &Question, answer: Bytes) -> Result<(), Unavailable>;

    /// Waits until there are `count` answers to a question, or until `patience` is over, and gives those that are there, in
    /// no order.
    async fn answers(
        &self,
        question: &Question,
        count: u64,
        patience: Duration,
    ) -> Result<Vec<Bytes>, Unavailable>;

    /// Makes a user a member of some rooms and of others no more; a room named in both is joined. The nodes that are
    /// subscribed to the user's channel are told of it as [`Control::Memberships`], also of what was so before: after an
    /// error make the same change again, and everything agrees.
    async fn set_memberships(
        &self,
        tenant: &Tenant,
        user: &UserId,
        join: &[Room],
        leave: &[Room],
    ) -> Result<(), MembershipError>;

    /// The rooms that a user is a member of, at most [`MEMBERSHIPS_MAX`], in no order.
    async fn memberships(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<Room>, Unavailable>;

    /// The members of a room that come after `after`, or all, up to `limit` of them and at least one. Who is a member all
    /// the while is seen once.
    async fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Members, Unavailable>;

    /// Gives a session a place among those that its user may have at a time, and answers whether it has it. Where there are
    /// too many the oldest lose theirs: the nodes that are subscribed to the user's channel are told as [`Control::Replaced`]. Who
    /// claims `again` keeps the place that it had, and never takes one from others. Whoever stays long claims again in
    /// less than [`PLACE_KEPT`].
    async fn claim(&self, place: &Place, again: bool) -> Result<bool, Unavailable>;

    /// Gives a place up.
    async fn waive(&self, place: &Place) -> Result<(), Unavailable>;

    /// Keeps something small for `life`, in place of what was kept under the key before.
    async fn keep(&self, key: &KeptKey, value: Bytes, life: Duration) -> Result<(), Unavailable>;

    /// What is kept under a key.
    async fn kept(&self, key: &KeptKey) -> Result<Option<Bytes>, Unavailable>;

    /// Keeps these for `life` from now on; tells of each whether it is there.
    async fn prolong(&self, keys: &[KeptKey], life: Duration) -> Result<Vec<bool>, Unavailable>;

    /// Keeps it no more.
    async fn discard(&self, key: &KeptKey) -> Result<(), Unavailable>;

    /// Notes how far a device has got, for at most [`DEVICES_MAX`] devices of a user. Never backwards in a stream: whichever
    /// session of a device says so, the furthest place counts.
    async fn reach(&self, reached: &Reached) -> Result<(), Unavailable>;

    /// How far a device has got in the channel of its user, if that is known.
    async fn reached(&self, user: &Channel, device: &DeviceId) -> Result<Option<Position>, Unavailable>;

    /// How the broker is, from what it last saw; costs nothing.
    fn health(&self) -> Health;

    /// Ends the lease of this node and closes its connections, after the last use.
    async fn close(&self);
}

/// The receiver of a node's frames. Its methods are called in the reader of the broker's connection, one at a time for
/// each channel, and must not block.
pub trait Sink: Send + Sync + 'static {
    /// A publication of a channel (its canonical form).
    fn frame(&self, channel: &str, frame: Frame);

    /// Who is in a channel (its canonical form) changed.
    fn presence(&self, channel: &str, news: PresenceNews);

    /// What a node had to say to those that are subscribed to a channel (its canonical form), by [`Broker::control`].
    fn control(&self, channel: &str, payload: Bytes);

    /// The subscription of these channels is in force from here on.
    fn subscribed(&self, channels: &[Channel]);

    /// The subscription of these channels was interrupted: frames may be missing until it is in force again.
    fn interrupted(&self, channels: &[Channel]);

    /// Everything that was read at once has been handed over: a good moment to write to sockets.
    fn flush(&self);
}

/// A publication as it is passed between nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Its place; absent for an ephemeral one.
    pub step: Option<Step>,
    /// The stored form of a [`proto::Publication`].
    pub payload: Bytes,
}

/// The broker could not be asked, or did not answer in time. Nothing is known about the effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("broker unavailable: {0}")]
pub struct Unavailable(pub String);

/// How a broker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Health {
    /// Commands are answered.
    pub commands: bool,
    /// Every subscription connection that is needed stands.
    pub subscriptions: bool,
    /// How often a subscription connection was made again since the start.
    pub reconnects: u64,
    /// How many channels this node is subscribed to.
    pub channels: u64,
}

impl Health {
    /// Whether everything works.
    pub const fn is_ok(&self) -> bool {
        self.commands && self.subscriptions
    }
}
