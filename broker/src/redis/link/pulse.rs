//! How long a connection may be silent, as a value.

use std::time::{Duration, Instant};

/// After this long without a byte from the server, ask whether it is there. With [`SILENCE`] it bounds how long a dead
/// connection goes unnoticed.
pub(super) const PROBE_AFTER: Duration = Duration::from_secs(2);

/// While it owes an answer, this long without a byte means that it is gone. A server that carries out a slow command for
/// somebody else stays silent, too.
pub(super) const SILENCE: Duration = Duration::from_secs(3);

/// Though it sends, an answer that makes no progress for this long will not come any more.
const ANSWER: Duration = Duration::from_secs(30);

/// When a server was last heard, and when it last answered or was last asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pulse {
    heard: Instant,
    answered: Instant,
}

impl Pulse {
    /// A fresh connection.
    pub(super) const fn new(now: Instant) -> Self {
        Self { heard: now, answered: now }
    }

    /// Bytes arrived, whatever they are.
    pub(super) const fn handle_heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// A question was asked while none was open, or an answer got on.
    pub(super) const fn handle_progress(&mut self, now: Instant) {
        self.answered = now;
    }

    /// When to probe, if nothing is asked before.
    pub(super) fn probe_at(&self) -> Instant {
        self.heard + PROBE_AFTER
    }

    /// When the server must be taken for gone, if something is asked.
    pub(super) fn gone_at(&self) -> Instant {
        (self.heard.max(self.answered) + SILENCE).min(self.answered + ANSWER)
    }
}
