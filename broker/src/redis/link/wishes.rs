//! What is wished, handed from those who wish to the task that makes it true.
//!
//! A queue of changes would have no bound while Redis is away. This keeps one entry for each channel that is wished or was
//! taken note of, however often a wish changed in between.

use std::collections::{HashMap, HashSet};

use parking_lot::Mutex;
use proto::Channel;
use tokio::sync::Notify;

/// A change for the task to carry out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// Wanted, or wanted anew after it was not for a moment.
    Want,
    /// Wanted no more.
    Forget,
    /// Wanted no more here: another connection takes it over.
    HandOver,
}

/// Where a channel stands between the two sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Wanted; the task does not know yet.
    New,
    /// Wanted, and the task knows.
    Known,
    /// The task knows it as wanted; it was given up and is wanted again.
    Again,
    /// The task knows it as wanted; it is no more.
    Over(Wish),
}

/// Wishes with one taker.
#[derive(Default)]
pub(super) struct Wishes {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    standing: HashMap<Channel, Standing>,
    changed: HashSet<Channel>,
    /// Taken as over, and not carried out yet.
    settling: HashSet<Channel>,
}

impl Wishes {
    /// The channel is wanted.
    pub(super) fn want(&self, channel: &Channel) {
        let state = &mut *self.state.lock();
        let next = match state.standing.get(channel) {
            None => Standing::New,
            Some(Standing::Over(_)) => Standing::Again,
            Some(Standing::New | Standing::Known | Standing::Again) => return,
        };
        state.standing.insert(channel.clone(), next);
        state.changed.insert(channel.clone());
        self.changed.notify_one();
    }

    /// It is wanted no more.
    pub(super) fn forget(&self, channel: &Channel) {
        self.end(channel, Wish::Forget);
    }

    /// It is wanted no more here.
    pub(super) fn hand_over(&self, channel: &Channel) {
        self.end(channel, Wish::HandOver);
    }

    fn end(&self, channel: &Channel, wish: Wish) {
        let state = &mut *self.state.lock();
        match state.standing.get_mut(channel) {
            None | Some(Standing::Over(_)) => {}
            Some(Standing::New) => {
                state.standing.remove(channel);
                state.changed.remove(channel);
            }
            Some(standing) => {
                *standing = Standing::Over(wish);
                state.changed.insert(channel.clone());
                self.changed.notify_one();
            }
        }
    }

    /// Returns when there may be something to [`take`](Self::take). Safe to drop and call again.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// What changed since the last time. Once it is carried out, [`settle`](Self::settle).
    pub(super) fn take(&self) -> Vec<(Channel, Wish)> {
        let state = &mut *self.state.lock();
        let mut taken = Vec::with_capacity(state.changed.len());
        for channel in state.changed.drain() {
            let wish = match state.standing.get_mut(&channel) {
                None | Some(Standing::Known) => continue,
                Some(Standing::Over(wish)) => {
                    let wish = *wish;
                    state.standing.remove(&channel);
                    state.settling.insert(channel.clone());
                    wish
                }
                Some(standing) => {
                    *standing = Standing::Known;
                    Wish::Want
                }
            };
            taken.push((channel, wish));
        }
        taken
    }

    /// What was taken is carried out. True if it ended something.
    pub(super) fn settle(&self) -> bool {
        let mut state = self.state.lock();
        let ended = !state.settling.is_empty();
        state.settling.clear();
        ended
    }

    /// Whether the taker may still act for this channel.
    pub(super) fn concern(&self, channel: &Channel) -> bool {
        let state = self.state.lock();
        state.standing.contains_key(channel) || state.settling.contains(channel)
    }

    /// Whether the taker has nothing to act for.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.state.lock();
        state.standing.is_empty() && state.settling.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(name: &str) -> Channel {
        Channel::parse(&format!("t/r/{name}")).unwrap()
    }

    fn taken(wishes: &Wishes) -> Vec<(String, Wish)> {
        let mut taken: Vec<_> =
            wishes.take().into_iter().map(|(channel, wish)| (channel.name().to_owned(), wish)).collect();
        taken.sort_by(|a, b| a.0.cmp(&b.0));
        taken
    }

    #[test]
    fn only_changes_are_taken() {
        let wishes = Wishes::default();
        wishes.want(&channel("a"));
        wishes.want(&channel("a"));
        assert_eq!(taken(&wishes), [("a".to_owned(), Wish::Want)]);
        wishes.want(&channel("a"));
        assert_eq!(taken(&wishes), []);
        wishes.forget(&channel("a"));
        assert_eq!(taken(&wishes), [("a".to_owned(), Wish::Forget)]);
    }

    #[test]
    fn a_wish_given_up_and_made_again_is_made_anew() {
        let wishes = Wishes::default();
        wishes.want(&channel("a"));
        assert_eq!(taken(&wishes).len(), 1);
        wishes.forget(&channel("a"));
        wishes.want(&channel("a"));
        assert_eq!(taken(&wishes), [("a".to_owned(), Wish::Want)]);
    }

    #[test]
    fn what_was_never_taken_leaves_nothing_behind() {
        let wishes = Wishes::default();
        for at in 0..1000 {
            wishes.want(&channel(&format!("c{at}")));
            wishes.forget(&channel(&format!("c{at}")));
        }
        assert!(wishes.is_empty());
        assert!(wishes.state.lock().changed.is_empty());
        assert_eq!(taken(&wishes), []);
    }

    #[test]
    fn a_channel_is_of_concern_until_its_end_is_carried_out() {
        let wishes = Wishes::default();
        let a = channel("a");
        wishes.want(&channel("a"));
        wishes.take();
        assert!(!wishes.settle());
        wishes.hand_over(&channel("a"));
        assert!(wishes.concern(&a));
        assert_eq!(taken(&wishes), [("a".to_owned(), Wish::HandOver)]);
        assert!(wishes.concern(&a));
        assert!(wishes.settle());
        assert!(!wishes.concern(&a) && wishes.is_empty());
    }

    #[tokio::test]
    async fn a_change_made_before_is_not_slept_through() {
        let wishes = Wishes::default();
        wishes.want(&channel("a"));
        tokio::time::timeout(std::time::Duration::from_secs(5), wishes.changed()).await.unwrap();
    }
}
