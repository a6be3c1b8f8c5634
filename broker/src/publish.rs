//! What a publish carries and how it ends.

use std::hash::{Hash, Hasher};
use std::time::Duration;

use aws_lc_rs::digest;
use proto::{ChannelOptions, Durability, MessageId, Position, Publication};

use crate::Unavailable;

/// A publication with what the broker must know to store it.
#[derive(Debug, Clone)]
pub struct Publish {
    /// The message.
    pub publication: Publication,
    /// What the stream keeps; `None` for an ephemeral publication, which gets no position.
    pub retention: Option<Retention>,
    /// Makes repeating safe.
    pub idempotency: Option<IdempotencyKey>,
    /// Makes it go to the channel's [`Outbox`](crate::Outbox) as well, where no more than so many letters may wait.
    /// Of no effect on an ephemeral publication.
    pub outbox: Option<u32>,
}

/// What a channel's stream keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// At least this many publications (trimming is approximate, never below).
    pub size: u32,
    /// For this long after the last one.
    pub age: Duration,
    /// Where the publication must be before the publish succeeds.
    pub durability: Durability,
}

impl Retention {
    /// What a channel with these options keeps; `None` if it keeps nothing.
    pub fn of(options: &ChannelOptions) -> Option<Self> {
        let &ChannelOptions { history_size: size, history_age: age, durability, .. } = options;
        (size > 0).then_some(Self { size, age, durability })
    }
}

/// How much longer than others a publish of this durability may take: until a replica, or a disk that is written to once
/// a second, has it.
pub const fn patience(durability: Durability) -> Duration {
    match durability {
        Durability::Memory => Duration::ZERO,
        Durability::Replica => Duration::from_secs(1),
        Durability::Fsync => Duration::from_millis(1500),
    }
}

/// Identifies a publish within its channel, for a while: [`IdempotencyKey::WINDOW`] unless said otherwise. Two keys are the
/// same whatever their windows; that of the first publish counts.
#[derive(Clone, Copy)]
pub struct IdempotencyKey {
    digest: [u8; 16],
    window: Duration,
}

impl IdempotencyKey {
    /// How long a key is usually remembered.
    pub const WINDOW: Duration = Duration::from_secs(300);

    /// The key of a publisher's message id. `publisher` separates those who may choose the same ids: `user:42`, `api`.
    pub fn new(publisher: &str, id: &MessageId) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(publisher.len() as u64).to_be_bytes());
        context.update(publisher.as_bytes());
        context.update(id.as_str().as_bytes());
        Self { digest: truncate(context.finish().as_ref()), window: Self::WINDOW }
    }

    /// The same key, remembered for another time.
    pub const fn kept_for(self, window: Duration) -> Self {
        Self { window, ..self }
    }

    /// How long it is remembered.
    pub const fn window(&self) -> Duration {
        self.window
    }

    /// Thirty-two hexadecimal digits, safe in any key.
    pub fn hex(&self) -> String {
        hex(self.digest)
    }
}

impl PartialEq for IdempotencyKey {
    fn eq(&self, other: &Self) -> bool {
        self.digest == other.digest
    }
}

impl Eq for IdempotencyKey {}

impl Hash for IdempotencyKey {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.digest.hash(state);
    }
}

impl std::fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.hex())
    }
}

impl Publish {
    /// What tells two messages under the same id apart: event and data, not the time.
    pub fn fingerprint(&self) -> String {
        let event = self.publication.event.as_str();
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&(event.len() as u64).to_be_bytes());
        context.update(event.as_bytes());
        context.update(self.publication.data.get().as_bytes());
        hex(truncate(context.finish().as_ref()))
    }
}

fn truncate(digest: &[u8]) -> [u8; 16] {
    std::array::from_fn(|at| digest.get(at).copied().unwrap_or_default())
}

fn hex(bytes: [u8; 16]) -> String {
    bytes.iter().fold(String::with_capacity(32), |mut text, byte| {
        for digit in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(digit), 16));
        }
        text
    })
}

/// A successful publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Where it stands; absent for an ephemeral one.
    pub position: Option<Position>,
    /// The same id was published before, and the position is that of the first time.
    pub duplicate: bool,
}

/// Why a publish failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// The broker could not be asked or did not answer: it is unknown whether the message is in. Repeat with the same id.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
    /// The id was used for another message.
    #[error("the message id was used before for another message")]
    Conflict,
    /// As much waits for the backend as may. Nothing was published.
    #[error("too much waits for the backend")]
    OutboxFull,
    /// It is in the stream, but did not get as far as [`Retention::durability`] asks in time. Repeating it with the same id
    /// waits again.
    #[error("the message is stored, but nothing beyond that was confirmed in time")]
    Unconfirmed,
    /// The durability that was asked for cannot be had here. Nothing was stored.
    #[error("{0}")]
    Unsupported(&'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publishers_do_not_share_ids() {
        let id = MessageId::new("1").unwrap();
        assert_eq!(IdempotencyKey::new("a", &id), IdempotencyKey::new("a", &id));
        assert_ne!(IdempotencyKey::new("a", &id), IdempotencyKey::new("b", &id));
        assert_ne!(
            IdempotencyKey::new("a", &MessageId::new("bc").unwrap()),
            IdempotencyKey::new("ab", &MessageId::new("c").unwrap())
        );
        assert_eq!(IdempotencyKey::new("a", &id).hex().len(), 32);
    }
}
