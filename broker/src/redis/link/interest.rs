//! What one connection is subscribed to, and what it should be, without I/O and without a clock.
//!
//! Wishes go in by [`want`](Interest::want), [`forget`](Interest::forget) and [`hand_over`](Interest::hand_over); what the
//! server says by [`handle_push`](Interest::handle_push) and [`handle_reply`](Interest::handle_reply). Out come bytes to
//! write and [`Effect`]s. Nothing counts as subscribed before the server confirmed it, and whatever the server ends by
//! itself is told.
//!
//! The server answers commands in order, so the front of `asked` is what an answer belongs to. A round of commands names
//! at most [`CHUNK`] channels each way, and the next one waits until all of it is answered: Redis carries out a command in
//! one go, and one that names 200,000 channels would stall every other client of the server.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use proto::Channel;

use super::pulse::Pulse;
use super::resp::{Value, write_command};
use super::slot::slot;
use crate::chaos::{Detector, is_off};

/// The most channels that are asked for at once.
pub(super) const CHUNK: usize = 512;

/// A channel as Redis knows it.
type Name = Arc<[u8]>;

/// How a channel is called in Redis.
pub type Naming = Arc<dyn Fn(&Channel) -> String + Send + Sync>;

/// Which of the two kinds of PUB/SUB is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Style {
    /// SUBSCRIBE: every server passes every message on.
    Plain,
    /// SSUBSCRIBE: a channel lives in one slot, and a command names channels of one slot only.
    Sharded,
}

/// When to ask again for what was refused for a reason that passes, such as a slot on the move.
const RETRY: Duration = Duration::from_millis(200);

/// When to ask again for what was forbidden: rights change seldom, and by hand.
const FORBIDDEN: Duration = Duration::from_secs(10);

/// What the owner of the connection must pass on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Effect {
    /// In force from here on.
    Subscribed(Vec<Channel>),
    /// No longer in force.
    Interrupted(Vec<Channel>),
    /// The server refused; asked again later.
    Refused {
        /// One of the channels.
        channel: Channel,
        /// How many they are.
        count: usize,
        /// What the server said.
        error: String,
    },
    /// This server says that another one has the channels now.
    Moved,
}

/// Why the connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in crate::redis) enum Fault {
    /// It owes an answer and sends nothing.
    #[error("the server does not answer")]
    Silent,
    /// It answered something that nobody asked for.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
    /// It became a replica, and what it passes on depends on another server.
    #[error("the server is no longer a primary")]
    Demoted,
    /// It does not know us any more.
    #[error("no longer logged in: {0}")]
    LoggedOut(String),
}

/// Where a channel stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// To be asked for; stands in `queued`.
    Queued,
    /// To be asked for in a smaller group, after a larger one was refused; stands in `split`.
    Split,
    /// Asked for.
    Asked { wanted: bool },
    /// Confirmed.
    On,
    /// Confirmed, no longer wanted; stands in `leaving`.
    Leaving,
    /// Asked to end.
    Quitting { wanted: bool },
    /// To be asked for again at that time; stands in `refused`.
    Refused { until: Instant },
}

struct Entry {
    channel: Channel,
    slot: u16,
    state: State,
}

/// A command that is not answered yet, with the channels that are not confirmed yet.
enum Asked {
    Subscribe(VecDeque<Name>),
    Unsubscribe(VecDeque<Name>),
    Probe,
}

/// The interest of one connection; it outlives the connection and holds for the next one.
pub(super) struct Interest {
    style: Style,
    naming: Naming,
    entries: HashMap<Name, Entry>,
    queued: BTreeSet<(u16, Name)>,
    split: VecDeque<Vec<Name>>,
    leaving: BTreeSet<(u16, Name)>,
    refused: BTreeSet<(Instant, Name)>,
    asked: VecDeque<Asked>,
    effects: VecDeque<Effect>,
    /// Absent without a connection.
    pulse: Option<Pulse>,
    on: usize,
}

