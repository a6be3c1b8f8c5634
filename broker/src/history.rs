//! Reading a channel's stream, and the verdict whether what was read continues a given position.

use bytes::Bytes;
use proto::{Position, Step};

use crate::chaos::{precedes, same};

/// What to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HistoryQuery {
    /// Only what came after this position; `None` reads from the oldest that is kept.
    pub after: Option<Position>,
    /// At most this many entries.
    pub limit: u32,
}

/// A stored publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its place.
    pub step: Step,
    /// The stored form of a [`proto::Publication`].
    pub payload: Bytes,
}

/// Whether entries continue the position that was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Continuity {
    /// The first entry comes right after it (or nothing came after it).
    Continuous,
    /// The stream no longer reaches back to it. The entries are the oldest kept ones.
    Trimmed,
    /// The stream began anew since. The entries are the oldest kept ones.
    Reset,
    /// Another publication stands at its place now: acknowledged writes were lost. The entries are those after its offset.
    Fork,
}

/// A part of a stream, contiguous and oldest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct History {
    /// The place after the last publication of the stream at the time of reading.
    pub top: Position,
    /// The entries.
    pub entries: Vec<Entry>,
    /// Whether they continue [`HistoryQuery::after`].
    pub continuity: Continuity,
}

impl History {
    /// Judges what was read from a stream.
    ///
    /// `read` holds the stream's entries from `after`'s own offset on, inclusive, oldest first (from the oldest kept one
    /// when there is no `after`, or when the epoch differs); it may hold one more than `limit`.
    pub fn judge(query: HistoryQuery, top: Position, mut read: Vec<Entry>) -> Self {
        let continuity = match query.after {
            None => Continuity::Continuous,
            Some(after) if after.epoch != top.epoch => Continuity::Reset,
            Some(after) => {
                let own = read.first().map(|entry| entry.step.position).filter(|p| p.offset == after.offset);
                if own.is_some() {
                    read.remove(0);
                }
                Self::verdict(after, own, top, read.first())
            }
        };
        read.truncate(query.limit as usize);
        Self { top, entries: read, continuity }
    }

    fn verdict(after: Position, own: Option<Position>, top: Position, next: Option<&Entry>) -> Continuity {
        if after.offset > top.offset || own.is_some_and(|own| !same(own, after)) {
            return Continuity::Fork;
        }
        if after.offset == top.offset {
            return if same(after, top) { Continuity::Continuous } else { Continuity::Fork };
        }
        match next {
            Some(next) if precedes(after, &next.step) => Continuity::Continuous,
            Some(next) if next.step.position.offset == after.offset + 1 => Continuity::Fork,
            _ => Continuity::Trimmed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Nonce};

    fn at(offset: u64, nonce: u64) -> Position {
        Position { epoch: Epoch(7), offset, nonce: Nonce(nonce) }
    }

    fn entry(offset: u64, nonce: u64, previous: u64) -> Entry {
        let step = Step { position: at(offset, nonce), previous: Nonce(previous) };
        Entry { step, payload: Bytes::new() }
    }

    fn judge(after: Position, top: Position, read: Vec<Entry>) -> (Continuity, Vec<u64>) {
        let history = History::judge(HistoryQuery { after: Some(after), limit: 10 }, top, read);
        (history.continuity, history.entries.iter().map(|entry| entry.step.position.offset).collect())
    }

    #[test]
    fn what_follows_the_own_entry_continues_it() {
        let read = vec![entry(4, 40, 30), entry(5, 50, 40)];
        assert_eq!(judge(at(4, 40), at(5, 50), read), (Continuity::Continuous, vec![5]));
        assert_eq!(judge(at(5, 50), at(5, 50), vec![entry(5, 50, 40)]), (Continuity::Continuous, vec![]));
    }

    #[test]
    fn a_trimmed_own_entry_is_no_gap_while_the_next_one_names_it() {
        assert_eq!(judge(at(4, 40), at(5, 50), vec![entry(5, 50, 40)]), (Continuity::Continuous, vec![5]));
        assert_eq!(judge(at(5, 50), at(5, 50), vec![]), (Continuity::Continuous, vec![]));
    }

    #[test]
    fn lost_writes_show_as_a_fork() {
        assert_eq!(judge(at(4, 41), at(5, 50), vec![entry(4, 40, 30), entry(5, 50, 40)]).0, Continuity::Fork);
        assert_eq!(judge(at(4, 41), at(5, 50), vec![entry(5, 50, 40)]).0, Continuity::Fork);
        assert_eq!(judge(at(9, 90), at(5, 50), vec![]).0, Continuity::Fork);
        assert_eq!(judge(at(5, 51), at(5, 50), vec![]).0, Continuity::Fork);
    }

    #[test]
    fn what_is_gone_is_trimmed_and_a_new_stream_is_a_reset() {
        assert_eq!(
            judge(at(2, 20), at(5, 50), vec![entry(4, 40, 30), entry(5, 50, 40)]).0,
            Continuity::Trimmed
        );
        assert_eq!(judge(at(2, 20), at(5, 50), vec![]).0, Continuity::Trimmed);
        let other = Position { epoch: Epoch(8), ..at(2, 20) };
        assert_eq!(judge(at(2, 20), other, vec![]).0, Continuity::Reset);
    }
}
