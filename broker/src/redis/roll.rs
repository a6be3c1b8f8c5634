//! Two registers of presence, as values: what this node holds, and which other nodes live.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use proto::{Channel, UserId};

/// What this node wants to be noted in Redis. It is noted again from time to time, and after Redis forgot.
#[derive(Default)]
pub(super) struct Roll {
    channels: HashMap<Channel, HashMap<UserId, Wish>>,
    due: VecDeque<Channel>,
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
        self.channels.entry(channel.clone()).or_default().insert(user.clone(), wish);
    }

    /// The note about a user is gone. A wish for absence has served; a newer one for presence is due.
    pub(super) fn removed(&mut self, channel: &Channel, user: &UserId) {
        let Some(users) = self.channels.get_mut(channel) else { return };
        match users.get(user) {
            Some(Wish::Absent) => drop(users.remove(user)),
            Some(Wish::Present(_)) => self.due.push_front(channel.clone()),
            None => {}
        }
        if users.is_empty() {
            self.channels.remove(channel);
        }
    }

    /// What should be noted about the user.
    pub(super) fn entry(&self, channel: &Channel, user: &UserId) -> Option<String> {
        match self.channels.get(channel)?.get(user)? {
            Wish::Present(entry) => Some(entry.clone()),
            Wish::Absent => None,
        }
    }

    /// No note stands any more: absences are true, and every channel is due.
    pub(super) fn begin_anew(&mut self) {
        self.channels.retain(|_, users| {
            users.retain(|_, wish| *wish != Wish::Absent);
            !users.is_empty()
        });
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
        let wishes =
            self.channels.get(&channel)?.iter().map(|(user, wish)| (user.clone(), wish.clone())).collect();
        Some((channel, wishes))
    }
}

/// Which nodes live, as far as was seen lately.
#[derive(Default)]
pub(super) struct Nodes {
    seen: HashMap<String, Sight>,
}

#[derive(Clone, Copy)]
struct Sight {
    alive: bool,
    until: Instant,
    /// Since when it was never seen alive.
    dead_since: Option<Instant>,
}

/// For this long a node is believed to be as it was last seen.
const BELIEF: Duration = Duration::from_millis(250);

/// A node that was dead for this long does not come back; its notes may be removed. Longer than a node needs to
/// find out that its lease was lost and to note everything anew.
const BURIAL: Duration = Duration::from_secs(60);

/// Names come from Redis: forget old ones rather than keep any number.
const MANY: usize = 4096;

impl Nodes {
    /// Whether the node lives; `None` if that must be looked up.
    pub(super) fn alive(&self, node: &str, now: Instant) -> Option<bool> {
        self.seen.get(node).filter(|sight| now < sight.until).map(|sight| sight.alive)
    }

    /// Notes what was looked up: how long the node's lease still lasts, if it has one.
    pub(super) fn saw(&mut self, node: &str, lease: Option<Duration>, now: Instant) {
        if self.seen.len() >= MANY {
            self.seen.retain(|_, sight| now < sight.until + BURIAL);
        }
        let before = self.seen.get(node).and_then(|sight| sight.dead_since);
        let sight = match lease {
            Some(left) => Sight { alive: true, until: now + left.min(BELIEF), dead_since: None },
            None => Sight { alive: false, until: now + BELIEF, dead_since: Some(before.unwrap_or(now)) },
        };
        self.seen.insert(node.to_owned(), sight);
    }

    /// Whether the node was dead for long.
    pub(super) fn buried(&self, node: &str, now: Instant) -> bool {
        let since = self.seen.get(node).and_then(|sight| sight.dead_since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= BURIAL)
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
        assert!(roll.take_due(1).is_empty());
    }

    #[test]
    fn a_new_life_owes_no_absence() {
        let (mut roll, user) = (Roll::default(), UserId::new("u").unwrap());
        roll.wish(&room("a"), &user, present());
        roll.wish(&room("b"), &user, Wish::Absent);
        assert_eq!(roll.entry(&room("a"), &user).as_deref(), Some("{}"));
        assert_eq!(roll.entry(&room("b"), &user), None);
        roll.begin_anew();
        assert_eq!(roll.take_due(1), vec![(room("a"), vec![(user.clone(), present())])]);
        assert_eq!(roll.channels.len(), 1);
    }

    #[test]
    fn a_node_is_believed_briefly_and_never_past_its_lease() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        assert_eq!(nodes.alive("a", start), None);
        nodes.saw("a", Some(Duration::from_secs(9)), start);
        nodes.saw("b", Some(Duration::from_millis(20)), start);
        let later = start + Duration::from_millis(30);
        assert_eq!((nodes.alive("a", later), nodes.alive("b", later)), (Some(true), None));
        assert_eq!(nodes.alive("a", start + BELIEF), None);
    }

    #[test]
    fn only_a_long_death_is_final() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        nodes.saw("a", None, start);
        nodes.saw("a", None, start + BURIAL / 2);
        assert!(!nodes.buried("a", start + BURIAL / 2));
        assert!(nodes.buried("a", start + BURIAL));
        nodes.saw("a", Some(Duration::from_secs(9)), start + BURIAL);
        assert!(!nodes.buried("a", start + BURIAL * 3));
    }
}
