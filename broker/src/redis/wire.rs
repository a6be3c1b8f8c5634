//! What travels on a channel of Redis: publications, and what nodes tell each other.
//!
//! ```text
//! 1:<epoch>:<offset>:<nonce>:<previous>:<payload>     with a place in the stream
//! 0:<payload>                                         ephemeral
//! 2:<payload>                                         from node to node
//! 3:+:<count>:<user>/<note>                           a user came; `-` instead of `+`: went
//! 3:=:<count>:                                        so many users are there
//! ```
//!
//! Numbers are decimal, without sign or leading zeros. The publish script writes the first form itself, from the numbers
//! that it keeps as text; the scripts of presence write the last two.

use bytes::Bytes;
use proto::{Epoch, Nonce, Position, Step};

use super::note;
use crate::{Frame, PresenceNews};

/// One message on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// A publication.
    Frame(Frame),
    /// From node to node.
    Control(Bytes),
    /// Who is there changed.
    Presence(PresenceNews),
}

/// The text form of a message from node to node, as it is passed to PUBLISH.
pub fn control(payload: &[u8]) -> Bytes {
    [b"2:", payload].concat().into()
}

/// The text form of a frame, as it is passed to PUBLISH.
pub fn encode(frame: &Frame) -> Bytes {
    let mut text = match frame.step {
        None => "0:".to_owned(),
        Some(Step { position, previous }) => {
            format!("1:{}:{}:{}:{}:", position.epoch.0, position.offset, position.nonce.0, previous.0)
        }
    }
    .into_bytes();
    text.extend_from_slice(&frame.payload);
    text.into()
}

/// Reads a message; `None` for what none of us wrote. The payload shares the memory of `message`.
pub fn decode(message: &Bytes) -> Option<Message> {
    let mut rest = Reader { message, at: 0 };
    let step = match rest.field()? {
        b"0" => None,
        b"1" => {
            let position = Position {
                epoch: Epoch(rest.number()?),
                offset: rest.number()?,
                nonce: Nonce(rest.number()?),
            };
            Some(Step { position, previous: Nonce(rest.number()?) })
        }
        b"3" => return rest.news().map(Message::Presence),
        b"2" => return Some(Message::Control(message.slice(rest.at..))),
        _ => return None,
    };
    Some(Message::Frame(Frame { step, payload: message.slice(rest.at..) }))
}

/// Reads one canonical decimal number.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 20 || (digits.len() > 1 && digits.first() == Some(&b'0')) {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

/// The header's fields, each ended by a colon.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn field(&mut self) -> Option<&'a [u8]> {
        let rest = self.message.get(self.at..)?;
        // A number has at most 20 digits: do not search a long payload for a colon.
        let end = rest.iter().take(21).position(|byte| *byte == b':')?;
        self.at += end + 1;
        rest.get(..end)
    }

    fn number(&mut self) -> Option<u64> {
        number(self.field()?)
    }

    fn news(mut self) -> Option<PresenceNews> {
        let change = self.field()?;
        let count = self.number()?;
        let rest = self.message.get(self.at..)?;
        if change == b"=" {
            return rest.is_empty().then_some(PresenceNews::Count(count));
        }
        let (user, note) = std::str::from_utf8(rest).ok()?.split_once('/')?;
        let user = note::read(user, note)?;
        match change {
            b"+" => Some(PresenceNews::Joined { user, count }),
            b"-" => Some(PresenceNews::Left { user, count }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proto::{PresenceEntry, Profile, UserId};

    fn frame() -> impl Strategy<Value = Frame> {
        let step = (any::<u64>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(e, offset, n, p)| {
            Step { position: Position { epoch: Epoch(e), offset, nonce: Nonce(n) }, previous: Nonce(p) }
        });
        (proptest::option::of(step), any::<Vec<u8>>())
            .prop_map(|(step, payload)| Frame { step, payload: payload.into() })
    }

    /// As the scripts of presence write it.
    fn telling(news: &PresenceNews) -> Bytes {
        let user = |user: &PresenceEntry| format!("{}/{}", user.user, note::write(user).unwrap());
        match news {
            PresenceNews::Joined { user: entry, count } => format!("3:+:{count}:{}", user(entry)).into(),
            PresenceNews::Left { user: entry, count } => format!("3:-:{count}:{}", user(entry)).into(),
            PresenceNews::Count(count) => format!("3:=:{count}:").into(),
        }
    }

    fn written(message: &Message) -> Bytes {
        match message {
            Message::Frame(frame) => encode(frame),
            Message::Control(payload) => control(payload),
            Message::Presence(news) => telling(news),
        }
    }

    #[test]
    fn the_form_is_the_documented_one() {
        let position = Position { epoch: Epoch(u64::MAX), offset: 1, nonce: Nonce(7) };
        let step = Some(Step { position, previous: Nonce(0) });
        let frame = Frame { step, payload: Bytes::from_static(b"a:b") };
        assert_eq!(encode(&frame), &b"1:18446744073709551615:1:7:0:a:b"[..]);
        let empty = Frame { step: None, payload: Bytes::new() };
        assert_eq!(decode(&Bytes::from_static(b"0:")), Some(Message::Frame(empty)));
        assert_eq!(control(b"a:b"), &b"2:a:b"[..]);
    }

    #[test]
    fn news_name_who_came_or_went_or_only_the_number() {
        let name = Some("Zoë: 1/2".to_owned());
        let profile = Some(Profile::new(r#"{"a":1.50}"#).unwrap());
        let user = PresenceEntry { user: UserId::new("auth0|a:b").unwrap(), name, profile };
        let plain = PresenceEntry { user: user.user.clone(), name: None, profile: None };
        for news in [
            PresenceNews::Joined { user, count: 1 },
            PresenceNews::Left { user: plain, count: 0 },
            PresenceNews::Count(70_000),
        ] {
            assert_eq!(decode(&telling(&news)), Some(Message::Presence(news)));
        }
        assert_eq!(
            decode(&Bytes::from_static(b"3:-:0:u/{}")).map(|news| written(&news)).unwrap(),
            "3:-:0:u/{}"
        );
    }

    #[test]
    fn what_is_not_canonical_is_refused() {
        for text in [
            "",
            "0",
            "4:x",
            "3:=:1:x",
            "3:*:1:u/{}",
            "3:+:1:u",
            "3:+:1:u {}/{}",
            "3:+:x:u/{}",
            "1:1:1:1:",
            "1:1:1:1:x:",
            "1:01:1:1:1:",
            "1:+1:1:1:1:",
            "1::1:1:1:",
            "00:",
            "1:18446744073709551616:1:1:1:",
            "1:000000000000000000001:1:1:1:",
        ] {
            assert_eq!(decode(&Bytes::from_static(text.as_bytes())), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(frame in frame()) {
            prop_assert_eq!(decode(&encode(&frame)), Some(Message::Frame(frame.clone())));
            let payload = frame.payload;
            prop_assert_eq!(decode(&control(&payload)), Some(Message::Control(payload)));
        }

        #[test]
        fn any_bytes_are_read_as_they_are_written_or_refused(bytes in any::<Vec<u8>>()) {
            let bytes = Bytes::from(bytes);
            if let Some(message) = decode(&bytes) {
                prop_assert_eq!(written(&message), bytes);
            }
        }

        #[test]
        fn digits_and_colons_are_read_as_they_are_written_or_refused(text in "[01]:[0-9:]{0,60}") {
            let bytes = Bytes::from(text);
            if let Some(message) = decode(&bytes) {
                prop_assert_eq!(written(&message), bytes);
            }
        }
    }
}
