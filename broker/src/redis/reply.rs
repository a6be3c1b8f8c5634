//! What the scripts answer.

use fred::error::{Error, ErrorKind};
use fred::types::{FromValue, Value};
use proto::{Epoch, Nonce, Position, Step, Timestamp};

use super::link::resp;
use super::wire::number;
use crate::{Entry, EntryKey, Letter, Waiting};

/// How a publish ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Done, now or by an earlier try of the same call. Ephemeral ones have no position.
    Done(Option<Position>),
    /// Done before, under the same id.
    Duplicate(Option<Position>),
    /// The id was used for another message.
    Conflict,
    /// As much waits for the backend as may. Nothing was done.
    Full,
    /// The channel is to be entered into the index of outboxes first. Nothing was done.
    Unmarked(u64),
}

/// A channel's top and some of its entries.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) top: Position,
    pub(super) entries: Vec<Entry>,
}

impl FromValue for Outcome {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut parts = value.into_array().into_iter();
        let word = text(parts.next())?;
        if word.as_ref() == b"unmarked" {
            return number(&text(parts.next())?).map(Self::Unmarked).ok_or_else(malformed);
        }
        Self::new(&word, position(&mut parts)?).ok_or_else(malformed)
    }
}

impl Outcome {
    fn new(word: &[u8], position: Position) -> Option<Self> {
        let position = (position.offset > 0).then_some(position);
        match word {
            b"ok" => Some(Self::Done(position)),
            b"dup" => Some(Self::Duplicate(position)),
            b"conflict" => Some(Self::Conflict),
            b"full" => Some(Self::Full),
            _ => None,
        }
    }

    /// The outcome of the nth of several messages, from 0, when this is that of the first: nothing stands between them.
    pub(super) fn of_nth(self, nth: u64, nonce: Nonce) -> Self {
        match self {
            Self::Done(Some(first)) if nth > 0 => {
                Self::Done(Some(Position { offset: first.offset + nth, nonce, ..first }))
            }
            outcome => outcome,
        }
    }

    /// The same from a connection of our own.
    pub(super) fn read(value: &resp::Value<'_>) -> Option<Self> {
        let part = |value: &resp::Value<'_>| number(value.text()?);
        if let [word, ticket] = value.array()? {
            return (word.text()? == b"unmarked").then(|| part(ticket).map(Self::Unmarked))?;
        }
        let [word, epoch, offset, nonce] = value.array()? else { return None };
        let position =
            Position { epoch: Epoch(part(epoch)?), offset: part(offset)?, nonce: Nonce(part(nonce)?) };
        Self::new(word.text()?, position)
    }
}

impl FromValue for Reading {
    fn from_value(value: Value) -> Result<Self, Error> {
        let mut parts = value.into_array().into_iter();
        let top = position(&mut parts)?;
        let entries = parts.next().ok_or_else(malformed)?.into_array();
        let entries = entries.into_iter().map(|value| entry(top.epoch, value)).collect::<Result<_, _>>()?;
        Ok(Self { top, entries })
    }
}

fn position(parts: &mut impl Iterator<Item = Value>) -> Result<Position, Error> {
    let mut next = || number(&text(parts.next())?).ok_or_else(malformed);
    Ok(Position { epoch: Epoch(next()?), offset: next()?, nonce: Nonce(next()?) })
}

/// `[id, [p, previous, d, payload]]`
fn entry(epoch: Epoch, value: Value) -> Result<Entry, Error> {
    let mut parts = value.into_array().into_iter();
    let id = text(parts.next())?;
    let dash = id.iter().position(|byte| *byte == b'-').ok_or_else(malformed)?;
    let part = |digits: Option<&[u8]>| digits.and_then(number).ok_or_else(malformed);
    let position = Position { epoch, offset: part(id.get(..dash))?, nonce: Nonce(part(id.get(dash + 1..))?) };
    let mut fields = parts.next().ok_or_else(malformed)?.into_array().into_iter();
    let (mut previous, mut payload) = (None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match text(Some(name))?.as_ref() {
            b"p" => previous = number(&text(Some(value))?),
            b"d" => payload = Some(text(Some(value))?),
            _ => {}
        }
    }
    let previous = Nonce(previous.ok_or_else(malformed)?);
    Ok(Entry { step: Step { position, previous }, payload: payload.ok_or_else(malformed)? })
}

