//! What is revoked, told to every process.

use std::sync::Arc;
use std::time::Duration;

use proto::Timestamp;

use crate::{Broker, Unavailable};

/// How many things can be revoked at a time.
pub const REVOKED_MAX: usize = 100_000;

/// How many of them one read brings.
const AT_ONCE: usize = 1000;

/// How often to look.
const LOOK: Duration = Duration::from_secs(1);

/// How far a look goes back, in microseconds: what was revoked after a failover may be put before what was seen already,
/// if the clock of the new primary is behind.
const OVERLAP: u64 = 5_000_000;

/// Something revoked: a text, whose meaning is not the broker's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// What.
    pub text: String,
    /// Until when that is remembered.
    pub until: Timestamp,
    /// Its place in the order in which things were revoked: when it was, in microseconds since 1970, and later than
    /// anything before it.
    pub order: u64,
}

/// Reads what is revoked, each thing at least once.
pub struct RevocationReader {
    broker: Arc<dyn Broker>,
    newest: u64,
}

impl RevocationReader {
    /// A reader that has seen nothing.
    pub const fn new(broker: Arc<dyn Broker>) -> Self {
        Self { broker, newest: 0 }
    }

    /// Learns of all that was revoked since the last look, and of some of what was before.
    ///
    /// # Errors
    /// When the broker is away. What was read until then is learned, the rest with the next look.
    pub async fn look(&mut self, mut learn: impl FnMut(Vec<Revocation>)) -> Result<(), Unavailable> {
        let mut after = self.newest.saturating_sub(OVERLAP);
        loop {
            let news = self.broker.revoked(after, AT_ONCE).await?;
            let Some(last) = news.last() else { return Ok(()) };
            after = last.order;
            self.newest = self.newest.max(after);
            let is_all = news.len() < AT_ONCE;
            learn(news);
            if is_all {
                return Ok(());
            }
        }
    }

    /// Learns of everything within about a second, for as long as the future is polled. While the broker is away nothing
    /// is learned, nor forgotten; it comes afterwards.
    pub async fn follow(&mut self, mut learn: impl FnMut(Vec<Revocation>)) {
        loop {
            if let Err(error) = self.look(&mut learn).await {
                tracing::debug!(%error, "what is revoked could not be read");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