impl Interest {
    /// Without wishes and without a connection.
    pub(super) fn new(style: Style, naming: Naming) -> Self {
        Self {
            style,
            naming,
            entries: HashMap::new(),
            queued: BTreeSet::new(),
            split: VecDeque::new(),
            leaving: BTreeSet::new(),
            refused: BTreeSet::new(),
            asked: VecDeque::new(),
            effects: VecDeque::new(),
            pulse: None,
            on: 0,
        }
    }

    /// How many channels are confirmed and wanted.
    pub(super) const fn confirmed(&self) -> usize {
        self.on
    }

    /// The channel that a message is for, if its subscription is in force.
    pub(super) fn recipient(&self, name: &[u8]) -> Option<&Channel> {
        self.entries.get(name).filter(|entry| entry.state == State::On).map(|entry| &entry.channel)
    }

    /// The next thing to pass on.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    // What is wished.

    /// The channel is wanted, from now on. Whoever wants it anew while it is in force is told so anew.
    pub(super) fn want(&mut self, channel: &Channel) {
        let name: Name = (self.naming)(channel).into_bytes().into();
        let Some(entry) = self.entries.get_mut(&name) else {
            let slot = if self.style == Style::Sharded { slot(&name) } else { 0 };
            self.queued.insert((slot, name.clone()));
            self.entries.insert(name, Entry { channel: channel.clone(), slot, state: State::Queued });
            return;
        };
        match &mut entry.state {
            State::Queued | State::Split | State::Refused { .. } => {}
            State::Asked { wanted } | State::Quitting { wanted } => *wanted = true,
            State::On => subscribed(&mut self.effects, channel),
            State::Leaving => {
                entry.state = State::On;
                self.on += 1;
                self.leaving.remove(&(entry.slot, name));
                subscribed(&mut self.effects, channel);
            }
        }
    }

    /// The channel is wanted no more, by anybody.
    pub(super) fn forget(&mut self, channel: &Channel) {
        self.release(channel, false);
    }

    /// The channel is wanted no more here, because another connection takes it over: who listens to it is told.
    pub(super) fn hand_over(&mut self, channel: &Channel) {
        self.release(channel, true);
    }

    fn release(&mut self, channel: &Channel, tell: bool) {
        let name: Name = (self.naming)(channel).into_bytes().into();
        let Some(entry) = self.entries.get_mut(&name) else { return };
        match &mut entry.state {
            State::Asked { wanted } | State::Quitting { wanted } => *wanted = false,
            State::Leaving => {}
            State::On => {
                entry.state = State::Leaving;
                self.on -= 1;
                self.leaving.insert((entry.slot, name));
                if tell {
                    interrupted(&mut self.effects, channel);
                }
            }
            State::Queued | State::Split | State::Refused { .. } => self.remove(&name),
        }
    }

    fn remove(&mut self, name: &Name) {
        let Some(entry) = self.entries.remove(name) else { return };
        match entry.state {
            State::Queued => self.queued.remove(&(entry.slot, name.clone())),
            State::Leaving => self.leaving.remove(&(entry.slot, name.clone())),
            State::Refused { until } => self.refused.remove(&(until, name.clone())),
            State::Split | State::Asked { .. } | State::On | State::Quitting { .. } => false,
        };
    }

    // What becomes of the connection.

    /// A fresh connection stands; everything is to be asked for.
    pub(super) const fn handle_connected(&mut self, now: Instant) {
        self.pulse = Some(Pulse::new(now));
    }

    /// The connection is gone, and with it every subscription.
    pub(super) fn handle_lost(&mut self) {
        self.pulse = None;
        self.on = 0;
        self.asked.clear();
        self.split.clear();
        self.leaving.clear();
        self.refused.clear();
        let (queued, effects) = (&mut self.queued, &mut self.effects);
        self.entries.retain(|name, entry| {
            match entry.state {
                State::Leaving | State::Asked { wanted: false } | State::Quitting { wanted: false } => {
                    return false;
                }
                State::On => interrupted(effects, &entry.channel),
                State::Queued | State::Split | State::Refused { .. } => {}
                State::Asked { wanted: true } | State::Quitting { wanted: true } => {}
            }
            entry.state = State::Queued;
            queued.insert((entry.slot, name.clone()));
            true
        });
    }

