//! Whether a run kept the promises: pure, from the [`History`] alone.
//!
//! A client's way through a room is a chain of places: where it joined, then each delivery. The chain may break only
//! where a gap was told. Links between neighbours are compared between all clients and the streams at the end, because a
//! client is not told the nonce before: an entry that follows two different ones was delivered past a fork.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt;

use proto::Position;
use serde::Serialize;

use super::history::{Client, Entry, History, Millis, Publication, Reason, What};

/// The promises, by their usual numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Invariant {
    /// No place is delivered twice to a client.
    I1,
    /// Within an epoch the offsets grow.
    I2,
    /// Deliveries follow one another without a hole, except across a told gap.
    I3,
    /// An entry follows the one that it was published after, except across a told fork.
    I4,
    /// What was acknowledged, and not forgotten by Redis, is delivered to every client of the room, or lies in a told
    /// gap. Without a fault that makes Redis forget, no gap is told at all and nothing acknowledged is missing in
    /// the streams.
    I5,
    /// After everything is mended, all clients reach the streams' tops in time.
    I6,
    /// No client is given what it has no right to.
    I7,
    /// No message is delivered twice under different places, except across a told loss.
    I8,
    /// Memory and open files stay bounded.
    I9,
}

impl Invariant {
    /// What is promised, in a few words.
    #[must_use]
    pub const fn promise(self) -> &'static str {
        match self {
            Self::I1 => "no place is delivered twice",
            Self::I2 => "offsets grow",
            Self::I3 => "no hole that was not told",
            Self::I4 => "no fork that was not told",
            Self::I5 => "what was acknowledged is delivered, or its loss is told",
            Self::I6 => "all catch up in time",
            Self::I7 => "nothing for others",
            Self::I8 => "no message twice",
            Self::I9 => "bounded memory and files",
        }
    }
}

/// A broken promise.
#[derive(Debug, Clone, Serialize)]
pub struct Violation {
    /// Which one.
    pub invariant: Invariant,
    /// Who noticed: a client, a room or a process.
    pub who: String,
    /// When, if it was at a moment.
    pub at: Millis,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { invariant, who, at, what } = self;
        write!(f, "{invariant:?} ({}) {who} at {at} ms: {what}", invariant.promise())
    }
}

/// What still counts as in time and as bounded.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Limits {
    /// How long clients may take to reach the tops after everything is mended.
    pub catch_up: Millis,
    /// The most resident memory of a process, bytes.
    pub resident: u64,
    /// The most open files of a process.
    pub files: u64,
}

/// Everything that went wrong.
#[must_use]
pub fn check(history: &History, limits: &Limits) -> Vec<Violation> {
    let mut checker = Checker { history, limits, links: HashMap::new(), violations: Vec::new() };
    checker.streams();
    for client in &history.clients {
        checker.client(client);
    }
    checker.samples();
    checker.violations
}

struct Checker<'a> {
    history: &'a History,
    limits: &'a Limits,
    /// What each entry was published after, as far as anybody saw it.
    links: HashMap<Position, Position>,
    violations: Vec<Violation>,
}

/// A client's way through a room.
struct Way<'a> {
    at: Position,
    joined: Millis,
    /// When it last moved.
    moved: Millis,
    /// The last answer to a join said that something is missing, and no gap has said what.
    owed: bool,
    places: HashSet<Position>,
    /// The ids since the last told loss.
    ids: HashSet<&'a str>,
    /// All ids.
    delivered: HashSet<&'a str>,
    /// The deliveries since the last told gap.
    run: Vec<Position>,
    gaps: Vec<Told>,
}

/// A gap as it was told.
struct Told {
    at: Millis,
    reason: Reason,
    from: Position,
    to: Position,
}

impl<'a> Checker<'a> {
    fn violation(&mut self, invariant: Invariant, who: &str, at: Millis, what: String) {
        self.violations.push(Violation { invariant, who: who.to_owned(), at, what });
    }

