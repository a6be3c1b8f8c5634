//! Follows the position of one channel on this node, so that nothing is delivered out of order or past a hole.
//!
//! A value without I/O: frames, interruptions and answers of history reads go in, deliveries, reads and gaps come
//! out through [`Follower::poll`]. There is one for each channel that a session of this node listens to; sessions
//! never follow positions of their own.
//!
//! ```text
//!             subscribed            history says: continuous up to the top
//! Attaching ─────────────▶ Filling ───────────────────────────────────────▶ Live
//!     ▲                    ▲    │                                            │ │
//!     │                    └────┼── hole, fork, other epoch, audit differs ──┘ │
//!     └──────── interrupted ────┴──────────────── interrupted ─────────────────┘
//! ```
//!
//! Where only the newest publication of a channel matters, of those that were read together just the last one is delivered, and
//! what the stream no longer holds before it is no gap.
//!
//! Once it is subscribed again, a frame that says that it follows the last delivered publication proves that nothing lies
//! between, so it need not wait for the read: when a hundred thousand channels are read after an interruption, delivery goes on
//! meanwhile. Other frames are held until the stream was read. A held frame that a later read does not know was lost by a
//! failover before anybody saw it, and is dropped.

use std::collections::VecDeque;

use broker::chaos::{Detector, is_off, precedes, same};
use broker::{Continuity, Entry, Frame, History};
use bytes::Bytes;
use proto::{GapReason, Nonce, Position, Step};

/// How many nonces of delivered publications are remembered, to tell a repeated frame from a fork and to find the
/// last publication that two histories share.
const REMEMBERED: usize = 64;

/// How many bytes of frames are held while a read is under way; beyond that they are dropped and read from the stream.
const HELD_BYTES: usize = 1024 * 1024;

/// What a follower wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// Give this publication to every session of the channel.
    Deliver {
        /// Its place; absent for an ephemeral one.
        step: Option<Step>,
        /// The stored form.
        payload: Bytes,
    },
    /// Tell every session of the channel that a part of it cannot be delivered, and where delivery goes on.
    Gap(GapReason, Position),
    /// Read the stream and answer with [`Follower::history`]; repeat it until it succeeds or another read is wanted.
    Read(Read),
}

/// A read of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Read {
    /// Names this read; the answer to an older one is ignored.
    pub ticket: u32,
    /// What is known already; `None` asks for the top alone.
    pub after: Option<Position>,
}

#[derive(Debug, Clone, Default)]
enum State {
    /// Waiting for the subscription to be in force.
    #[default]
    Attaching,
    /// Subscribed; a read of the stream is under way.
    Filling {
        /// How many frames were held when the read was asked for: the answer must know them.
        mark: usize,
        /// The read goes back over what was delivered, to find where two histories part.
        back: bool,
        /// Something was delivered since the read was asked for.
        ahead: bool,
    },
    /// Subscribed and in step with the stream.
    Live,
}

/// See the module's documentation.
#[derive(Debug, Clone, Default)]
pub struct Follower {
    state: State,
    /// The place of the last delivered publication; absent until the first read.
    position: Option<Position>,
    /// The nonces of the last delivered publications, the last one being that of `position`.
    delivered: VecDeque<Nonce>,
    held: Vec<(Step, Bytes)>,
    held_bytes: usize,
    ticket: u32,
    outputs: VecDeque<Output>,
    /// Only the newest publication matters.
    latest: bool,
}

impl Follower {
    /// A follower of a channel that is about to be subscribed.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same for a channel in which only the newest publication matters.
    pub fn of_latest() -> Self {
        Self { latest: true, ..Self::default() }
    }

    /// The place up to which everything was delivered; absent until the stream was first read.
    pub const fn position(&self) -> Option<Position> {
        self.position
    }

    /// The same, while nothing is known to be missing after it.
    pub fn live_position(&self) -> Option<Position> {
        match self.state {
            State::Live => self.position,
            State::Attaching | State::Filling { .. } => None,
        }
    }

    /// What to do next.
    pub fn poll(&mut self) -> Option<Output> {
        let output = self.outputs.pop_front();
        if output.is_none() && self.delivered.is_empty() {
            // Many channels, such as those of users, are hardly ever published to.
            self.outputs = VecDeque::new();
        }
        output
    }

    /// The subscription is in force.
    pub fn subscribed(&mut self) {
        self.read(false);
    }

