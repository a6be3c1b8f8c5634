//! Server frames of RFC 6455 (section 5.2), built once and shared: unmasked, and final but for texts whose end differs from
//! client to client, which come in two fragments (section 5.4).

use bytes::{BufMut, Bytes, BytesMut};
use proto::Close;

pub(crate) const FIN: u8 = 0x80;
/// The bits of a frame's first byte that tell what it is.
pub(crate) const OPCODE: u8 = 0x0f;
const CONTINUATION: u8 = 0x0;
pub(crate) const TEXT: u8 = 0x1;
const BINARY: u8 = 0x2;
const CLOSE: u8 = 0x8;
const PING: u8 = 0x9;

/// A ping without payload.
pub(crate) const PING_FRAME: Bytes = Bytes::from_static(&[FIN | PING, 0]);

/// A ping with a number.
pub(crate) fn ping(number: u32) -> Bytes {
    build(FIN | PING, 4, |frame| frame.put_u32(number))
}

/// The number that a pong repeats, if its ping had one.
pub(crate) fn pong_number(payload: &[u8]) -> Option<u32> {
    payload.try_into().ok().map(u32::from_be_bytes)
}

/// A text message.
pub(crate) fn text(text: &str) -> Bytes {
    build(FIN | TEXT, text.len(), |frame| frame.put_slice(text.as_bytes()))
}

/// The beginning of a text message; its rest has to follow.
pub(crate) fn begin_of_text(text: &str) -> Bytes {
    build(TEXT, text.len(), |frame| frame.put_slice(text.as_bytes()))
}

/// The rest of a text message.
pub(crate) fn rest_of_text(text: &str) -> Bytes {
    build(FIN | CONTINUATION, text.len(), |frame| frame.put_slice(text.as_bytes()))
}

/// A text message of its beginning, a frame, and its rest; then what followed the beginning.
pub(crate) fn whole_text(begin: &Bytes, rest: &str) -> Bytes {
    let [begin, after] = split_begin(begin);
    let begin = begin.get(head(&begin)..).unwrap_or_default();
    let text = build(FIN | TEXT, begin.len() + rest.len(), |frame| {
        frame.put_slice(begin);
        frame.put_slice(rest.as_bytes());
    });
    if after.is_empty() { text } else { [text, after].concat().into() }
}

/// A text message or its beginning, with the binary messages that belong to it.
pub(crate) fn with_binaries(text: &Bytes, binaries: &[Bytes]) -> Bytes {
    let mut all = BytesMut::from(&**text);
    for bytes in binaries {
        all.extend_from_slice(&binary(bytes));
    }
    all.freeze()
}

/// The beginning of a text message, and what follows when its rest is told: the binary messages that belong to it, if there
/// are any.
pub(crate) fn split_begin(frames: &Bytes) -> [Bytes; 2] {
    let at = |index: usize| u64::from(frames.get(index).copied().unwrap_or_default());
    let length = match head(frames) {
        2 => at(1),
        head => (2..head).fold(0, |length, index| length << 8 | at(index)),
    };
    let end = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(head(frames)).min(frames.len());
    [frames.slice(..end), frames.slice(end..)]
}

/// How many bytes stand before the payload of a frame.
fn head(frame: &Bytes) -> usize {
    match frame.get(1) {
        Some(126) => 4,
        Some(127) => 10,
        _ => 2,
    }
}

/// Whether a frame is the beginning of a text message. No line of an event stream looks like that.
pub(crate) fn is_begin_of_text(frame: &Bytes) -> bool {
    frame.first() == Some(&TEXT)
}

/// Whether a frame is a binary message.
pub(crate) fn is_binary(frame: &Bytes) -> bool {
    frame.first() == Some(&(FIN | BINARY))
}

/// A binary message.
pub(crate) fn binary(bytes: &[u8]) -> Bytes {
    build(FIN | BINARY, bytes.len(), |frame| frame.put_slice(bytes))
}

