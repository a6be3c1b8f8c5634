//! Where a session stands in all of its channels, told to its client with each event, so that the client can come back to
//! that very place on any node: what connection state recovery of Socket.IO needs.
//!
//! A client sends back nothing but its key and the last thing that it was told, and that is one text for all channels. So
//! each event ends with such a text: the channels in which the client has come further than when the session began, by a
//! number that each has within the session, with the position in each. What does not change with each event, the
//! [`Record`], is kept by the broker: which number is which channel, and where it began.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proto::{Channel, Cursor, Position, Room, SessionId, Tenant, UserId};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::milestone::Milestone;
use crate::wire::ws_frame;

/// What a client is told that has not come further anywhere.
const NOWHERE: &str = "-";

/// How many channels most sessions have: the user's own, everyone's, and a room.
const CHANNELS: usize = 3;

/// What is kept of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Record {
    pub(crate) session: SessionId,
    pub(crate) tenant: Tenant,
    pub(crate) user: UserId,
    /// The connection that went on with it last.
    pub(crate) by: SessionId,
    /// The number of the next channel.
    next: u32,
    /// Each with its number, its public name, and the position from which the session followed it.
    channels: Vec<(u32, String, Position)>,
}

impl Record {
    /// Reads what was kept; `None` if it is from another version.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// The rooms of the session.
    pub(crate) fn rooms(&self) -> impl Iterator<Item = Room> {
        self.channels.iter().filter_map(|(_, name, _)| Room::new(name.strip_prefix("room:")?).ok())
    }

