//! The channels of one connection, and where each stands.
//!
//! Those that wait for something stand in a queue as well. They enter and leave it by their state alone, so that the two
//! cannot disagree.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use proto::Channel;

/// A channel as Redis knows it.
pub(super) type Name = Arc<[u8]>;

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// To be asked for.
    Queued,
    /// To be asked for in a smaller group, after a larger one was refused.
    Split,
    /// Asked for.
    Asked { wanted: bool },
    /// Confirmed.
    On,
    /// Confirmed, no longer wanted.
    Leaving,
    /// Asked to end.
    Quitting { wanted: bool },
    /// To be asked for again at that time.
    Refused { until: Instant },
}

struct Entry {
    channel: Channel,
    slot: u16,
    state: State,
}

/// See the module's documentation.
#[derive(Default)]
pub(super) struct Channels {
    entries: HashMap<Name, Entry>,
    queued: BTreeSet<(u16, Name)>,
    leaving: BTreeSet<(u16, Name)>,
    refused: BTreeSet<(Instant, Name)>,
    on: usize,
}

impl Channels {
    /// How many are confirmed and wanted.
    pub(super) const fn on(&self) -> usize {
        self.on
    }

    /// How many there are, and how many of them stand in a queue.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> (usize, usize) {
        (self.entries.len(), self.queued.len() + self.leaving.len() + self.refused.len())
    }

    /// A channel by its name.
    pub(super) fn get(&self, name: &[u8]) -> Option<(&Channel, State)> {
        self.entries.get(name).map(|entry| (&entry.channel, entry.state))
    }

    /// Where a channel stands.
    pub(super) fn state(&self, name: &[u8]) -> Option<State> {
        self.entries.get(name).map(|entry| entry.state)
    }

    /// One more, to be asked for.
    pub(super) fn add(&mut self, name: Name, channel: Channel, slot: u16) {
        self.queued.insert((slot, Arc::clone(&name)));
        self.entries.insert(name, Entry { channel, slot, state: State::Queued });
    }

    /// A channel stands there from here on, if it is known.
    pub(super) fn set(&mut self, name: &Name, state: State) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        let (slot, before) = (entry.slot, std::mem::replace(&mut entry.state, state));
        self.dequeue(name, slot, before);
        match state {
            State::Queued => _ = self.queued.insert((slot, Arc::clone(name))),
            State::Leaving => _ = self.leaving.insert((slot, Arc::clone(name))),
            State::Refused { until } => _ = self.refused.insert((until, Arc::clone(name))),
            State::On => self.on += 1,
            State::Split | State::Asked { .. } | State::Quitting { .. } => {}
        }
    }

    /// A channel is none of the connection's any more.
    pub(super) fn remove(&mut self, name: &Name) {
        if let Some(entry) = self.entries.remove(name) {
            self.dequeue(name, entry.slot, entry.state);
        }
    }

    fn dequeue(&mut self, name: &Name, slot: u16, state: State) {
        match state {
            State::Queued => _ = self.queued.remove(&(slot, Arc::clone(name))),
            State::Leaving => _ = self.leaving.remove(&(slot, Arc::clone(name))),
            State::Refused { until } => _ = self.refused.remove(&(until, Arc::clone(name))),
            State::On => self.on -= 1,
            State::Split | State::Asked { .. } | State::Quitting { .. } => {}
        }
    }

    /// Up to `most` of one slot that are to be asked for.
    pub(super) fn to_join(&self, most: usize) -> Vec<Name> {
        of_one_slot(&self.queued, most)
    }

    /// Up to `most` of one slot that are to be ended.
    pub(super) fn to_leave(&self, most: usize) -> Vec<Name> {
        of_one_slot(&self.leaving, most)
    }

    /// When the next of those is to be asked for again that were refused.
    pub(super) fn retry_at(&self) -> Option<Instant> {
        self.refused.first().map(|(until, _)| *until)
    }

    /// Those are to be asked for again whose time has come.
    pub(super) fn retry(&mut self, now: Instant) {
        while self.retry_at().is_some_and(|until| until <= now) {
            if let Some((_, name)) = self.refused.pop_first() {
                self.set(&name, State::Queued);
            }
        }
    }

    /// The connection is gone: what is wanted is to be asked for again. Tells which were in force.
    pub(super) fn lose(&mut self, mut interrupted: impl FnMut(&Channel)) {
        self.on = 0;
        self.leaving.clear();
        self.refused.clear();
        let queued = &mut self.queued;
        self.entries.retain(|name, entry| {
            match entry.state {
                State::Leaving | State::Asked { wanted: false } | State::Quitting { wanted: false } => {
                    return false;
                }
                State::On => interrupted(&entry.channel),
                State::Queued | State::Split | State::Refused { .. } => {}
                State::Asked { wanted: true } | State::Quitting { wanted: true } => {}
            }
            entry.state = State::Queued;
            queued.insert((entry.slot, Arc::clone(name)));
            true
        });
    }
}

fn of_one_slot(names: &BTreeSet<(u16, Name)>, most: usize) -> Vec<Name> {
    let Some((first, _)) = names.first() else { return Vec::new() };
    let same = names.iter().take_while(|(slot, _)| slot == first);
    same.take(most).map(|(_, name)| Arc::clone(name)).collect()
}
