//! The exact place of a publication in its channel.
//!
//! An offset alone does not see that a failover replaced the publications behind it, nor does an epoch that the
//! new primary inherited. So each publication also has a random nonce and names the nonce of the one before it: two
//! histories that share an offset differ in its nonce, and the link between two neighbours can be checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

/// The life of a channel's stream: a random number drawn when the stream begins. Never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Epoch(pub u64);

/// A random number that tells a publication from any other at the same offset. Zero stands before the first one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Nonce(pub u64);

/// The place of a publication in a channel, or with offset 0 the place before the first one.
///
/// Clients see the opaque text `v1.<epoch>.<offset>.<nonce>` (epoch and nonce in hexadecimal).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct Position {
    /// The life of the stream.
    pub epoch: Epoch,
    /// 1 for the first publication of the epoch, then one more for each.
    pub offset: u64,
    /// Which publication stands at this offset.
    pub nonce: Nonce,
}

/// A position together with the nonce of the publication before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Step {
    /// Where the publication stands.
    pub position: Position,
    /// The nonce of the publication one offset earlier; zero for the first.
    pub previous: Nonce,
}

impl Step {
    /// The place right before the publication.
    pub const fn before(&self) -> Position {
        Position { offset: self.position.offset.saturating_sub(1), nonce: self.previous, ..self.position }
    }
}

impl Position {
    /// The place before the first publication of an epoch.
    pub const fn start(epoch: Epoch) -> Self {
        Self { epoch, offset: 0, nonce: Nonce(0) }
    }

    /// Whether `step` is exactly the next publication after this place.
    pub fn precedes(&self, step: &Step) -> bool {
        step.position.epoch == self.epoch
            && step.position.offset == self.offset.wrapping_add(1)
            && step.previous == self.nonce
    }
}

/// Why a text is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not a position that this server gave out")]
pub struct PositionError;

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Text::of(self).as_str())
    }
}

impl Serialize for Position {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(Text::of(self).as_str())
    }
}

/// The text of a position, written from its end. Every publish and every frame has one, and the machinery of formatting
/// takes several times as long.
struct Text {
    bytes: [u8; Self::LONGEST],
    start: usize,
}

impl Text {
    const LONGEST: usize = "v1.".len() + 16 + ".".len() + 20 + ".".len() + 16;

    fn of(position: &Position) -> Self {
        let mut text = Self { bytes: [0; Self::LONGEST], start: Self::LONGEST };
        text.number::<16>(position.nonce.0);
        text.byte(b'.');
        text.number::<10>(position.offset);
        text.byte(b'.');
        text.number::<16>(position.epoch.0);
        b"v1.".iter().rev().for_each(|byte| text.byte(*byte));
        text
    }

    fn number<const RADIX: u64>(&mut self, mut number: u64) {
        loop {
            let digit = (number % RADIX) as u8;
            self.byte(if digit < 10 { b'0' + digit } else { b'a' + digit - 10 });
            number /= RADIX;
            if number == 0 {
                break;
            }
        }
    }

    fn byte(&mut self, byte: u8) {
        self.start -= 1;
        if let Some(place) = self.bytes.get_mut(self.start) {
            *place = byte;
        }
    }

    fn as_str(&self) -> &str {
        self.bytes.get(self.start..).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl FromStr for Position {
    type Err = PositionError;

    /// Reads the one canonical text of a position; anything else, such as a leading zero or plus, is refused.
    fn from_str(text: &str) -> Result<Self, PositionError> {
        let mut parts = text.strip_prefix("v1.").ok_or(PositionError)?.split('.');
        let (Some(epoch), Some(offset), Some(nonce), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(PositionError);
        };
        let position = Self {
            epoch: Epoch(u64::from_str_radix(epoch, 16).map_err(|_| PositionError)?),
            offset: offset.parse().map_err(|_| PositionError)?,
            nonce: Nonce(u64::from_str_radix(nonce, 16).map_err(|_| PositionError)?),
        };
        if position.to_string() == text { Ok(position) } else { Err(PositionError) }
    }
}

impl TryFrom<String> for Position {
    type Error = PositionError;
    fn try_from(text: String) -> Result<Self, PositionError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_text_for_one_position() {
        for text in
            ["", "v1", "v1.1.2", "v1.1.2.3.4", "v2.1.2.3", "v1.01.2.3", "v1.1.+2.3", "v1.A.2.3", "v1.1.-2.3"]
        {
            assert_eq!(text.parse::<Position>(), Err(PositionError), "{text}");
        }
    }

    #[test]
    fn the_longest_text_is_written_whole() {
        let position = Position { epoch: Epoch(u64::MAX), offset: u64::MAX, nonce: Nonce(u64::MAX) };
        assert_eq!(position.to_string(), "v1.ffffffffffffffff.18446744073709551615.ffffffffffffffff");
        assert_eq!(Position::start(Epoch(0x9f0)).to_string(), "v1.9f0.0.0");
        assert_eq!(serde_json::to_string(&Position::start(Epoch(1))).unwrap(), r#""v1.1.0.0""#);
    }

    proptest! {
        #[test]
        fn text_and_back(epoch: u64, offset: u64, nonce: u64) {
            let position = Position { epoch: Epoch(epoch), offset, nonce: Nonce(nonce) };
            prop_assert_eq!(position.to_string().parse::<Position>().unwrap(), position);
        }

        #[test]
        fn any_text_is_refused_or_canonical(text in "(v1)?[.0-9a-fA-F+-]{0,40}") {
            if let Ok(position) = text.parse::<Position>() {
                prop_assert_eq!(position.to_string(), text);
            }
        }
    }
}
