//! The course of one channel's deliveries: a value without I/O.
//!
//! It says what is to be done next, and is told what came of it. One letter at a time is under way, so that the backend
//! gets them in order; the next is not tried before the first was taken, or given up.

use std::collections::VecDeque;
use std::time::Duration;

use broker::{EntryKey, Waiting};

/// How many letters are read, and acknowledged, at a time. As many may be delivered again after a crash.
pub(super) const BATCH: u32 = 16;

/// After this many letters the channel goes to the end of the queue, so that a busy one does not keep others waiting.
const TURN: u32 = 128;

/// When to try again, and when not to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Policy {
    /// The longest rest after the first failure. It doubles with each.
    pub(super) first_rest: Duration,
    /// But no rest is longer than this.
    pub(super) longest_rest: Duration,
    /// After so many failures in a row a letter is given up.
    pub(super) attempts: u32,
}

/// What the backend made of a letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It has it.
    Taken,
    /// Not now. It may have asked for a rest.
    Later(String, Option<Duration>),
    /// Never.
    Never(String),
}

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Acknowledge these and read what comes next, then tell what was [found](Course::found).
    Advance(Vec<EntryKey>),
    /// Deliver this, then tell what was [answered](Course::answered).
    Deliver(Waiting),
    /// Put this among the dead, then tell whether it is [buried](Course::buried).
    Bury(Waiting, String),
    /// Acknowledge these and give the claim back for a while. This is the end.
    Rest {
        /// What the backend has.
        done: Vec<EntryKey>,
        /// For how long.
        rest: Duration,
        /// How often in a row the first letter failed.
        failures: u32,
    },
    /// Give the claim back: nothing waits. This is the end.
    Finish,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Reading,
    Delivering,
    Burying(String),
    Resting(Duration),
    Finished,
}

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Course {
    policy: Policy,
    failures: u32,
    waiting: VecDeque<Waiting>,
    done: Vec<EntryKey>,
    delivered: u32,
    stopping: bool,
    state: State,
}

impl Course {
    /// The course of a channel whose first letter failed so often before.
    pub(super) const fn new(policy: Policy, failures: u32) -> Self {
        Self {
            policy,
            failures,
            waiting: VecDeque::new(),
            done: Vec::new(),
            delivered: 0,
            stopping: false,
            state: State::Reading,
        }
    }

    /// What is to be done.
    pub(super) fn next(&mut self) -> Step {
        let first = self.waiting.front().cloned();
        match (&self.state, first) {
            (State::Resting(rest), _) => {
                Step::Rest { done: std::mem::take(&mut self.done), rest: *rest, failures: self.failures }
            }
            (State::Finished, _) => Step::Finish,
            (State::Burying(reason), Some(first)) => Step::Bury(first, reason.clone()),
            _ if self.stopping || self.delivered >= TURN => Step::Rest {
                done: std::mem::take(&mut self.done),
                rest: Duration::ZERO,
                failures: self.failures,
            },
            (State::Delivering, Some(first)) => Step::Deliver(first),
            (State::Reading, _) | (_, None) => Step::Advance(std::mem::take(&mut self.done)),
        }
    }

    /// What waits.
    pub(super) fn found(&mut self, waiting: Vec<Waiting>) {
        self.state = if waiting.is_empty() { State::Finished } else { State::Delivering };
        self.waiting = waiting.into();
    }

    /// What became of the letter. `chance` is drawn anew between 0 and 1.
    pub(super) fn answered(&mut self, answer: Answer, chance: f64) {
        match answer {
            Answer::Taken => {
                self.delivered += 1;
                self.done.extend(self.waiting.pop_front().map(|entry| entry.key));
                self.go_on();
            }
            Answer::Never(reason) => self.state = State::Burying(reason),
            Answer::Later(reason, asked) => {
                self.failures = self.failures.saturating_add(1);
                self.state = if self.failures >= self.policy.attempts {
                    State::Burying(reason)
                } else {
                    State::Resting(self.rest(asked, chance))
                };
            }
        }
    }

    /// Whether there was room for the letter among the dead. Where there is none, it goes on being tried.
    pub(super) fn buried(&mut self, buried: bool) {
        if buried {
            self.waiting.pop_front();
            self.go_on();
        } else {
            self.state = State::Resting(self.policy.longest_rest);
        }
    }

    /// Comes to an end as soon as the letter under way is settled.
    pub(super) const fn stop(&mut self) {
        self.stopping = true;
    }

    fn go_on(&mut self) {
        self.failures = 0;
        self.state = if self.waiting.is_empty() { State::Reading } else { State::Delivering };
    }