    /// The places in all channels of a client that was told this last, or nothing. `None` if nobody told it that.
    pub(crate) fn cursor(&self, told: Option<&str>) -> Option<Cursor> {
        let mut cursor = Cursor::default();
        for (_, name, start) in &self.channels {
            cursor.set(name, *start);
        }
        for part in told.filter(|told| *told != NOWHERE).iter().flat_map(|told| told.split(',')) {
            let (number, position) = part.split_once('@')?;
            let (number, position): (u32, Position) = (number.parse().ok()?, position.parse().ok()?);
            // It may have left the channel since.
            if let Some((_, name, _)) = self.channels.iter().find(|(known, ..)| *known == number) {
                cursor.set(name, position);
            }
        }
        Some(cursor)
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Standing {
    /// By which the client comes back: a secret between the two.
    pub(crate) key: SessionId,
    /// How long it may stay away.
    pub(crate) window: Duration,
    /// Held while the record is stored, so that the last state is stored last.
    pub(crate) storing: Arc<Mutex<()>>,
    /// The client cannot go on with this session any more.
    pub(crate) is_given_up: bool,
    record: Record,
    /// Where it has come further: the number, and the text of the position.
    moved: Vec<(u32, Arc<str>)>,
    /// The channels by their numbers.
    numbers: Vec<(Channel, u32)>,
}

impl Standing {
    /// The place of a session that begins.
    pub(crate) fn new(key: SessionId, window: Duration, session: SessionId, user: (Tenant, UserId)) -> Self {
        let (tenant, user) = user;
        let by = session.clone();
        Self::of(
            key,
            window,
            Record { session, tenant, user, by, next: 0, channels: Vec::with_capacity(CHANNELS) },
        )
    }

    /// The place of one that goes on where its client was told to be.
    pub(crate) fn resumed(key: SessionId, window: Duration, record: Record, by: SessionId) -> Self {
        Self::of(key, window, Record { by, ..record })
    }

    fn of(key: SessionId, window: Duration, record: Record) -> Self {
        Self {
            key,
            window,
            storing: Arc::default(),
            is_given_up: false,
            record,
            moved: Vec::new(),
            numbers: Vec::with_capacity(CHANNELS),
        }
    }

    /// The client has lost something: when it comes back, it begins anew.
    pub(crate) const fn give_up(&mut self) {
        self.is_given_up = true;
    }

    /// The session follows a channel from here on. One that it followed when it was kept keeps its number.
    pub(crate) fn enter(&mut self, channel: &Channel, at: Position) {
        let name = channel.public_name();
        let is_back = !self.numbers.iter().any(|(known, _)| known == channel);
        let known = self.record.channels.iter().find(|(_, known, _)| *known == name);
        match known.filter(|_| is_back).map(|(number, _, start)| (*number, *start)) {
            Some((number, start)) => {
                self.numbers.push((channel.clone(), number));
                if at != start {
                    self.moved(&Milestone::new(channel, at));
                }
            }
            None => {
                self.leave(channel);
                let number = self.record.next;
                self.record.next += 1;
                self.record.channels.push((number, name, at));
                self.numbers.push((channel.clone(), number));
            }
        }
    }

    /// The session follows a channel no more.
    pub(crate) fn leave(&mut self, channel: &Channel) {
        if let Some(at) = self.numbers.iter().position(|(known, _)| known == channel) {
            let (_, number) = self.numbers.swap_remove(at);
            self.record.channels.retain(|(known, ..)| *known != number);
            self.moved.retain(|(known, _)| *known != number);
        }
    }

    /// Forgets the channels of the record that were not entered.
    pub(crate) fn settle(&mut self) {
        let numbers = &self.numbers;
        self.record.channels.retain(|(known, ..)| numbers.iter().any(|(_, number)| number == known));
    }

    /// What is to be kept.
    pub(crate) fn record(&self) -> Bytes {
        // Names and positions always have a form in JSON.
        serde_json::to_vec(&self.record).unwrap_or_default().into()
    }

    /// The client has come to this position.
    pub(crate) fn moved(&mut self, to: &Milestone<'_>) {
        let Some(number) = self.number(to.channel) else { return };
        let text = Arc::clone(to.text());
        match self.moved.iter_mut().find(|(known, _)| *known == number) {
            Some((_, known)) => *known = text,
            None => self.moved.push((number, text)),
        }
    }

    /// An event that brings its client to this position, or nowhere. Many clients have the same one.
    pub(crate) fn event(&self, begin: &Bytes, to: Option<&Milestone<'_>>) -> Event {
        let moving = to.and_then(|to| Some((self.number(to.channel)?, to)));
        if let Some((number, to)) = moving
            && self.moved.iter().all(|(moved, _)| *moved == number)
        {
            return Event::Whole(to.whole(begin, number, || self.tail(moving)));
        }
        let [begin, after] = ws_frame::split_begin(begin);
        Event::Parts([begin, ws_frame::rest_of_text(&self.tail(moving)), after])
    }

    /// The end of an event that brings its client to this position, or nowhere.
    fn tail(&self, moving: Option<(u32, &Milestone<'_>)>) -> String {
        let mut text = String::with_capacity(16 + 48 * (self.moved.len() + 1));
        text.push_str(",\"");
        let begin = text.len();
        for (number, moved) in &self.moved {
            if moving.is_none_or(|(moving, _)| moving != *number) {
                add_place(&mut text, begin, *number, moved);
            }
        }
        if let Some((number, to)) = moving {
            add_place(&mut text, begin, number, to.text());
        }
        if text.len() == begin {
            text.push_str(NOWHERE);
        }
        text.push_str("\"]");
        text
    }

    fn number(&self, channel: &Channel) -> Option<u32> {
        self.numbers.iter().find(|(known, _)| known == channel).map(|(_, number)| *number)
    }
}

/// The frames of an event.
#[derive(Debug)]
pub(crate) enum Event {
    /// One, which others are sent as well.
    Whole(Bytes),
    /// Its beginning, which others are sent as well, an end of its own, and the binary messages that belong to it, if there
    /// are any. They stay together.
    Parts([Bytes; 3]),
}

fn add_place(text: &mut String, begin: usize, number: u32, position: &str) {
    if text.len() > begin {
        text.push(',');
    }
    // Writing to a string cannot fail.
    let _ = write!(text, "{number}@{position}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Nonce};

    fn at(offset: u64) -> Position {
        Position { epoch: Epoch(9), offset, nonce: Nonce(3) }
    }

    fn room(name: &str) -> Channel {
        Channel::room(&Tenant::new("t").unwrap(), &Room::new(name).unwrap())
    }

    fn standing() -> Standing {
        let id = |text: &str| SessionId::new(text).unwrap();
        let user = (Tenant::new("t").unwrap(), UserId::new("ann").unwrap());
        let mut standing = Standing::new(id("key"), Duration::from_secs(120), id("s"), user);
        standing.enter(&room("a"), at(5));
        standing.enter(&room("b"), at(7));
        standing
    }

    /// The text that a client keeps of the end of an event.
    fn told(standing: &Standing, to: Option<(&Channel, Position)>) -> String {
        let to = to.map(|(channel, position)| Milestone::new(channel, position));
        let frames = match standing.event(&ws_frame::begin_of_text("["), to.as_ref()) {
            Event::Whole(frame) => vec![frame],
            Event::Parts(frames) => frames.to_vec(),
        };
        let text: String = frames
            .iter()
            .filter(|frame| !frame.is_empty())
            .map(|frame| std::str::from_utf8(&frame[2..]).unwrap())
            .collect();
        serde_json::from_str::<Vec<String>>(&text.replacen(',', "", 1)).unwrap().remove(0)
    }

    fn move_to(standing: &mut Standing, channel: &Channel, position: Position) {
        standing.moved(&Milestone::new(channel, position));
    }

    #[test]
    fn what_a_client_was_told_last_names_its_place_in_all_channels() {
        let mut standing = standing();
        let record = |standing: &Standing| Record::decode(&standing.record()).unwrap();
        let start = record(&standing).cursor(None).unwrap();
        assert_eq!((start.get("room:a"), start.get("room:b")), (Some(at(5)), Some(at(7))));
        assert_eq!(record(&standing).cursor(Some(&told(&standing, None))), Some(start));

        let first = told(&standing, Some((&room("b"), at(8))));
        move_to(&mut standing, &room("b"), at(8));
        let second = told(&standing, Some((&room("a"), at(6))));
        move_to(&mut standing, &room("a"), at(6));
        let third = told(&standing, None);
        for (told, a, b) in [(first, 5, 8), (second, 6, 8), (third, 6, 8)] {
            let cursor = record(&standing).cursor(Some(&told)).unwrap();
            assert_eq!((cursor.get("room:a"), cursor.get("room:b")), (Some(at(a)), Some(at(b))), "{told}");
        }
    }

    #[test]
    fn a_channel_that_is_joined_anew_is_another_one() {
        let mut standing = standing();
        let before = told(&standing, Some((&room("a"), at(6))));
        standing.leave(&room("a"));
        standing.enter(&room("a"), at(9));
        standing.enter(&room("b"), at(11));
        let cursor = Record::decode(&standing.record()).unwrap().cursor(Some(&before)).unwrap();
        assert_eq!((cursor.get("room:a"), cursor.get("room:b")), (Some(at(9)), Some(at(11))));
    }

    #[test]
    fn one_that_goes_on_has_the_same_numbers_and_no_channels_that_it_did_not_enter_again() {
        let mut old = standing();
        move_to(&mut old, &room("b"), at(8));
        let record = Record::decode(&old.record()).unwrap();
        assert_eq!(record.rooms().count(), 2);
        let mut standing =
            Standing::resumed(old.key.clone(), old.window, record, SessionId::new("c").unwrap());
        standing.enter(&room("b"), at(8));
        standing.settle();
        assert_eq!(told(&standing, None), "1@v1.9.8.3");
        assert_eq!(Record::decode(&standing.record()).unwrap().rooms().count(), 1);
        standing.enter(&room("c"), at(1));
        assert_eq!(told(&standing, Some((&room("c"), at(2)))), "1@v1.9.8.3,2@v1.9.2.3");
    }

    #[test]
    fn a_session_of_many_rooms_has_a_place_in_each() {
        let mut standing = standing();
        let names: Vec<String> = (0..1000).map(|number| format!("r{number}")).collect();
        names.iter().for_each(|name| standing.enter(&room(name), at(1)));
        let record = Record::decode(&standing.record()).unwrap();
        let cursor = record.cursor(Some(&told(&standing, Some((&room("r999"), at(2)))))).unwrap();
        let places = names.iter().map(|name| cursor.get(&format!("room:{name}")));
        assert_eq!(places.filter(|place| *place == Some(at(1))).count(), 999);
        assert_eq!(cursor.get("room:r999"), Some(at(2)));
    }

    #[test]
    fn clients_that_have_come_further_in_one_channel_alone_share_an_event() {
        let (mut one, other) = (standing(), standing());
        let (begin, room_b) = (ws_frame::begin_of_text("x"), room("b"));
        let milestone = Milestone::new(&room_b, at(8));
        let event = |standing: &Standing| match standing.event(&begin, Some(&milestone)) {
            Event::Whole(frame) => Ok(frame),
            Event::Parts([_, rest, _]) => Err(rest),
        };
        let whole = event(&one).unwrap();
        assert_eq!(whole, ws_frame::text("x,\"1@v1.9.8.3\"]"));
        assert_eq!(event(&other).unwrap().as_ptr(), whole.as_ptr());
        one.moved(&milestone);
        assert_eq!(event(&one).unwrap().as_ptr(), whole.as_ptr());
        move_to(&mut one, &room("a"), at(6));
        assert_eq!(event(&one).unwrap_err(), ws_frame::rest_of_text(",\"0@v1.9.6.3,1@v1.9.8.3\"]"));
    }

    #[test]
    fn what_belongs_to_an_event_comes_right_after_its_place() {
        let (one, room_b) = (standing(), room("b"));
        let (begin, binary) = (ws_frame::begin_of_text("x"), ws_frame::binary(&[1, 2]));
        let frames = ws_frame::with_binaries(&begin, &[Bytes::from_static(&[1, 2])]);
        let milestone = Milestone::new(&room_b, at(8));
        let Event::Whole(whole) = one.event(&frames, Some(&milestone)) else { panic!("parts") };
        assert_eq!(whole, [ws_frame::text("x,\"1@v1.9.8.3\"]"), binary.clone()].concat());
        let Event::Parts(parts) = one.event(&frames, None) else { panic!("whole") };
        assert_eq!(parts, [begin, ws_frame::rest_of_text(",\"-\"]"), binary]);
    }

    #[test]
    fn what_nobody_told_is_no_place() {
        let record = Record::decode(&standing().record()).unwrap();
        for rubbish in ["", "x", "0", "0@", "0@v1.1.1", "connected", "0@v1.9.1.3,"] {
            assert_eq!(record.cursor(Some(rubbish)), None, "{rubbish}");
        }
    }
}
