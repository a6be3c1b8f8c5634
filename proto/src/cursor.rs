//! The places of several channels in one text, for clients that come back to more than one.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::position::{Position, PositionError};

/// A position for each of some channels, by their public names.
///
/// Its text is `<channel>@<position>`, joined by commas: `room:lobby@v1.9f.12.3c,user:42@v1.7a.3.b1`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor(BTreeMap<String, Position>);

impl Cursor {
    /// The most channels that a text may name: far more than a session follows, and no more than a moment's work.
    pub const MAX: usize = 4096;

    /// The position of a channel.
    pub fn get(&self, channel: &str) -> Option<Position> {
        self.0.get(channel).copied()
    }

    /// Sets the position of a channel.
    pub fn set(&mut self, channel: &str, position: Position) {
        match self.0.get_mut(channel) {
            Some(known) => *known = position,
            None => drop(self.0.insert(channel.to_owned(), position)),
        }
    }

    /// Takes over all positions of another one.
    pub fn merge(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Forgets a channel.
    pub fn remove(&mut self, channel: &str) {
        self.0.remove(channel);
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (channel, position)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{channel}@{position}")?;
        }
        Ok(())
    }
}

impl FromStr for Cursor {
    type Err = PositionError;

    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut cursor = Self::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            // A name may hold the sign, a position never does.
            let (channel, position) = part.rsplit_once('@').ok_or(PositionError)?;
            if cursor.0.len() == Self::MAX {
                return Err(PositionError);
            }
            cursor.set(channel, position.parse()?);
        }
        Ok(cursor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::{Epoch, Nonce};

    #[test]
    fn what_is_written_is_read_back() {
        let at = |offset| Position { epoch: Epoch(9), offset, nonce: Nonce(3) };
        let mut cursor = Cursor::default();
        cursor.set("room:lobby", at(1));
        cursor.set("user:a@b.example", at(2));
        cursor.set("room:lobby", at(3));
        let text = cursor.to_string();
        assert_eq!(text, "room:lobby@v1.9.3.3,user:a@b.example@v1.9.2.3");
        assert_eq!(text.parse(), Ok(cursor.clone()));
        assert_eq!(cursor.get("user:a@b.example"), Some(at(2)));
        cursor.remove("room:lobby");
        assert_eq!(cursor.get("room:lobby"), None);
        assert_eq!("".parse(), Ok(Cursor::default()));
    }

    #[test]
    fn rubbish_and_endless_lists_are_refused() {
        for text in ["x", "room:a", "room:a@", "room:a@v1.1.1", "@v1.9.1.3@"] {
            assert_eq!(text.parse::<Cursor>(), Err(PositionError), "{text}");
        }
        let endless: Vec<_> = (0..=Cursor::MAX).map(|n| format!("room:{n}@v1.9.1.3")).collect();
        assert_eq!(endless.join(",").parse::<Cursor>(), Err(PositionError));
    }
}
