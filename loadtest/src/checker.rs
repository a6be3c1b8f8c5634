//! Proof that a receiver got everything, once, in order.
//!
//! A fast run that lost messages is worth nothing, so every receiver carries
//! a [`Checker`] and every round ends in a [`Tally`].

use std::fmt;

use serde::Serialize;

/// What went wrong, summed over receivers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Tally {
    /// Messages that arrived as they should.
    pub correct: u64,
    /// Messages that never arrived.
    pub lost: u64,
    /// Messages that arrived again.
    pub duplicates: u64,
    /// Messages that arrived after a later one.
    pub out_of_order: u64,
    /// Messages meant for somebody else.
    pub strangers: u64,
    /// Times that a receiver came back and could not go on where it was.
    pub unrecovered: u64,
}

impl Tally {
    /// Whether everything arrived, once, in order, where it belongs.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let Self { correct: _, lost, duplicates, out_of_order, strangers, unrecovered } = *self;
        [lost, duplicates, out_of_order, strangers, unrecovered].into_iter().all(|count| count == 0)
    }

    /// Adds another receiver's tally.
    pub fn add(&mut self, other: Self) {
        self.correct += other.correct;
        self.lost += other.lost;
        self.duplicates += other.duplicates;
        self.out_of_order += other.out_of_order;
        self.strangers += other.strangers;
        self.unrecovered += other.unrecovered;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { correct, lost, duplicates, out_of_order, strangers, unrecovered } = self;
        write!(
            f,
            "{correct} correct, {lost} lost, {duplicates} duplicates, \
             {out_of_order} out of order, {strangers} of somebody else"
        )?;
        // Only where receivers come back.
        if *unrecovered > 0 { write!(f, ", {unrecovered} times not recovered") } else { Ok(()) }
    }
}

/// One ordered stream of sequence numbers within those of the run.
#[derive(Debug)]
struct Lane {
    next: u64,
    /// Numbers that were passed over and may still come late.
    missing: Vec<u64>,
}

/// Follows the sequence numbers that one receiver sees.
///
/// Numbers of the run are dealt out to `stride` lanes in turn (number `n`
/// belongs to lane `n % stride`), and order is promised within a lane: that
/// is one publishing connection in a room, or one user among many. A receiver
/// listens to some consecutive lanes; a number of any other is a stranger's.
#[derive(Debug)]
pub struct Checker {
    stride: u64,
    first: u64,
    lanes: Vec<Lane>,
    tally: Tally,
}

impl Checker {
    /// Expects `count` lanes from `first` on, of `stride` (at least 1) in all.
    #[must_use]
    pub fn new(stride: u64, first: u64, count: u64) -> Self {
        let lanes = (first..first + count).map(|next| Lane { next, missing: Vec::new() });
        Self { stride: stride.max(1), first, lanes: lanes.collect(), tally: Tally::default() }
    }

    /// Takes the next number that arrived; says whether it is one that this
    /// receiver had not seen yet.
    pub fn saw(&mut self, number: u64) -> bool {
        let lane = (number % self.stride)
            .checked_sub(self.first)
            .and_then(|index| self.lanes.get_mut(usize::try_from(index).ok()?));
        let Some(lane) = lane else {
            self.tally.strangers += 1;
            return false;
        };
        if number >= lane.next {
            let skipped = (lane.next..number).step_by(usize::try_from(self.stride).unwrap_or(1));
            lane.missing.extend(skipped);
            lane.next = number + self.stride;
            self.tally.correct += 1;
            return true;
        }
        if let Some(late) = lane.missing.iter().position(|missing| *missing == number) {
            lane.missing.swap_remove(late);
            self.tally.out_of_order += 1;
            return true;
        }
        self.tally.duplicates += 1;
        false
    }

    /// The verdict, once nothing more is to come. `published` numbers were
    /// given out in the run, from 0.
    #[must_use]
    pub fn finish(&self, published: u64) -> Tally {
        let lost = self.lanes.iter().map(|lane| {
            let never_reached = published.saturating_sub(lane.next).div_ceil(self.stride);
            lane.missing.len() as u64 + never_reached
        });
        Tally { lost: lost.sum(), ..self.tally }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(checker: &mut Checker, numbers: &[u64], published: u64) -> Tally {
        for number in numbers {
            checker.saw(*number);
        }
        checker.finish(published)
    }

    #[test]
    fn everything_in_order_is_clean() {
        let verdict = tally(&mut Checker::new(1, 0, 1), &[0, 1, 2, 3], 4);
        assert!(verdict.is_clean());
        assert_eq!(verdict.correct, 4);
    }

    #[test]
    fn a_hole_and_a_missing_tail_are_losses() {
        assert_eq!(tally(&mut Checker::new(1, 0, 1), &[0, 3], 6).lost, 4);
    }

    #[test]
    fn a_repetition_is_a_duplicate() {
        let verdict = tally(&mut Checker::new(1, 0, 1), &[0, 1, 0, 1], 2);
        assert_eq!((verdict.duplicates, verdict.lost), (2, 0));
    }

    #[test]
    fn a_late_message_is_out_of_order_once_and_not_lost() {
        let verdict = tally(&mut Checker::new(1, 0, 1), &[0, 2, 1, 1], 3);
        assert_eq!((verdict.out_of_order, verdict.duplicates, verdict.lost), (1, 1, 0));
    }

    #[test]
    fn lanes_may_overtake_each_other() {
        let verdict = tally(&mut Checker::new(2, 0, 2), &[1, 3, 0, 5, 2, 4], 6);
        assert!(verdict.is_clean(), "{verdict}");
    }

    #[test]
    fn a_lane_that_never_spoke_is_lost_whole() {
        assert_eq!(tally(&mut Checker::new(2, 0, 2), &[0, 2, 4], 6).lost, 3);
    }

    #[test]
    fn a_receiver_of_one_lane_knows_a_stranger() {
        let verdict = tally(&mut Checker::new(5, 3, 1), &[3, 4, 8], 10);
        assert_eq!((verdict.strangers, verdict.correct, verdict.lost), (1, 2, 0));
    }
}