/// A close frame with the code and a reason, cut to what a control frame carries (125 bytes, section 5.5).
pub(crate) fn close(close: Close, reason: Option<&str>) -> Bytes {
    let mut reason = reason.unwrap_or(close.reason());
    while reason.len() > 123 {
        let end = reason.char_indices().map(|(at, _)| at).take_while(|at| *at <= 123).last().unwrap_or(0);
        reason = reason.get(..end).unwrap_or("");
    }
    build(FIN | CLOSE, 2 + reason.len(), |frame| {
        frame.put_u16(close.code());
        frame.put_slice(reason.as_bytes());
    })
}

fn build(first: u8, length: usize, payload: impl FnOnce(&mut BytesMut)) -> Bytes {
    let mut frame = BytesMut::with_capacity(10 + length);
    frame.put_u8(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => frame.put_u8(short),
        (_, Ok(medium)) => {
            frame.put_u8(126);
            frame.put_u16(medium);
        }
        _ => {
            frame.put_u8(127);
            frame.put_u64(length as u64);
        }
    }
    payload(&mut frame);
    frame.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::{FrameHeader, coding::OpCode};

    fn parse(frame: &Bytes) -> (OpCode, Bytes) {
        let mut cursor = std::io::Cursor::new(frame);
        let (header, length) = FrameHeader::parse(&mut cursor).unwrap().unwrap();
        assert!(header.is_final && header.mask.is_none());
        let at = usize::try_from(cursor.position()).unwrap();
        assert_eq!(frame.len(), at + usize::try_from(length).unwrap());
        (header.opcode, frame.slice(at..))
    }

    #[test]
    fn every_length_form_is_read_back() {
        for length in [0, 1, 125, 126, 127, 65535, 65536, 100_000] {
            let (opcode, payload) = parse(&text(&"x".repeat(length)));
            assert_eq!(format!("{opcode}"), "TEXT");
            assert_eq!(payload.len(), length);
            let whole = whole_text(&begin_of_text(&"x".repeat(length)), "y");
            assert_eq!(whole, text(&format!("{}y", "x".repeat(length))));
        }
    }

    #[test]
    fn what_belongs_to_a_text_follows_it_whole_or_in_fragments() {
        for length in [0, 125, 126, 65536] {
            let (text, binaries) = ("x".repeat(length), [Bytes::from_static(&[1, 2]), Bytes::new()]);
            let after = [binary(&[1, 2]), binary(&[])].concat();
            let frames = with_binaries(&begin_of_text(&text), &binaries);
            assert!(is_begin_of_text(&frames) && !is_binary(&frames));
            assert_eq!(split_begin(&frames), [begin_of_text(&text), after.clone().into()]);
            assert_eq!(split_begin(&begin_of_text(&text)), [begin_of_text(&text), Bytes::new()]);
            let whole = [&super::text(&format!("{text}y"))[..], &after].concat();
            assert_eq!(whole_text(&frames, "y"), whole);
        }
        assert_eq!(
            split_begin(&Bytes::from_static(&[TEXT, 127, 255])),
            [Bytes::from_static(&[TEXT, 127, 255]), Bytes::new()]
        );
    }

    #[test]
    fn a_pong_repeats_the_number_of_its_ping() {
        let (opcode, payload) = parse(&ping(0x0102_0304));
        assert_eq!((format!("{opcode}"), pong_number(&payload)), ("PING".to_owned(), Some(0x0102_0304)));
        assert_eq!((pong_number(&[]), pong_number(&[0; 5])), (None, None));
    }

    proptest! {
        #[test]
        fn a_close_fits_a_control_frame(reason in ".{0,200}") {
            let (_, payload) = parse(&close(Close::PolicyViolation, Some(&reason)));
            prop_assert!(payload.len() <= 125);
            prop_assert_eq!(&payload[..2], &[3, 240]);
            prop_assert!(reason.starts_with(std::str::from_utf8(&payload[2..]).unwrap()));
        }
    }
}
