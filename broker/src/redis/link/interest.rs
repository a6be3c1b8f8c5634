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

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use proto::Channel;

use super::channels::{Channels, Name, State};
use super::pulse::Pulse;
use super::resp::{Value, write_command};
use super::slot::slot;
use crate::chaos::{Detector, is_off};

/// The most channels that are asked for at once.
pub(super) const CHUNK: usize = 512;

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
    channels: Channels,
    /// Groups of channels that are to be asked for apart.
    split: VecDeque<Vec<Name>>,
    asked: VecDeque<Asked>,
    effects: VecDeque<Effect>,
    /// Absent without a connection.
    pulse: Option<Pulse>,
}

impl Interest {
    /// Without wishes and without a connection.
    pub(super) fn new(style: Style, naming: Naming) -> Self {
        Self {
            style,
            naming,
            channels: Channels::default(),
            split: VecDeque::new(),
            asked: VecDeque::new(),
            effects: VecDeque::new(),
            pulse: None,
        }
    }

    /// How many channels are confirmed and wanted.
    pub(super) const fn confirmed(&self) -> usize {
        self.channels.on()
    }

    /// The channel that a message is for, if its subscription is in force.
    pub(super) fn recipient(&self, name: &[u8]) -> Option<&Channel> {
        self.channels.get(name).filter(|(_, state)| *state == State::On).map(|(channel, _)| channel)
    }

    /// The next thing to pass on.
    pub(super) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    // What is wished.

    /// The channel is wanted, from now on. Whoever wants it anew while it is in force is told so anew.
    pub(super) fn want(&mut self, channel: &Channel) {
        let name = self.name(channel);
        match self.channels.state(&name) {
            None => {
                let slot = if self.style == Style::Sharded { slot(&name) } else { 0 };
                self.channels.add(name, channel.clone(), slot);
            }
            Some(State::Queued | State::Split | State::Refused { .. }) => {}
            Some(State::Asked { .. }) => self.channels.set(&name, State::Asked { wanted: true }),
            Some(State::Quitting { .. }) => self.channels.set(&name, State::Quitting { wanted: true }),
            Some(State::On) => subscribed(&mut self.effects, channel),
            Some(State::Leaving) => {
                self.channels.set(&name, State::On);
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
        let name = self.name(channel);
        match self.channels.state(&name) {
            None | Some(State::Leaving) => {}
            Some(State::Asked { .. }) => self.channels.set(&name, State::Asked { wanted: false }),
            Some(State::Quitting { .. }) => self.channels.set(&name, State::Quitting { wanted: false }),
            Some(State::On) => {
                self.channels.set(&name, State::Leaving);
                if tell {
                    interrupted(&mut self.effects, channel);
                }
            }
            Some(State::Queued | State::Split | State::Refused { .. }) => self.channels.remove(&name),
        }
    }

    fn name(&self, channel: &Channel) -> Name {
        (self.naming)(channel).into_bytes().into()
    }

    // What becomes of the connection.

    /// A fresh connection stands; everything is to be asked for.
    pub(super) const fn handle_connected(&mut self, now: Instant) {
        self.pulse = Some(Pulse::new(now));
    }

    /// The connection is gone, and with it every subscription.
    pub(super) fn handle_lost(&mut self) {
        self.pulse = None;
        self.asked.clear();
        self.split.clear();
        let effects = &mut self.effects;
        self.channels.lose(|channel| interrupted(effects, channel));
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
        let retry = self.channels.retry_at();
        Some(retry.map_or(pulse.probe_at(), |retry| retry.min(pulse.probe_at())))
    }

    /// Appends what is to be sent now. Fails when the server should have answered by now.
    pub(super) fn poll_write(&mut self, now: Instant, out: &mut BytesMut) -> Result<(), Fault> {
        let Some(pulse) = self.pulse else { return Ok(()) };
        if !self.asked.is_empty() {
            let gone = pulse.gone_at() <= now && !is_off(Detector::Probe);
            return if gone { Err(Fault::Silent) } else { Ok(()) };
        }
        self.channels.retry(now);
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

    fn ask_to_join(&mut self, out: &mut BytesMut) {
        let mut room = CHUNK;
        while room > 0 {
            let names: Vec<Name> = match self.split.pop_front() {
                Some(group) => group,
                None => self.channels.to_join(room),
            };
            if names.is_empty() {
                return;
            }
            let mut group = VecDeque::with_capacity(names.len());
            for name in names {
                // Those of a split group may have been forgotten meanwhile, and even be wanted again.
                if let Some(State::Queued | State::Split) = self.channels.state(&name) {
                    self.channels.set(&name, State::Asked { wanted: true });
                    group.push_back(name);
                }
            }
            if group.is_empty() {
                continue;
            }
            room = room.saturating_sub(group.len());
            self.command(out, [&b"SUBSCRIBE"[..], b"SSUBSCRIBE"], &group);
            self.asked.push_back(Asked::Subscribe(group));
        }
    }

    fn ask_to_leave(&mut self, out: &mut BytesMut) {
        let mut room = CHUNK;
        while room > 0 {
            let group: VecDeque<Name> = self.channels.to_leave(room).into();
            if group.is_empty() {
                return;
            }
            for name in &group {
                self.channels.set(name, State::Quitting { wanted: false });
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
        match self.channels.get(&name) {
            Some((channel, State::Asked { wanted: true })) => {
                subscribed(&mut self.effects, channel);
                self.channels.set(&name, State::On);
            }
            _ => self.channels.set(&name, State::Leaving),
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
            self.handle_left(&name);
            return;
        }
        let name: Name = name.into();
        let Some((channel, state)) = self.channels.get(&name) else { return };
        match state {
            State::On => {
                interrupted(&mut self.effects, channel);
                self.channels.set(&name, State::Refused { until: now + RETRY });
                self.effects.push_back(Effect::Moved);
            }
            State::Leaving => self.channels.remove(&name),
            State::Queued
            | State::Split
            | State::Asked { .. }
            | State::Quitting { .. }
            | State::Refused { .. } => {}
        }
    }

    /// The end of a subscription that was asked to end.
    fn handle_left(&mut self, name: &Name) {
        match self.channels.state(name) {
            Some(State::Quitting { wanted: true }) => self.channels.set(name, State::Queued),
            _ => self.channels.remove(name),
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
                names.iter().for_each(|name| self.handle_left(name));
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
                    half.iter().for_each(|name| self.channels.set(name, State::Split));
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
        if let Some((channel, _)) = wanted.first().and_then(|name| self.channels.get(name)) {
            let (channel, count) = (channel.clone(), wanted.len());
            self.effects.push_back(Effect::Refused { channel, count, error: lossy(error) });
        }
        wanted.iter().for_each(|name| self.channels.set(name, State::Refused { until: now + retry }));
        Ok(())
    }

    /// Whether a channel that was refused is still to be had; if not, it is gone.
    fn still_wanted(&mut self, name: &Name) -> bool {
        let wanted = self.channels.state(name) == Some(State::Asked { wanted: true });
        if !wanted {
            self.channels.remove(name);
        }
        wanted
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