    /// Bytes arrived, whatever they are.
    pub(super) const fn handle_heard(&mut self, now: Instant) {
        if let Some(pulse) = &mut self.pulse {
            pulse.handle_heard(now);
        }
    }

    /// When to call [`poll_write`](Self::poll_write) again if nothing happens before.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let pulse = self.pulse.filter(|_| !is_off(Detector::Probe))?;
        if !self.asked.is_empty() {
            return Some(pulse.gone_at());
        }
        let retry = self.refused.first().map(|(until, _)| *until);
        Some(retry.map_or(pulse.probe_at(), |retry| retry.min(pulse.probe_at())))
    }

    /// Appends what is to be sent now. Fails when the server should have answered by now.
    pub(super) fn poll_write(&mut self, now: Instant, out: &mut BytesMut) -> Result<(), Fault> {
        let Some(pulse) = self.pulse else { return Ok(()) };
        if !self.asked.is_empty() {
            let gone = pulse.gone_at() <= now && !is_off(Detector::Probe);
            return if gone { Err(Fault::Silent) } else { Ok(()) };
        }
        self.queue_again(now);
        self.ask_to_leave(out);
        self.ask_to_join(out);
        if self.asked.is_empty() && pulse.probe_at() <= now && !is_off(Detector::Probe) {
            // No user can be forbidden to say it, and the answer tells the role.
            write_command(out, [&b"HELLO"[..], b"3"].into_iter());
            self.asked.push_back(Asked::Probe);
        }
        if !self.asked.is_empty() {
            self.got_on(now);
        }
        Ok(())
    }

    fn queue_again(&mut self, now: Instant) {
        while let Some((until, name)) = self.refused.pop_first() {
            if until > now {
                self.refused.insert((until, name));
                return;
            }
            if let Some(entry) = self.entries.get_mut(&name) {
                entry.state = State::Queued;
                self.queued.insert((entry.slot, name));
            }
        }
    }

    fn ask_to_join(&mut self, out: &mut BytesMut) {
        let mut room = CHUNK;
        while room > 0 {
            let names: Vec<Name> = match self.split.pop_front() {
                Some(group) => group,
                None => one_slot(&mut self.queued, room),
            };
            let mut group = VecDeque::with_capacity(names.len());
            for name in names {
                // Those of a split group may have been forgotten meanwhile, and even be wanted again.
                if let Some(entry) = self.entries.get_mut(&name)
                    && matches!(entry.state, State::Queued | State::Split)
                {
                    self.queued.remove(&(entry.slot, name.clone()));
                    entry.state = State::Asked { wanted: true };
                    group.push_back(name);
                }
            }
            if group.is_empty() {
                if self.split.is_empty() && self.queued.is_empty() {
                    return;
                }
                continue;
            }
            room = room.saturating_sub(group.len());
            self.command(out, [&b"SUBSCRIBE"[..], b"SSUBSCRIBE"], &group);
            self.asked.push_back(Asked::Subscribe(group));
        }
    }

    fn ask_to_leave(&mut self, out: &mut BytesMut) {
        let mut room = CHUNK;
        while room > 0 && !self.leaving.is_empty() {
            let group: VecDeque<Name> = one_slot(&mut self.leaving, room).into();
            for name in &group {
                if let Some(entry) = self.entries.get_mut(name) {
                    entry.state = State::Quitting { wanted: false };
                }
            }
            room -= group.len();
            self.command(out, [&b"UNSUBSCRIBE"[..], b"SUNSUBSCRIBE"], &group);
            self.asked.push_back(Asked::Unsubscribe(group));
        }
    }

    fn command(&self, out: &mut BytesMut, verbs: [&[u8]; 2], names: &VecDeque<Name>) {
        let [plain, sharded] = verbs;
        let verb = if self.style == Style::Sharded { sharded } else { plain };
        let words: Vec<&[u8]> = std::iter::once(verb).chain(names.iter().map(|name| &**name)).collect();
        write_command(out, words.into_iter());
    }

    // What the server says.

    /// A push other than a message.
    pub(super) fn handle_push(&mut self, push: &[Value<'_>], now: Instant) -> Result<(), Fault> {
        let [Value::Text(kind), Value::Text(name), ..] = push else { return Ok(()) };
        match *kind {
            b"subscribe" | b"ssubscribe" => self.handle_confirmed(name, now),
            b"unsubscribe" | b"sunsubscribe" => {
                self.handle_ended(name, now);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn handle_confirmed(&mut self, name: &[u8], now: Instant) -> Result<(), Fault> {
        let Some(Asked::Subscribe(names)) = self.asked.front_mut() else {
            return Err(Fault::Unexpected("a subscription that was not asked for".to_owned()));
        };
        let Some(name) = names.pop_front_if(|first| **first == *name) else {
            return Err(Fault::Unexpected("a subscription out of order".to_owned()));
        };
        if names.is_empty() {
            self.asked.pop_front();
        }
        self.got_on(now);
        if let Some(entry) = self.entries.get_mut(&name) {
            if entry.state == (State::Asked { wanted: true }) {
                entry.state = State::On;
                self.on += 1;
                subscribed(&mut self.effects, &entry.channel);
            } else {
                entry.state = State::Leaving;
                self.leaving.insert((entry.slot, name));
            }
        }
        Ok(())
    }

    fn handle_ended(&mut self, name: &[u8], now: Instant) {
        if let Some(Asked::Unsubscribe(names)) = self.asked.front_mut()
            && let Some(name) = names.pop_front_if(|first| **first == *name)
        {
            if names.is_empty() {
                self.asked.pop_front();
            }
            self.got_on(now);
            self.handle_left(name);
            return;
        }
        let Some((name, entry)) = self.entries.get_key_value(name) else { return };
        let name = name.clone();
        match entry.state {
            State::On => {
                interrupted(&mut self.effects, &entry.channel);
                self.on -= 1;
                self.put_off(name, now + RETRY);
                self.effects.push_back(Effect::Moved);
            }
            State::Leaving => self.remove(&name),
            State::Queued
            | State::Split
            | State::Asked { .. }
            | State::Quitting { .. }
            | State::Refused { .. } => {}
        }
    }

    /// The end of a subscription that was asked to end.
    fn handle_left(&mut self, name: Name) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        match entry.state {
            State::Quitting { wanted: true } => {
                entry.state = State::Queued;
                self.queued.insert((entry.slot, name));
            }
            _ => self.remove(&name),
        }
    }

    /// The answer to a command that is no push: an error, or the echo of a probe.
    pub(super) fn handle_reply(&mut self, reply: &Value<'_>, now: Instant) -> Result<(), Fault> {
        self.got_on(now);
        match (self.asked.pop_front(), reply) {
            (Some(Asked::Probe), reply) if is_replica(reply) => Err(Fault::Demoted),
            (Some(Asked::Probe), Value::Map(_)) => Ok(()),
            (Some(Asked::Probe), Value::Error(error)) => Err(Fault::LoggedOut(lossy(error))),
            (Some(Asked::Subscribe(names)), Value::Error(error)) => {
                self.handle_refused(names.into(), error, now)
            }
            (Some(Asked::Unsubscribe(names)), Value::Error(_)) => {
                // It moved away, or the right to it: either way there is nothing left to end.
                names.into_iter().for_each(|name| self.handle_left(name));
                Ok(())
            }
            (_, Value::Error(error)) => Err(Fault::Unexpected(lossy(error))),
            _ => Err(Fault::Unexpected("a reply that was not asked for".to_owned())),
        }
    }

    fn handle_refused(&mut self, names: Vec<Name>, error: &[u8], now: Instant) -> Result<(), Fault> {
        let code = error.split(|byte| *byte == b' ').next().unwrap_or_default();
        let wanted: Vec<Name> = names.into_iter().filter(|name| self.still_wanted(name)).collect();
        let retry = match code {
            b"NOAUTH" | b"WRONGPASS" => return Err(Fault::LoggedOut(lossy(error))),
            // One forbidden channel fails the whole command: halve it until that one is found.
            b"NOPERM" if wanted.len() > 1 => {
                let (left, right) = wanted.split_at(wanted.len() / 2);
                for half in [left, right] {
                    self.set_all(half, State::Split);
                    self.split.push_back(half.to_vec());
                }
                return Ok(());
            }
            b"NOPERM" => FORBIDDEN,
            b"MOVED" | b"ASK" | b"CLUSTERDOWN" | b"TRYAGAIN" => {
                self.effects.push_back(Effect::Moved);
                RETRY
            }
            _ => RETRY,
        };
        if let Some(entry) = wanted.first().and_then(|name| self.entries.get(name)) {
            let (channel, count) = (entry.channel.clone(), wanted.len());
            self.effects.push_back(Effect::Refused { channel, count, error: lossy(error) });
        }
        wanted.into_iter().for_each(|name| self.put_off(name, now + retry));
        Ok(())
    }

    /// Whether a channel that was refused is still to be had; if not, it is gone.
    fn still_wanted(&mut self, name: &Name) -> bool {
        let wanted = self.entries.get(name).is_some_and(|entry| entry.state == State::Asked { wanted: true });
        if !wanted {
            self.entries.remove(name);
        }
        wanted
    }

    fn set_all(&mut self, names: &[Name], state: State) {
        for name in names {
            if let Some(entry) = self.entries.get_mut(name) {
                entry.state = state;
            }
        }
    }

    fn put_off(&mut self, name: Name, until: Instant) {
        if let Some(entry) = self.entries.get_mut(&name) {
            entry.state = State::Refused { until };
            self.refused.insert((until, name));
        }
    }

    const fn got_on(&mut self, now: Instant) {
        if let Some(pulse) = &mut self.pulse {
            pulse.handle_progress(now);
        }
    }
}

/// Whether the answer to HELLO is that of a replica.
pub(super) fn is_replica(hello: &Value<'_>) -> bool {
    hello.field(b"role").is_some_and(|role| matches!(role.text(), Some(b"replica" | b"slave")))
}

/// Takes up to `most` names of the first slot.
fn one_slot(names: &mut BTreeSet<(u16, Name)>, most: usize) -> Vec<Name> {
    let Some((first, _)) = names.first() else { return Vec::new() };
    let first = *first;
    let mut taken = Vec::new();
    while taken.len() < most && names.first().is_some_and(|(slot, _)| *slot == first) {
        taken.extend(names.pop_first().map(|(_, name)| name));
    }
    taken
}

/// Tells of neighbours in one go.
fn subscribed(effects: &mut VecDeque<Effect>, channel: &Channel) {
    match effects.back_mut() {
        Some(Effect::Subscribed(channels)) => channels.push(channel.clone()),
        _ => effects.push_back(Effect::Subscribed(vec![channel.clone()])),
    }
}

/// Tells of neighbours in one go.
fn interrupted(effects: &mut VecDeque<Effect>, channel: &Channel) {
    match effects.back_mut() {
        Some(Effect::Interrupted(channels)) => channels.push(channel.clone()),
        _ => effects.push_back(Effect::Interrupted(vec![channel.clone()])),
    }
}

fn lossy(text: &[u8]) -> String {
    String::from_utf8_lossy(text).into_owned()
}

#[cfg(test)]
#[path = "interest_tests.rs"]
mod tests;
