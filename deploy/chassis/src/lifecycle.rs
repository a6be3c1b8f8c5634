//! In which phase of its life a process is. Phases only go forward, and everybody can wait for one.

use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A phase; later ones are greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Phase {
    /// Not ready for traffic yet.
    #[default]
    Starting,
    /// Everything works.
    Serving,
    /// About to stop: not ready any more, so that load balancers look elsewhere, but whoever comes is still served.
    Leaving,
    /// Nobody is let in; those who are here are shown out over the drain time.
    Draining,
    /// The drain time is over, or somebody is in a hurry: what is left is cut off.
    Ending,
}

impl Phase {
    /// The word for it in answers and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Leaving => "leaving",
            Self::Draining => "draining",
            Self::Ending => "ending",
        }
    }
}

/// The life of a process; clones share it.
#[derive(Debug, Clone)]
pub struct Lifecycle {
    state: watch::Sender<State>,
    closed: CancellationToken,
    ended: CancellationToken,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    phase: Phase,
    drain: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

impl Lifecycle {
    /// A life that begins.
    pub fn new() -> Self {
        let state = watch::Sender::new(State::default());
        Self { state, closed: CancellationToken::new(), ended: CancellationToken::new() }
    }

    /// Where it stands.
    pub fn phase(&self) -> Phase {
        self.state.borrow().phase
    }

    /// Start is done.
    pub fn serve(&self) {
        self.advance(Phase::Serving, |_| {});
    }

    /// A stop is coming.
    pub fn leave(&self) {
        self.advance(Phase::Leaving, |_| {});
    }

    /// The stop begins, and has this much time.
    pub fn drain(&self, time: Duration) {
        self.advance(Phase::Draining, |state| state.drain = time);
        self.closed.cancel();
    }

    /// The stop is over.
    pub fn end(&self) {
        self.advance(Phase::Ending, |_| {});
        self.closed.cancel();
        self.ended.cancel();
    }

    /// Waits for a phase or a later one.
    pub async fn reached(&self, phase: Phase) {
        // The sender lives as long as `self`, so the wait cannot fail.
        _ = self.state.subscribe().wait_for(|state| state.phase >= phase).await;
    }

    /// Waits for the drain and answers how long it may take; zero if it was skipped.
    pub async fn draining(&self) -> Duration {
        self.reached(Phase::Draining).await;
        let state = *self.state.borrow();
        if state.phase == Phase::Draining { state.drain } else { Duration::ZERO }
    }

    /// Is cancelled once nobody is let in any more.
    pub fn closed(&self) -> CancellationToken {
        self.closed.clone()
    }

    /// Is cancelled once what is left is to be cut off.
    pub fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    fn advance(&self, phase: Phase, change: impl FnOnce(&mut State)) {
        let advanced = self.state.send_if_modified(|state| {
            let is_later = phase > state.phase;
            if is_later {
                state.phase = phase;
                change(state);
            }
            is_later
        });
        if advanced {
            tracing::debug!(phase = phase.as_str(), "entered a phase");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn phases_go_forward_only() {
        let life = Lifecycle::new();
        assert_eq!(life.phase(), Phase::Starting);
        life.drain(MINUTE);
        life.serve();
        life.leave();
        assert_eq!(life.phase(), Phase::Draining);
        life.reached(Phase::Leaving).await;
        assert!(life.closed().is_cancelled());
        assert!(!life.ended().is_cancelled());
    }

    #[tokio::test]
    async fn whoever_waits_for_the_drain_learns_how_long_it_may_take() {
        let life = Lifecycle::new();
        let waiting = tokio::spawn({
            let life = life.clone();
            async move { life.draining().await }
        });
        life.serve();
        life.drain(MINUTE);
        assert_eq!(waiting.await.unwrap(), MINUTE);
    }

    #[tokio::test]
    async fn a_second_drain_does_not_buy_time_and_an_end_leaves_none() {
        let life = Lifecycle::new();
        life.drain(MINUTE);
        life.drain(MINUTE * 2);
        assert_eq!(life.draining().await, MINUTE);
        life.end();
        assert_eq!(life.draining().await, Duration::ZERO);
        assert!(life.ended().is_cancelled());
    }
}