    fn streams(&mut self) {
        for (room, entries) in &self.history.streams {
            let mut ids = HashSet::new();
            for entry in entries {
                if !ids.insert(&entry.id) {
                    let what = format!("the stream holds {} twice", entry.id);
                    self.violation(Invariant::I8, room, self.history.healed, what);
                }
            }
            for (before, entry) in entries.iter().zip(entries.iter().skip(1)) {
                self.links.insert(entry.position, before.position);
            }
        }
        if self.history.lossless {
            self.nothing_acknowledged_is_missing();
        }
    }

    fn nothing_acknowledged_is_missing(&mut self) {
        let history = self.history;
        for (publication, position) in acknowledged(&history.publications) {
            let entries = history.streams.get(&publication.room).map_or(&[][..], Vec::as_slice);
            let oldest = entries.first().map_or(0, |entry| entry.position.offset);
            let kept = entries.iter().find(|entry| entry.position == position);
            if position.offset >= oldest && kept.is_none_or(|entry| entry.id != publication.id) {
                let what = format!("{} was acknowledged at {position} and is not there", publication.id);
                self.violation(Invariant::I5, &publication.room, publication.ended, what);
            }
        }
    }

    fn client(&mut self, client: &'a Client) {
        let mut ways: BTreeMap<&str, Way<'a>> = BTreeMap::new();
        for event in &client.events {
            match &event.what {
                What::Connected { .. } | What::Closed { .. } => {}
                What::Joined { room, since, position, recovered } => {
                    if !client.rooms.contains(room) {
                        let what = format!("joined {room}, which its token does not list");
                        self.violation(Invariant::I7, &client.name, event.at, what);
                    }
                    let way = ways.entry(room).or_insert_with(|| Way::new(*position, event.at));
                    way.owed = since.is_some() && !recovered;
                }
                What::Message { room, meant_for, position, id } => {
                    let mine = ways.get_mut(room.as_str()).filter(|_| client.rooms.contains(room));
                    let Some(way) = mine.filter(|_| room == meant_for) else {
                        let what = format!("got {id}, meant for {meant_for}, in {room}");
                        self.violation(Invariant::I7, &client.name, event.at, what);
                        continue;
                    };
                    let fault = way.step(*position, id, event.at, &mut self.links);
                    if let Some((invariant, what)) = fault {
                        self.violation(invariant, &client.name, event.at, format!("{room}: {what}"));
                    }
                }
                What::Gap { room, reason, position } => {
                    if let Some(way) = ways.get_mut(room.as_str()) {
                        way.gap(*reason, *position, event.at);
                    }
                    if self.history.lossless {
                        let what = format!("{room}: {reason:?} told though nothing was lost");
                        self.violation(Invariant::I5, &client.name, event.at, what);
                    }
                }
            }
        }
        for room in &client.rooms {
            match ways.get(room.as_str()) {
                Some(way) => self.end(client, room, way),
                None => {
                    let what = format!("never got into {room}");
                    self.violation(Invariant::I6, &client.name, self.history.healed, what);
                }
            }
        }
    }