    /// The subscription was interrupted: frames may be missing.
    pub fn interrupted(&mut self) {
        self.state = State::Attaching;
        self.ticket = self.ticket.wrapping_add(1);
    }

    /// The node may have missed something of this channel: look again.
    pub fn suspect(&mut self) {
        if matches!(self.state, State::Live) {
            self.read(false);
        }
    }

    /// The stream's top, read when the follower stood at `asked`. Finds what was lost at the tail, where no later
    /// frame shows the hole.
    pub fn audit(&mut self, asked: Position, top: Position) {
        if self.live_position() == Some(asked) && !same(top, asked) {
            self.read(false);
        }
    }

    /// A frame arrived.
    pub fn frame(&mut self, frame: Frame) {
        let Some(step) = frame.step else {
            self.outputs.push_back(Output::Deliver { step: None, payload: frame.payload });
            return;
        };
        match (&self.state, self.position) {
            (State::Live, Some(position)) if leads_to(position, &step) => self.deliver(step, frame.payload),
            (State::Live, Some(_)) if self.was_delivered(step.position) => {}
            (State::Live, _) => {
                self.hold(step, frame.payload);
                self.read(false);
            }
            (State::Filling { back: false, .. }, Some(position))
                if self.held.is_empty() && leads_to(position, &step) =>
            {
                if let State::Filling { ahead, .. } = &mut self.state {
                    *ahead = true;
                }
                self.deliver(step, frame.payload);
            }
            (State::Attaching | State::Filling { .. }, _) => self.hold(step, frame.payload),
        }
    }

    /// The answer to a read.
    pub fn history(&mut self, ticket: u32, history: History) {
        let State::Filling { mark, back, ahead } = self.state else { return };
        if ticket != self.ticket {
            return;
        }
        let Some(history) = (if ahead { self.beyond(history) } else { Some(history) }) else {
            return self.read(false);
        };
        let top = history.top;
        match (self.position, back, history.continuity) {
            (None, ..) => self.position = Some(top),
            (Some(_), false, Continuity::Continuous) => self.deliver_all(history.entries),
            (Some(_), false, Continuity::Fork) => match self.oldest_remembered() {
                Some(_) => return self.read(true),
                None => self.restart(GapReason::Fork, top, Vec::new()),
            },
            (Some(position), true, Continuity::Continuous) => self.rejoin(position, history.entries),
            (Some(_), true, _) => self.restart(GapReason::Fork, top, Vec::new()),
            (Some(_), false, Continuity::Trimmed) if self.latest && !history.entries.is_empty() => {
                self.deliver_all(history.entries);
            }
            (Some(_), false, Continuity::Trimmed) => self.restart(GapReason::Trimmed, top, history.entries),
            (Some(_), false, Continuity::Reset) => self.restart(GapReason::Reset, top, history.entries),
        }
        let reached = self.position.is_some_and(|at| at.epoch == top.epoch && at.offset >= top.offset);
        if !reached || !self.release_held(mark) {
            self.read(false);
        }
    }

    /// What an answer says beyond what was delivered while it was waited for; nothing if it does not say that the two agree.
    fn beyond(&self, mut history: History) -> Option<History> {
        let position = self.position.filter(|_| history.continuity == Continuity::Continuous)?;
        let first = history.entries.partition_point(|entry| entry.step.position.offset <= position.offset);
        let agrees = match history.entries.get(..first).and_then(<[Entry]>::last) {
            Some(last) if last.step.position.offset == position.offset => last.step.position == position,
            // The stream was read before the last of them was published.
            Some(_) => first == history.entries.len(),
            None => history.entries.first().is_none_or(|next| position.precedes(&next.step)),
        };
        history.entries.drain(..first);
        agrees.then_some(history)
    }

    /// Delivers the held frames that follow on. Those before `mark` were there before the stream was read, so
    /// they were read with it, or it lost them. Answers whether nothing is left for another read to explain.
    fn release_held(&mut self, mark: usize) -> bool {
        let held = std::mem::take(&mut self.held);
        self.held_bytes = 0;
        for (step, payload) in held.into_iter().skip(mark) {
            match self.position {
                Some(position) if self.held.is_empty() && leads_to(position, &step) => {
                    self.deliver(step, payload);
                }
                Some(position)
                    if position.epoch == step.position.epoch && step.position.offset <= position.offset => {}
                _ => self.hold(step, payload),
            }
        }
        let explained = self.held.is_empty();
        if explained {
            self.state = State::Live;
        }
        explained
    }

