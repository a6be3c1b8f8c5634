//! How far one device has got in its user's channel: what it was sent, and what it is known to have.
//!
//! That something was written to a socket proves nothing. So the client is asked, behind what it was sent, for a sign of
//! life that names the question: its answer proves all that came before. A value without I/O and without a clock; to ask costs
//! something, so it is done once a second at most.

use std::time::Duration;

use broker::Reached;
use proto::{Channel, DeviceId, Position};
use smallvec::SmallVec;

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Progress {
    user: Channel,
    device: DeviceId,
    /// For how long it is to be remembered.
    life: Duration,
    /// Up to here everything is queued.
    sent: Position,
    /// Up to here the device is known to have everything.
    proven: Option<Position>,
    /// The questions that are not answered yet, with what their answers prove: one, and perhaps a last one.
    questions: SmallVec<[(u32, Position); 1]>,
    /// The number of the last question, and the second in which it was asked.
    last: (u32, Option<u32>),
    /// The next second is waited for, to ask again.
    waits: bool,
}

/// What to do for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Ask, with this number.
    Now(u32),
    /// Look again when the second is over.
    Soon,
    /// Nothing.
    Not,
}

impl Progress {
    /// A device that is known to have everything up to `proven`, and is sent what comes after `sent`.
    pub(crate) fn new(
        user: Channel,
        device: DeviceId,
        life: Duration,
        proven: Option<Position>,
        sent: Position,
    ) -> Self {
        Self { user, device, life, sent, proven, questions: SmallVec::new(), last: (0, None), waits: false }
    }

    /// For how long it is to be remembered.
    pub(crate) const fn life(&self) -> Duration {
        self.life
    }

    /// The device was sent all of a channel up to a position, or needs nothing of it. Answers whether to ask.
    pub(crate) fn sent(&mut self, channel: &Channel, to: Position) -> bool {
        if *channel != self.user {
            return false;
        }
        self.sent = to;
        self.questions.is_empty() && !self.waits
    }

    /// Whether to ask in this second.
    pub(crate) fn ask(&mut self, second: u32) -> Ask {
        if !self.questions.is_empty() || self.proven == Some(self.sent) {
            return Ask::Not;
        }
        if self.last.1 != Some(second) {
            self.waits = false;
            self.ask_last(second).map_or(Ask::Not, Ask::Now)
        } else if std::mem::replace(&mut self.waits, true) {
            Ask::Not
        } else {
            Ask::Soon
        }
    }

    /// The number of a question to be asked before the end, whatever was asked before.
    pub(crate) fn ask_last(&mut self, second: u32) -> Option<u32> {
        let is_asked = self.questions.last().is_some_and(|(_, position)| *position == self.sent);
        if is_asked || self.proven == Some(self.sent) {
            return None;
        }
        let number = self.last.0.wrapping_add(1);
        self.last = (number, Some(second));
        self.questions.push((number, self.sent));
        Some(number)
    }

    /// A question was answered. Gives how far the device has got, if it was one that is open.
    pub(crate) fn answered(&mut self, number: u32) -> Option<Reached> {
        let at = self.questions.iter().position(|(asked, _)| *asked == number)?;
        self.proven = self.questions.drain(..=at).next_back().map(|(_, position)| position);
        self.reached()
    }

    /// How far the device is known to have got.
    pub(crate) fn reached(&self) -> Option<Reached> {
        let (user, device) = (self.user.clone(), self.device.clone());
        self.proven.map(|position| Reached { user, device, position, life: self.life })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Nonce, Tenant, UserId};

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(9), offset, nonce: Nonce(offset) }
    }

    fn user(name: &str) -> Channel {
        Channel::user(&Tenant::new("t").unwrap(), &UserId::new(name).unwrap())
    }

    fn progress(proven: Option<u64>, sent: u64) -> Progress {
        let device = DeviceId::new("phone").unwrap();
        Progress::new(user("ann"), device, Duration::from_secs(60), proven.map(at), at(sent))
    }

    fn position(reached: Option<Reached>) -> Option<u64> {
        reached.map(|reached| reached.position.offset)
    }

    #[test]
    fn an_answer_proves_what_was_sent_before_its_question_and_no_more() {
        let mut progress = progress(Some(3), 3);
        assert_eq!(progress.ask(1), Ask::Not, "there is nothing to prove");
        assert!(progress.sent(&user("ann"), at(4)));
        assert_eq!(progress.ask(1), Ask::Now(1));
        assert!(!progress.sent(&user("ann"), at(5)), "one question at a time");
        assert_eq!(progress.ask(2), Ask::Not);
        assert_eq!(position(progress.reached()), Some(3));
        assert_eq!(position(progress.answered(1)), Some(4));
        assert_eq!(progress.ask(2), Ask::Now(2));
        assert_eq!(position(progress.answered(2)), Some(5));
        assert_eq!(progress.ask(3), Ask::Not);
    }

    #[test]
    fn what_was_not_asked_is_not_answered() {
        let mut progress = progress(Some(3), 3);
        for number in [0, 1, 7] {
            assert_eq!(progress.answered(number), None);
        }
        progress.sent(&user("ann"), at(4));
        assert_eq!(progress.ask(1), Ask::Now(1));
        assert_eq!(progress.answered(2), None);
        assert_eq!(position(progress.answered(1)), Some(4));
        assert_eq!(progress.answered(1), None, "once");
    }

    #[test]
    fn a_device_is_asked_once_a_second() {
        let mut progress = progress(Some(3), 3);
        progress.sent(&user("ann"), at(4));
        assert_eq!(progress.ask(1), Ask::Now(1));
        progress.answered(1);
        assert!(progress.sent(&user("ann"), at(5)));
        assert_eq!(progress.ask(1), Ask::Soon);
        assert_eq!(progress.ask(1), Ask::Not, "somebody looks already");
        assert!(!progress.sent(&user("ann"), at(6)));
        assert_eq!(progress.ask(2), Ask::Now(2));
        assert_eq!(position(progress.answered(2)), Some(6));
        assert!(progress.sent(&user("ann"), at(7)));
    }

    #[test]
    fn a_last_question_waits_for_no_answer() {
        let mut progress = progress(Some(3), 3);
        assert_eq!(progress.ask_last(1), None);
        progress.sent(&user("ann"), at(4));
        assert_eq!(progress.ask(1), Ask::Now(1));
        assert_eq!(progress.ask_last(1), None, "it is asked already");
        progress.sent(&user("ann"), at(5));
        assert_eq!(progress.ask_last(1), Some(2));
        assert_eq!(position(progress.answered(1)), Some(4));
        assert_eq!(position(progress.answered(2)), Some(5));
    }

    #[test]
    fn a_device_of_which_nothing_is_known_has_nothing_until_it_answers() {
        let mut progress = progress(None, 3);
        assert_eq!(progress.reached(), None);
        assert_eq!(progress.ask(1), Ask::Now(1));
        assert_eq!(position(progress.answered(1)), Some(3));
    }

    #[test]
    fn other_channels_do_not_count() {
        let mut progress = progress(Some(3), 3);
        assert!(!progress.sent(&user("bob"), at(9)));
        assert_eq!(progress.ask(1), Ask::Not);
    }
}
