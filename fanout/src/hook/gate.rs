//! How many webhooks of one provider are taken in at a time: a flood of one leaves room for the others.

use std::time::Duration;

use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};
use tokio::time::timeout;

/// How long a webhook waits for its turn. Providers give up after 2 s and more, and repeat what is refused.
const PATIENCE: Duration = Duration::from_millis(500);

/// As many as are still good to wait, for each that is worked on.
const WAITING_FOR_EACH: usize = 4;

/// The gate of one webhook.
#[derive(Debug)]
pub(super) struct Gate {
    /// Everyone inside, those that wait among them. Bounds the memory that bodies take.
    inside: Semaphore,
    /// Those that are worked on.
    working: Semaphore,
}

/// As many as the gate takes are inside, or none of them became ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

impl From<AcquireError> for Full {
    /// The semaphores are never closed.
    fn from(_: AcquireError) -> Self {
        Self
    }
}

impl Gate {
    /// Lets `working` be worked on at a time, and four times as many wait.
    pub(super) fn new(working: usize) -> Self {
        let working = working.min(Semaphore::MAX_PERMITS / (WAITING_FOR_EACH + 1));
        Self { inside: Semaphore::new(working * (WAITING_FOR_EACH + 1)), working: Semaphore::new(working) }
    }

    /// Comes in, for as long as what is returned lives.
    pub(super) fn enter(&self) -> Result<SemaphorePermit<'_>, Full> {
        self.inside.try_acquire().map_err(|_| Full)
    }

    /// Waits for its turn to be worked on, which lasts as long as what is returned lives. Whoever came first goes first.
    pub(super) async fn turn(&self) -> Result<SemaphorePermit<'_>, Full> {
        Ok(timeout(PATIENCE, self.working.acquire()).await.map_err(|_| Full)??)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_wait_their_turn_and_more_are_refused() {
        let gate = Gate::new(1);
        let inside: Vec<_> = (0..5).map(|_| gate.enter().unwrap()).collect();
        assert_eq!(gate.enter().err(), Some(Full));
        let turn = gate.turn().await.unwrap();
        assert_eq!(gate.turn().await.err(), Some(Full), "it took too long");
        drop(turn);
        assert!(gate.turn().await.is_ok());
        drop(inside);
        assert!(gate.enter().is_ok());
    }
}
