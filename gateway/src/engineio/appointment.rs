//! When a session wants to be called: what it and the [agenda](super::agenda) agreed on.

use std::time::Instant;

/// See the module's documentation. Kept with the session and changed under the agenda's lock.
#[derive(Debug, Default)]
pub(super) struct Appointment {
    /// When the session wants to be called.
    wanted: Option<Instant>,
    /// Where it stands in the agenda.
    noted: Option<Instant>,
}

/// What became of an entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// An earlier one stands for the session.
    Overtaken,
    /// The session wants to be called later.
    Moved(Instant),
    /// The session is to be called.
    Due,
}

impl Appointment {
    /// The session wants to be called at that moment, instead of any before. Answers whether it needs an entry there: an
    /// earlier one serves as well, since it is moved when its moment comes.
    pub(super) fn want(&mut self, at: Instant) -> bool {
        self.wanted = Some(at);
        let is_sooner = self.noted.is_none_or(|noted| at < noted);
        if is_sooner {
            self.noted = Some(at);
        }
        is_sooner
    }

    /// The moment of an entry has come. Answers to when it is to be moved, if it is still needed.
    pub(super) fn keep(&mut self, at: Instant, now: Instant) -> Kept {
        if self.noted != Some(at) {
            return Kept::Overtaken;
        }
        match self.wanted {
            Some(wanted) if wanted > now => {
                self.noted = Some(wanted);
                Kept::Moved(wanted)
            }
            _ => {
                self.noted = None;
                Kept::Due
            }
        }
    }
}
