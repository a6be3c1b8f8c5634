//! What waits for the backend.
//!
//! A publication whose [`Publish::outbox`](crate::Publish::outbox) says so goes to its channel's outbox in the same step
//! that puts it into the stream. There it stays, whatever the stream's own limits, until it is acknowledged. So does the
//! news that a channel is occupied or vacated, where [`Broker::hold`](crate::Broker::hold) asks for it.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use proto::{Channel, Position, PresenceEntry, Tenant, Timestamp};

use crate::Unavailable;
use crate::clock::now;

/// The outboxes of all channels, for those who hand on what is in them.
///
/// # What is promised
///
/// 1. **A publish that succeeded is in the outbox**, once, also when it was repeated under its id; a publish that a full
///    outbox refused is nowhere.
/// 2. **A change of presence is in the outbox** once, written by what made it: where a node died, by whoever buried it. When
///    twice as much waits as may, it is left out.
/// 3. **An outbox is in the order of its channel's stream.** A replayed letter comes behind everything that waits then.
/// 4. **Nothing leaves it but what is [acknowledged](Self::advance)** or [buried](Self::bury).
/// 5. **What waits is found.** A channel with something in its outbox is [claimed](Self::claim) by one worker at a time.
///    A claim stands until its lease runs out, so that the work of a worker that died is taken up by another.
///
/// Together: whoever hands on entry after entry while the claim stands, and acknowledges what was taken, delivers all of it
/// at least once, and of each channel in order; a repetition never stands before the first delivery of what came earlier.
#[async_trait]
pub trait Outbox: Send + Sync + 'static {
    /// Claims up to about `limit` channels whose turn it is.
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Claimed, Unavailable>;

    /// Removes entries of the claimed channel and gives the next that wait, oldest first. None are given only when none
    /// wait.
    async fn advance(
        &self,
        claim: &Claim,
        done: &[EntryKey],
        limit: u32,
    ) -> Result<Vec<Waiting>, Unavailable>;

    /// Lengthens a claim to a whole lease from now; false if it was lost. `oldest` is since when the first entry waits.
    async fn renew(&self, claim: &Claim, lease: Duration, oldest: Timestamp) -> Result<bool, Unavailable>;

    /// Gives a claim back: the next is made after a rest, and told of so many failures.
    async fn rest(&self, claim: &Claim, rest: Duration, failures: u32) -> Result<(), Unavailable>;

    /// Gives a claim back after [`advance`](Self::advance) gave nothing. What came since is claimed again.
    async fn finish(&self, claim: &Claim) -> Result<(), Unavailable>;

    /// Puts an entry of the claimed channel among the dead letters and removes it from the outbox. False, with nothing
    /// changed, if there are [`DEAD_MAX`] of them.
    async fn bury(&self, claim: &Claim, entry: &Waiting, reason: &str) -> Result<bool, Unavailable>;

    /// The dead letters, in the order in which they died, that come after one that died then, or all, up to `limit`.
    async fn dead(
        &self,
        after: Option<(Timestamp, &LetterId)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Unavailable>;

    /// Appends a letter to a stream of Redis that the backend reads, under the key `<prefix>:backend:<stream>`. False, with
    /// nothing changed, if `most` entries stand in it: whoever reads it removes what it has done with.
    async fn relay(&self, stream: &str, most: u32, id: &LetterId, body: Bytes) -> Result<bool, Unavailable>;

    /// Puts a dead letter of a tenant back into its channel's outbox, under the id that it had. False if there is none.
    async fn replay(&self, tenant: &Tenant, id: &LetterId) -> Result<bool, Unavailable>;
}

/// How many dead letters are kept. More are not buried: what they stand before waits.
pub const DEAD_MAX: usize = 10_000;

/// Some claims, and how much waits in all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The claims.
    pub claims: Vec<Claim>,
    /// How many channels have something that waits, claimed or not.
    pub channels: u64,
    /// Since when the oldest entry waits, as far as is known.
    pub oldest: Option<Timestamp>,
}

/// The right to work on one channel's outbox for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The channel.
    pub channel: Channel,
    /// How often in a row its first entry could not be delivered.
    pub failures: u32,
    /// Tells this claim from earlier and later ones.
    pub(crate) token: u64,
}

/// Where an entry stands in its outbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EntryKey(pub(crate) String);

/// An entry of an outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Where it stands.
    pub key: EntryKey,
    /// Since when it waits.
    pub since: Timestamp,
    /// What is to be told.
    pub letter: Letter,
}

/// What the backend is to be told of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Letter {
    /// A client published.
    Message {
        /// The place of the publication.
        position: Position,
        /// The stored form of a [`proto::Publication`].
        payload: Bytes,
    },
    /// The first user came to a channel where nobody was.
    Occupied {
        /// Tells it from any other change: a random number and a count.
        number: (u64, u64),
        /// Who came.
        user: PresenceEntry,
    },
    /// The last user left a channel, or the last node that held them died.
    Vacated {
        /// Tells it from any other change: a random number and a count.
        number: (u64, u64),
        /// Who went.
        user: PresenceEntry,
    },
}

/// Names a letter: the same however often it is delivered, and no other letter's. Letters, digits, `_` and `-`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId(pub(crate) String);

/// Why a text names no letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not the id of a letter")]
pub struct LetterIdError;

/// A letter that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its channel.
    pub channel: Channel,
    /// Since when it had waited.
    pub since: Timestamp,
    /// When it was given up.
    pub died: Timestamp,
    /// Why.
    pub reason: String,
    /// What was to be told.
    pub letter: Letter,
}

impl Waiting {
    /// The letter of a channel, given up now.
    pub(crate) fn given_up(&self, channel: &Channel, reason: &str) -> DeadLetter {
        DeadLetter {
            channel: channel.clone(),
            since: self.since,
            died: now(),
            reason: reason.to_owned(),
            letter: self.letter.clone(),
        }
    }
}

impl Letter {
    /// The letter's name.
    pub fn id(&self) -> LetterId {
        match self {
            // Epoch and nonce are random numbers of 64 bits: no two publications of any channels share all three.
            Self::Message { position, .. } => LetterId(format!(
                "msg_{:016x}-{}-{:016x}",
                position.epoch.0, position.offset, position.nonce.0
            )),
            Self::Occupied { number: (nonce, number), .. } => {
                LetterId(format!("occupied_{nonce:016x}-{number}"))
            }
            Self::Vacated { number: (nonce, number), .. } => {
                LetterId(format!("vacated_{nonce:016x}-{number}"))
            }
        }
    }
}

impl LetterId {
    /// Reads a name; says nothing about whether there is such a letter.
    pub fn new(text: &str) -> Result<Self, LetterIdError> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if (1..=64).contains(&text.len()) && text.bytes().all(plain) {
            Ok(Self(text.to_owned()))
        } else {
            Err(LetterIdError)
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for LetterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
