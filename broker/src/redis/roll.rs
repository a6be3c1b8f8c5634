//! What this node holds, as a value.

use std::collections::{HashMap, VecDeque};

use proto::{Channel, UserId};

/// What this node wants to be noted in Redis. It is noted again from time to time, and after Redis forgot.
#[derive(Default)]
pub(super) struct Roll {
    channels: HashMap<Channel, Page>,
    due: VecDeque<Channel>,
    /// Channels that became empty, to be taken out of the index.
    emptied: Vec<Channel>,
}

/// What is wished about one channel. It stays when it is empty, until the channel is out of the index.
#[derive(Default)]
struct Page {
    users: HashMap<UserId, Wish>,
    /// Whether others will find the channel among those that this node had users in.
    indexed: bool,
    /// How much may wait in the outbox of a channel whose backend is told of this.
    reported: Option<u32>,
}

/// What should be noted about a user in a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wish {
    /// That the user is there, with this entry.
    Present(String),
    /// Nothing; the note may still stand.
    Absent,
}

impl Roll {
    /// Wishes something for a user in a channel.
    pub(super) fn wish(&mut self, channel: &Channel, user: &UserId, wish: Wish) {
        self.channels.entry(channel.clone()).or_default().users.insert(user.clone(), wish);
    }

    /// Whether the backend is told who is in the channel, where so much may wait in the outbox.
    pub(super) fn report(&mut self, channel: &Channel, outbox: Option<u32>) {
        if let Some(page) = self.channels.get_mut(channel) {
            page.reported = outbox;
        }
    }

    /// What was said of that last.
    pub(super) fn reported(&self, channel: &Channel) -> Option<u32> {
        self.channels.get(channel)?.reported
    }

    /// Whether the channel is in the index.
    pub(super) fn is_indexed(&self, channel: &Channel) -> bool {
        self.channels.get(channel).is_some_and(|page| page.indexed)
    }

    /// The channel is in the index from now on.
    pub(super) fn indexed(&mut self, channel: &Channel) {
        if let Some(page) = self.channels.get_mut(channel) {
            page.indexed = true;
        }
    }

    /// Whether anything is wished about the channel.
    pub(super) fn knows(&self, channel: &Channel) -> bool {
        self.channels.contains_key(channel)
    }

    /// Takes the channels that nothing is wished about any more, to be taken out of the index.
    pub(super) fn take_emptied(&mut self) -> Vec<Channel> {
        let mut emptied = std::mem::take(&mut self.emptied);
        emptied.retain(|channel| {
            let empty = self.channels.get(channel).is_some_and(|page| page.users.is_empty());
            if empty {
                self.channels.remove(channel);
            }
            empty
        });
        emptied
    }

    /// The note about a user is gone. A wish for absence has served; a newer one for presence is due.
    pub(super) fn removed(&mut self, channel: &Channel, user: &UserId) {
        let Some(Page { users, .. }) = self.channels.get_mut(channel) else { return };
        match users.get(user) {
            Some(Wish::Absent) => {
                users.remove(user);
                if users.is_empty() {
                    self.emptied.push(channel.clone());
                }
            }
            Some(Wish::Present(_)) => self.due.push_front(channel.clone()),
            None => {}
        }
    }

    /// What should be noted about the user.
    pub(super) fn entry(&self, channel: &Channel, user: &UserId) -> Option<String> {
        match self.channels.get(channel)?.users.get(user)? {
            Wish::Present(entry) => Some(entry.clone()),
            Wish::Absent => None,
        }
    }

    /// No note counts any more: every channel is due, and none is in the index of the new life.
    pub(super) fn begin_anew(&mut self) {
        self.channels.values_mut().for_each(|page| page.indexed = false);
        self.all_due();
    }

    /// Makes every channel due.
    pub(super) fn all_due(&mut self) {
        self.due = self.channels.keys().cloned().collect();
    }