    /// Goes on from the last publication that the stream and the delivered ones share.
    fn rejoin(&mut self, position: Position, entries: Vec<Entry>) {
        let first = position.offset + 1 - self.delivered.len() as u64;
        let nonce_at = |offset: u64| {
            let index = usize::try_from(offset.checked_sub(first)?).ok()?;
            self.delivered.get(index).copied()
        };
        let shared = entries
            .iter()
            .take_while(|entry| nonce_at(entry.step.position.offset) == Some(entry.step.position.nonce))
            .count();
        let rest: Vec<Entry> = entries.into_iter().skip(shared).collect();
        // The read began after the oldest remembered one, so that one at least is shared.
        let keep = shared + 1;
        if keep == self.delivered.len() {
            return self.deliver_all(rest);
        }
        self.delivered.truncate(keep);
        let at = Position {
            offset: first + keep as u64 - 1,
            nonce: self.delivered.back().copied().unwrap_or(Nonce(0)),
            ..position
        };
        self.position = Some(at);
        self.outputs.push_back(Output::Gap(GapReason::Fork, at));
        self.deliver_all(rest);
    }

    /// Tells a gap, and goes on with the entries, or from the top where there are none.
    fn restart(&mut self, reason: GapReason, top: Position, entries: Vec<Entry>) {
        let first = if self.latest { entries.last() } else { entries.first() };
        let at = first.map_or(top, |first| first.step.before());
        self.delivered.clear();
        self.position = Some(at);
        self.outputs.push_back(Output::Gap(reason, at));
        self.deliver_all(entries);
    }

    fn deliver_all(&mut self, mut entries: Vec<Entry>) {
        if self.latest && entries.len() > 1 {
            entries.drain(..entries.len() - 1);
        }
        for entry in entries {
            self.deliver(entry.step, entry.payload);
        }
    }

    fn deliver(&mut self, step: Step, payload: Bytes) {
        if self.latest && self.position.is_some_and(|at| !at.precedes(&step)) {
            // What was left out is not remembered, and what is remembered has no holes.
            self.delivered.clear();
        }
        self.position = Some(step.position);
        if self.delivered.len() == REMEMBERED {
            self.delivered.pop_front();
        }
        self.delivered.push_back(step.position.nonce);
        self.outputs.push_back(Output::Deliver { step: Some(step), payload });
    }

    fn was_delivered(&self, at: Position) -> bool {
        let Some(position) = self.position.filter(|position| position.epoch == at.epoch) else {
            return false;
        };
        let Some(back) = position.offset.checked_sub(at.offset) else { return false };
        if is_off(Detector::Chain) {
            return true;
        }
        let index = usize::try_from(back).ok().and_then(|back| self.delivered.len().checked_sub(back + 1));
        index.and_then(|index| self.delivered.get(index)) == Some(&at.nonce)
    }

    fn oldest_remembered(&self) -> Option<Position> {
        let position = self.position?;
        let nonce = *self.delivered.front()?;
        Some(Position { offset: position.offset + 1 - self.delivered.len() as u64, nonce, ..position })
    }

    fn hold(&mut self, step: Step, payload: Bytes) {
        self.held_bytes += payload.len() + size_of::<Step>();
        if self.held_bytes > HELD_BYTES {
            // The stream has them; another read will find them after this one is answered.
            self.held.clear();
            self.held_bytes = payload.len();
            if let State::Filling { mark, .. } = &mut self.state {
                *mark = 0;
            }
        }
        self.held.push((step, payload));
    }

    fn read(&mut self, back: bool) {
        self.ticket = self.ticket.wrapping_add(1);
        self.state = State::Filling { mark: self.held.len(), back, ahead: false };
        let after = if back { self.oldest_remembered() } else { self.position };
        self.outputs.push_back(Output::Read(Read { ticket: self.ticket, after }));
    }
}

/// Whether this step is the next to deliver.
fn leads_to(position: Position, step: &Step) -> bool {
    let over_a_hole = is_off(Detector::Hole)
        && step.position.epoch == position.epoch
        && step.position.offset > position.offset;
    precedes(position, step) || over_a_hole
}

#[cfg(test)]
mod tests;