/// The answer of a script that may want the channel entered into the index of outboxes first.
#[derive(Debug)]
pub(super) enum Ticketed<T> {
    /// It is done.
    Done(T),
    /// It is not; with this ticket it may be.
    Unmarked(String),
}

impl<T: FromValue> FromValue for Ticketed<T> {
    fn from_value(value: Value) -> Result<Self, Error> {
        match value {
            // Such a script answers with numbers and lists alone.
            ticket @ (Value::String(_) | Value::Bytes(_)) => String::from_value(ticket).map(Self::Unmarked),
            answer => T::from_value(answer).map(Self::Done),
        }
    }
}

/// What waits in an outbox.
#[derive(Debug)]
pub(super) struct Entries(pub(super) Vec<Waiting>);

impl FromValue for Entries {
    fn from_value(value: Value) -> Result<Self, Error> {
        value.into_array().into_iter().map(waiting).collect::<Result<_, _>>().map(Self)
    }
}

/// `[id, [i, what it is, d, payload]]`, where an id begins with the time at which it was written.
fn waiting(value: Value) -> Result<Waiting, Error> {
    let mut parts = value.into_array().into_iter();
    let key = text(parts.next())?;
    let key = std::str::from_utf8(&key).map_err(|_| malformed())?;
    let since = key.split('-').next().and_then(|time| number(time.as_bytes())).ok_or_else(malformed)?;
    let mut fields = parts.next().ok_or_else(malformed)?.into_array().into_iter();
    let (mut id, mut data) = (None, None);
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        match text(Some(name))?.as_ref() {
            b"i" => id = Some(text(Some(value))?),
            b"d" => data = Some(text(Some(value))?),
            _ => {}
        }
    }
    let letter = id.zip(data).and_then(|(id, data)| letter(&id, data)).ok_or_else(malformed)?;
    Ok(Waiting { key: EntryKey(key.to_owned()), since: Timestamp(since), letter })
}

/// Reads a letter from its two fields.
pub(super) fn letter(id: &[u8], data: bytes::Bytes) -> Option<Letter> {
    let mut parts = id.split(|byte| *byte == b':');
    let kind = parts.next()?;
    let mut numbers = parts.map(number);
    let mut next = || numbers.next().flatten();
    match kind {
        b"m" => {
            let position = Position { epoch: Epoch(next()?), offset: next()?, nonce: Nonce(next()?) };
            Some(Letter::Message { position, payload: data })
        }
        b"p" => {
            let number = (next()?, next()?);
            let (sign, rest) = std::str::from_utf8(&data).ok()?.split_at_checked(1)?;
            let (user, note) = rest.split_once('/')?;
            let user = super::note::read(user, note)?;
            match sign {
                "+" => Some(Letter::Occupied { number, user }),
                "-" => Some(Letter::Vacated { number, user }),
                _ => None,
            }
        }
        _ => None,
    }
}

fn text(value: Option<Value>) -> Result<bytes::Bytes, Error> {
    match value {
        Some(Value::Bytes(bytes)) => Ok(bytes),
        Some(Value::String(text)) => Ok(text.into_inner()),
        // The client turns short decimal answers into numbers in places.
        Some(Value::Integer(number)) => Ok(number.to_string().into()),
        _ => Err(malformed()),
    }
}

fn malformed() -> Error {
    Error::new(ErrorKind::Parse, "an answer is not what the scripts give")
}
