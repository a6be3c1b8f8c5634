//! How delivery goes on from a place that a client has in a channel.

use broker::{Broker, Continuity, Entry, History, HistoryQuery, Unavailable};
use proto::{Channel, Epoch, GapReason, HistoryItem, Position, Publication};

/// See the module's documentation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Continuation {
    /// Where it goes on.
    pub(crate) at: Position,
    /// The gap to tell before, if that is elsewhere.
    pub(crate) gap: Option<GapReason>,
    /// What comes next, as far as it was read.
    pub(crate) entries: Vec<Entry>,
    /// The place after the last publication.
    pub(crate) top: Position,
}

impl Continuation {
    /// With all that came after `since`.
    ///
    /// After a fork nothing is delivered of what the stream holds: it cannot be told which of it the client has seen.
    pub(crate) fn of_all(since: Position, history: History) -> Self {
        let (at, gap) = judge(since, &history);
        let entries = if gap == Some(GapReason::Fork) { Vec::new() } else { history.entries };
        Self { at, gap, entries, top: history.top }
    }

    /// With the newest publication alone, if that is another than the one at `since`. What is left out is no gap. A gap is that the
    /// client's place is none of the stream any more, or that the newest is not kept.
    pub(crate) fn of_latest(since: Position, top: Position, newest: Option<Entry>) -> Self {
        let gap = if since == top {
            return Self { at: since, gap: None, entries: Vec::new(), top };
        } else if since.epoch != top.epoch {
            Some(GapReason::Reset)
        } else if since.offset >= top.offset {
            Some(GapReason::Fork)
        } else {
            newest.is_none().then_some(GapReason::Trimmed)
        };
        let before = newest.as_ref().map_or(top, |entry| entry.step.before());
        let at = gap.map_or(since, |_| before);
        Self { at, gap, entries: newest.into_iter().collect(), top }
    }
}

/// Where delivery goes on when a stream is followed from `since`, and the gap to tell if that is elsewhere.
pub(crate) fn judge(since: Position, history: &History) -> (Position, Option<GapReason>) {
    let oldest = history.entries.first().map_or(history.top, |entry| entry.step.before());
    match history.continuity {
        Continuity::Continuous => (since, None),
        Continuity::Trimmed => (oldest, Some(GapReason::Trimmed)),
        Continuity::Reset => (oldest, Some(GapReason::Reset)),
        Continuity::Fork => (history.top, Some(GapReason::Fork)),
    }
}

/// Reads what came after `since`: up to `limit` publications, or the newest alone where only that one matters.
pub(crate) async fn read(
    broker: &dyn Broker,
    channel: &Channel,
    since: Position,
    limit: u32,
    latest: bool,
) -> Result<Continuation, Unavailable> {
    if !latest {
        let query = HistoryQuery { after: Some(since), limit };
        return Ok(Continuation::of_all(since, broker.history(channel, query).await?));
    }
    let mut newest = broker.earlier(channel, None, 1).await?;
    if newest.top.epoch == Epoch(0) {
        // There is no stream; asked for its top it begins one.
        let tops = broker.tops(std::slice::from_ref(channel)).await?;
        newest.top = tops.first().copied().unwrap_or(newest.top);
    }
    Ok(Continuation::of_latest(since, newest.top, newest.entries.pop()))
}

/// Entries as clients are told of them, and the place after the last one, which is `at` if there is none.
pub(crate) fn items(channel: &Channel, entries: &[Entry], at: Position) -> (Vec<HistoryItem>, Position) {
    let items = entries.iter().filter_map(|entry| match Publication::decode(&entry.payload) {
        Ok(publication) => Some(HistoryItem { position: entry.step.position, publication }),
        Err(error) => {
            tracing::error!(%channel, %error, "a stored publication cannot be read");
            None
        }
    });
    (items.collect(), entries.last().map_or(at, |entry| entry.step.position))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use proto::{Nonce, Step};

    fn at(epoch: u64, offset: u64, nonce: u64) -> Position {
        Position { epoch: Epoch(epoch), offset, nonce: Nonce(nonce) }
    }

    fn entry(position: Position, previous: u64) -> Entry {
        Entry { step: Step { position, previous: Nonce(previous) }, payload: Bytes::new() }
    }

    fn latest(since: Position, newest: &Entry) -> (Position, Option<GapReason>, usize) {
        let top = newest.step.position;
        let Continuation { at, gap, entries, .. } = Continuation::of_latest(since, top, Some(newest.clone()));
        (at, gap, entries.len())
    }

    #[test]
    fn of_many_only_the_newest_comes_and_what_is_left_out_is_no_gap() {
        let newest = entry(at(7, 9, 90), 80);
        assert_eq!(latest(at(7, 3, 30), &newest), (at(7, 3, 30), None, 1));
        assert_eq!(latest(at(7, 9, 90), &newest), (at(7, 9, 90), None, 0), "nothing new");
    }

    #[test]
    fn a_place_that_the_stream_has_no_more_is_a_gap_and_the_newest_follows() {
        let newest = entry(at(7, 9, 90), 80);
        assert_eq!(latest(at(6, 3, 30), &newest), (at(7, 8, 80), Some(GapReason::Reset), 1));
        assert_eq!(latest(at(7, 9, 91), &newest), (at(7, 8, 80), Some(GapReason::Fork), 1));
        assert_eq!(latest(at(7, 12, 1), &newest), (at(7, 8, 80), Some(GapReason::Fork), 1));
    }

    #[test]
    fn a_newest_one_that_is_not_kept_is_a_gap() {
        let top = at(7, 9, 90);
        let gone = Continuation::of_latest(at(7, 3, 30), top, None);
        assert_eq!((gone.at, gone.gap, gone.entries.len()), (top, Some(GapReason::Trimmed), 0));
    }

    proptest! {
        /// A client that is behind again and again ends with the newest one, or knows that it is not there.
        #[test]
        fn who_comes_back_however_often_stands_at_the_top(
            steps in prop::collection::vec((1..4u64, any::<bool>(), any::<bool>()), 1..40),
        ) {
            let (mut client, mut top, mut nonce) = (at(1, 0, 0), at(1, 0, 0), 0);
            for (count, forgets, kept) in steps {
                let mut previous = top.nonce;
                if forgets {
                    // Lost writes, or a new stream.
                    top = if kept { at(top.epoch.0, top.offset / 2, 1000 + nonce) } else { at(top.epoch.0 + 1, 0, 0) };
                }
                for _ in 0..count {
                    nonce += 1;
                    previous = top.nonce;
                    top = at(top.epoch.0, top.offset + 1, nonce);
                }
                let newest = kept.then(|| entry(top, previous.0));
                let next = Continuation::of_latest(client, top, newest);
                if next.gap.is_none() {
                    prop_assert_eq!(next.at, client, "it goes on from where the client is");
                    prop_assert!(next.entries.iter().all(|entry| entry.step.position.offset > client.offset));
                }
                client = next.entries.last().map_or(next.at, |entry| entry.step.position);
                prop_assert_eq!(client, top);
            }
        }
    }
}