    fn end(&mut self, client: &Client, room: &str, way: &Way<'_>) {
        let history = self.history;
        let entries = history.streams.get(room).map_or(&[][..], Vec::as_slice);
        let stream: HashMap<u64, &Entry> =
            entries.iter().map(|entry| (entry.position.offset, entry)).collect();
        let strange = way.run.iter().find(|place| {
            stream.get(&place.offset).is_some_and(|entry| entry.position != **place)
                || entries.last().is_some_and(|top| place.offset > top.position.offset)
        });
        if let Some(place) = strange {
            let what = format!("{room}: {place} was delivered, rolled back, and nobody said so");
            self.violation(Invariant::I4, &client.name, way.moved, what);
        }
        if let Some(top) = entries.last().map(|entry| entry.position) {
            let due = history.healed + self.limits.catch_up;
            if way.at != top || way.moved > due {
                let what = format!("{room}: stands at {} since {} ms, top is {top}", way.at, way.moved);
                self.violation(Invariant::I6, &client.name, due, what);
            }
        }
        let kept: HashSet<Position> = entries.iter().map(|entry| entry.position).collect();
        for (publication, position) in acknowledged(&history.publications) {
            let expected = publication.room == room && publication.begun >= way.joined;
            let missing = expected && !way.delivered.contains(publication.id.as_str());
            // What Redis forgot before this client had seen any of it left no trace in what it was given. Had it seen
            // some, the fork would have to be told (I4).
            let forgotten = !history.lossless && !kept.contains(&position);
            if missing && !forgotten && !way.gaps.iter().any(|gap| gap.covers(publication, position)) {
                let what = format!("{room}: {} at {position} was never delivered, nor told", publication.id);
                self.violation(Invariant::I5, &client.name, publication.ended, what);
            }
        }
    }

    fn samples(&mut self) {
        for sample in &self.history.samples {
            let much = sample.resident > self.limits.resident;
            if much || sample.files > self.limits.files {
                let what = format!("{} bytes resident, {} files open", sample.resident, sample.files);
                self.violation(Invariant::I9, &sample.process, sample.at, what);
            }
        }
    }
}

fn acknowledged(publications: &[Publication]) -> impl Iterator<Item = (&Publication, Position)> {
    publications.iter().filter_map(|publication| Some((publication, publication.acknowledged?)))
}

impl<'a> Way<'a> {
    fn new(at: Position, joined: Millis) -> Self {
        Self {
            at,
            joined,
            moved: joined,
            owed: false,
            places: HashSet::new(),
            ids: HashSet::new(),
            delivered: HashSet::new(),
            run: Vec::new(),
            gaps: Vec::new(),
        }
    }

    /// A delivery. Whatever is wrong with it, the way goes on from there.
    fn step(
        &mut self,
        to: Position,
        id: &'a str,
        now: Millis,
        links: &mut HashMap<Position, Position>,
    ) -> Option<(Invariant, String)> {
        let from = std::mem::replace(&mut self.at, to);
        self.moved = now;
        self.run.push(to);
        self.delivered.insert(id);
        let again = !self.ids.insert(id);
        if !self.places.insert(to) {
            return Some((Invariant::I1, format!("{to} again")));
        }
        if to.epoch == from.epoch && to.offset <= from.offset {
            return Some((Invariant::I2, format!("{to} after {from}")));
        }
        if to.epoch != from.epoch || to.offset != from.offset + 1 {
            return Some((Invariant::I3, format!("{to} right after {from}")));
        }
        if self.owed {
            return Some((Invariant::I3, format!("{to} without the gap that was announced")));
        }
        let before = *links.entry(to).or_insert(from);
        if before != from {
            return Some((Invariant::I4, format!("{to} follows {before}, but came after {from}")));
        }
        again.then(|| (Invariant::I8, format!("{id} again, at {to}")))
    }

    fn gap(&mut self, reason: Reason, to: Position, now: Millis) {
        let from = std::mem::replace(&mut self.at, to);
        self.gaps.push(Told { at: now, reason, from, to });
        self.moved = now;
        self.owed = false;
        self.run.clear();
        if reason != Reason::Trimmed {
            self.ids.clear();
        }
    }
}

impl Told {
    /// Whether a client that was told this knows that it may miss the publication, which Redis kept.
    fn covers(&self, publication: &Publication, position: Position) -> bool {
        let skipped = position.epoch == self.to.epoch && position.offset <= self.to.offset;
        match self.reason {
            Reason::Trimmed => {
                skipped && position.epoch == self.from.epoch && position.offset > self.from.offset
            }
            Reason::Fork => skipped,
            Reason::Reset => skipped || (position.epoch != self.to.epoch && publication.begun <= self.at),
        }
    }
}

#[cfg(test)]
mod tests;