    /// Full jitter: those that failed together do not come back together. What the backend asked for is kept, within
    /// reason.
    fn rest(&self, asked: Option<Duration>, chance: f64) -> Duration {
        let doublings = self.failures.saturating_sub(1).min(31);
        let most = self.policy.first_rest.saturating_mul(1 << doublings).min(self.policy.longest_rest);
        let drawn = most.mul_f64(chance.clamp(0.0, 1.0));
        asked.map_or(drawn, |asked| drawn.max(asked.min(self.policy.longest_rest)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use broker::memory::{MemoryBroker, Store};
    use broker::{Broker, Outbox, Publish, Retention};
    use proto::{Channel, Durability, EventName, NodeId, Publication, Timestamp};

    const POLICY: Policy =
        Policy { first_rest: Duration::from_secs(1), longest_rest: Duration::from_secs(60), attempts: 5 };

    /// So many letters that wait.
    async fn letters(count: u32) -> Vec<Waiting> {
        let broker = MemoryBroker::new(&Store::new(), NodeId::new("test").unwrap());
        let room = Channel::parse("t/r/a").unwrap();
        for number in 0..count {
            let publication = Publication {
                event: EventName::new("said").unwrap(),
                data: serde_json::from_str(&number.to_string()).unwrap(),
                binary: proto::BinaryPlaces::default(),
                id: None,
                from: None,
                timestamp: Timestamp(0),
            };
            let retention =
                Some(Retention { size: 1, age: Duration::from_secs(9), durability: Durability::Memory });
            let publish = Publish { publication, retention, idempotency: None, outbox: Some(1000) };
            broker.publish(&room, publish).await.unwrap();
        }
        let claim = Outbox::claim(&broker, 1, Duration::from_secs(9)).await.unwrap().claims.remove(0);
        broker.advance(&claim, &[], 1000).await.unwrap()
    }

    fn keys(letters: &[Waiting]) -> Vec<EntryKey> {
        letters.iter().map(|letter| letter.key.clone()).collect()
    }

    fn later() -> Answer {
        Answer::Later("answered 500".to_owned(), None)
    }

    #[tokio::test]
    async fn letters_are_delivered_one_after_the_other_and_acknowledged_together() {
        let letters = letters(3).await;
        let mut course = Course::new(POLICY, 0);
        assert_eq!(course.next(), Step::Advance(vec![]));
        course.found(letters[..2].to_vec());
        for letter in &letters[..2] {
            assert_eq!(course.next(), Step::Deliver(letter.clone()));
            course.answered(Answer::Taken, 0.5);
        }
        assert_eq!(course.next(), Step::Advance(keys(&letters[..2])));
        course.found(letters[2..].to_vec());
        assert_eq!(course.next(), Step::Deliver(letters[2].clone()));
        course.answered(Answer::Taken, 0.5);
        assert_eq!(course.next(), Step::Advance(keys(&letters[2..])));
        course.found(Vec::new());
        assert_eq!(course.next(), Step::Finish);
    }

    #[tokio::test]
    async fn a_failure_lets_the_whole_channel_rest_and_acknowledges_what_was_taken() {
        let letters = letters(3).await;
        let mut course = Course::new(POLICY, 2);
        course.found(letters.clone());
        course.answered(Answer::Taken, 0.5);
        course.answered(later(), 0.5);
        let (done, rest) = (keys(&letters[..1]), Duration::from_millis(500));
        assert_eq!(course.next(), Step::Rest { done, rest, failures: 1 });
    }

    #[tokio::test]
    async fn rests_double_up_to_a_limit_and_are_drawn_from_all_of_it() {
        let letters = letters(1).await;
        let rest = |failures: u32, chance: f64, asked: Option<u64>| {
            let mut course = Course::new(Policy { attempts: u32::MAX, ..POLICY }, failures);
            course.found(letters.clone());
            let asked = asked.map(Duration::from_secs);
            course.answered(Answer::Later(String::new(), asked), chance);
            match course.next() {
                Step::Rest { rest, .. } => rest.as_secs_f64(),
                other => panic!("{other:?}"),
            }
        };
        let rests = [0, 1, 2, 5, 6, 1000, u32::MAX - 2].map(|failures| rest(failures, 1.0, None));
        assert_eq!(rests, [1.0, 2.0, 4.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!([rest(3, 0.0, None), rest(3, 0.25, None)], [0.0, 2.0]);
        assert_eq!(
            [rest(0, 1.0, Some(7)), rest(0, 1.0, Some(600)), rest(4, 1.0, Some(2))],
            [7.0, 60.0, 16.0]
        );
    }

    #[tokio::test]
    async fn a_letter_is_given_up_at_once_when_refused_and_else_after_its_attempts() {
        let letters = letters(3).await;
        let mut course = Course::new(POLICY, 3);
        course.found(letters.clone());
        course.answered(Answer::Never("answered 410".to_owned()), 0.5);
        assert_eq!(course.next(), Step::Bury(letters[0].clone(), "answered 410".to_owned()));
        course.buried(true);
        assert_eq!(course.next(), Step::Deliver(letters[1].clone()), "the failures were the first letter's");
        course.answered(later(), 0.5);
        assert!(matches!(course.next(), Step::Rest { failures: 1, .. }));

        let mut course = Course::new(POLICY, 4);
        course.found(letters.clone());
        course.answered(later(), 0.5);
        assert_eq!(course.next(), Step::Bury(letters[0].clone(), "answered 500".to_owned()));
        course.buried(false);
        let rest = Step::Rest { done: vec![], rest: POLICY.longest_rest, failures: 5 };
        assert_eq!(course.next(), rest, "with no room among the dead it waits");
    }

    #[tokio::test]
    async fn a_stop_waits_for_the_letter_under_way_and_gives_the_claim_back() {
        let letters = letters(3).await;
        let mut course = Course::new(POLICY, 0);
        course.found(letters.clone());
        assert_eq!(course.next(), Step::Deliver(letters[0].clone()));
        course.stop();
        course.answered(Answer::Taken, 0.5);
        let done = keys(&letters[..1]);
        assert_eq!(course.next(), Step::Rest { done, rest: Duration::ZERO, failures: 0 });
    }

    #[tokio::test]
    async fn a_busy_channel_lets_others_have_their_turn() {
        let letters = letters(BATCH).await;
        let mut course = Course::new(POLICY, 0);
        let mut delivered = 0;
        loop {
            match course.next() {
                Step::Advance(_) => course.found(letters.clone()),
                Step::Deliver(_) => {
                    delivered += 1;
                    course.answered(Answer::Taken, 0.5);
                }
                Step::Rest { rest, .. } => break assert_eq!((delivered, rest), (TURN, Duration::ZERO)),
                other => panic!("{other:?}"),
            }
        }
    }
}