    /// Takes the channels whose turn it is, where every channel has one turn in `rounds`.
    pub(super) fn take_due(&mut self, rounds: usize) -> Vec<(Channel, Vec<(UserId, Wish)>)> {
        if self.due.is_empty() {
            self.all_due();
        }
        let turn = self.channels.len().max(self.due.len()).div_ceil(rounds.max(1));
        let turn = self.due.drain(..turn.min(self.due.len())).collect::<Vec<_>>();
        turn.into_iter().filter_map(|channel| self.wishes(channel)).collect()
    }

    fn wishes(&self, channel: Channel) -> Option<(Channel, Vec<(UserId, Wish)>)> {
        let wishes = self
            .channels
            .get(&channel)?
            .users
            .iter()
            .map(|(user, wish)| (user.clone(), wish.clone()))
            .collect();
        Some((channel, wishes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Room, Tenant};

    fn room(name: &str) -> Channel {
        Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
    }

    fn present() -> Wish {
        Wish::Present("{}".to_owned())
    }

    #[test]
    fn every_channel_has_its_turn() {
        let (mut roll, user) = (Roll::default(), UserId::new("u").unwrap());
        for at in 0..10 {
            roll.wish(&room(&at.to_string()), &user, present());
        }
        let mut turns = (0..4).flat_map(|_| roll.take_due(4)).map(|(channel, _)| channel).collect::<Vec<_>>();
        turns.sort();
        turns.dedup();
        assert_eq!(turns.len(), 10);
        assert!(Roll::default().take_due(4).is_empty());
    }

    #[test]
    fn an_absence_is_wished_until_it_is_true() {
        let (mut roll, user) = (Roll::default(), UserId::new("u").unwrap());
        roll.wish(&room("a"), &user, present());
        roll.removed(&room("a"), &user);
        assert_eq!(roll.due, [room("a")]);
        assert_eq!(roll.take_due(1), vec![(room("a"), vec![(user.clone(), present())])]);
        roll.wish(&room("a"), &user, Wish::Absent);
        assert_eq!(roll.take_due(1), vec![(room("a"), vec![(user.clone(), Wish::Absent)])]);
        roll.removed(&room("a"), &user);
        assert_eq!(roll.take_due(1), vec![(room("a"), vec![])]);
        assert_eq!(roll.take_emptied(), [room("a")]);
        assert!(roll.take_due(1).is_empty() && !roll.knows(&room("a")));
    }

    #[test]
    fn who_comes_back_keeps_the_channel_in_the_index() {
        let (mut roll, user) = (Roll::default(), UserId::new("u").unwrap());
        roll.wish(&room("a"), &user, present());
        roll.indexed(&room("a"));
        roll.wish(&room("a"), &user, Wish::Absent);
        roll.removed(&room("a"), &user);
        roll.wish(&room("a"), &user, present());
        assert!(roll.take_emptied().is_empty() && roll.is_indexed(&room("a")));
        roll.wish(&room("a"), &user, Wish::Absent);
        roll.removed(&room("a"), &user);
        assert_eq!(roll.take_emptied(), [room("a")]);
        assert!(!roll.is_indexed(&room("a")));
    }

    #[test]
    fn a_new_life_notes_everything_anew() {
        let (mut roll, user) = (Roll::default(), UserId::new("u").unwrap());
        roll.wish(&room("a"), &user, present());
        roll.wish(&room("b"), &user, Wish::Absent);
        assert_eq!(roll.entry(&room("a"), &user).as_deref(), Some("{}"));
        assert_eq!(roll.entry(&room("b"), &user), None);
        roll.indexed(&room("a"));
        roll.begin_anew();
        assert!(!roll.is_indexed(&room("a")));
        let mut due = roll.take_due(1);
        due.sort_by(|(one, _), (other, _)| one.cmp(other));
        // What an earlier life noted is looked after there too.
        let absent = (room("b"), vec![(user.clone(), Wish::Absent)]);
        assert_eq!(due, vec![(room("a"), vec![(user.clone(), present())]), absent]);
    }
}
