//! WebSocket framing, just as much as a load client and its floor need.
//!
//! Frames are built once and written many times, and read in place from the
//! caller's buffer. Of fragmented messages (RFC 6455, 5.4) those of two
//! fragments are known, since a server may keep apart what is the same for all
//! receivers and what is not.

use anyhow::{Result, bail, ensure};

/// The kinds of frame that either side acts on (RFC 6455, 5.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opcode {
    /// A whole text message.
    Text,
    /// The first of a text message's two fragments.
    Beginning,
    /// The second one.
    Rest,
    /// The end of the conversation.
    Close,
    /// A probe that wants a pong.
    Ping,
    /// The answer to a probe.
    Pong,
}

impl Opcode {
    /// The first byte of a frame of this kind.
    fn first_byte(self) -> u8 {
        match self {
            Self::Text => 0x81,
            Self::Beginning => 0x01,
            Self::Rest => 0x80,
            Self::Close => 0x88,
            Self::Ping => 0x89,
            Self::Pong => 0x8a,
        }
    }

    fn from_first_byte(byte: u8) -> Result<Self> {
        Ok(match byte {
            0x81 => Self::Text,
            0x01 => Self::Beginning,
            0x80 => Self::Rest,
            0x88 => Self::Close,
            0x89 => Self::Ping,
            0x8a => Self::Pong,
            other => bail!("a frame that begins with 0x{other:02x} is not one a load run knows"),
        })
    }
}

/// Where one frame lies in the bytes it was read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Frame {
    /// Its kind.
    pub opcode: Opcode,
    /// Bytes before the payload.
    pub header: usize,
    /// Bytes of payload.
    pub payload: usize,
    /// The masking key, in frames of a client.
    pub mask: Option<[u8; 4]>,
}

impl Frame {
    /// Header and payload together, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.header.saturating_add(self.payload)
    }

    /// The payload's bytes within `bytes`, which begins with this frame.
    #[must_use]
    pub fn payload_of<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        bytes.get(self.header..self.size()).unwrap_or_default()
    }
}

/// Reads the frame that `bytes` begins with; `None` means that more bytes are
/// needed (RFC 6455, 5.2).
///
/// # Errors
/// A binary or reserved frame.
pub fn decode(bytes: &[u8]) -> Result<Option<Frame>> {
    let &[first, second, ref rest @ ..] = bytes else {
        return Ok(None);
    };
    let opcode = Opcode::from_first_byte(first)?;
    let (payload, rest, mut header) = match (second & 0x7f, rest) {
        (126, &[a, b, ref rest @ ..]) => (usize::from(u16::from_be_bytes([a, b])), rest, 4),
        (127, &[a, b, c, d, e, f, g, h, ref rest @ ..]) => {
            let length = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
            (usize::try_from(length)?, rest, 10)
        }
        (126 | 127, _) => return Ok(None),
        (short, rest) => (usize::from(short), rest, 2),
    };
    let mut mask = None;
    if second & 0x80 != 0 {
        let &[a, b, c, d, ..] = rest else {
            return Ok(None);
        };
        mask = Some([a, b, c, d]);
        header += 4;
    }
    let frame = Frame { opcode, header, payload, mask };
    Ok((bytes.len() >= frame.size()).then_some(frame))
}

/// A whole message: a frame, or the two fragments of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message {
    /// Its kind; a text is [`Opcode::Text`] however it came.
    pub opcode: Opcode,
    first: Frame,
    rest: Option<Frame>,
}

impl Message {
    /// All its frames together, bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.first.size().saturating_add(self.rest.map_or(0, |rest| rest.size()))
    }

    /// The payload within `bytes`, which begins with this message. Fragments
    /// are moved together for that.
    pub fn payload_of<'a>(&self, bytes: &'a mut [u8]) -> &'a [u8] {
        let Self { first, rest, .. } = self;
        let mut end = first.size();
        if let Some(rest) = rest {
            let from = end.saturating_add(rest.header);
            let to = end.saturating_add(rest.size());
            if to <= bytes.len() {
                bytes.copy_within(from..to, end);
                end += rest.payload;
            }
        }
        bytes.get(first.header..end).unwrap_or_default()
    }
}

/// Reads the message that `bytes` begins with; `None` means that more bytes are
/// needed.
///
/// # Errors
/// What is wrong with a frame, or fragments that do not belong together.
pub fn decode_message(bytes: &[u8]) -> Result<Option<Message>> {
    let Some(first) = decode(bytes)? else {
        return Ok(None);
    };
    match first.opcode {
        Opcode::Beginning => {
            let Some(rest) = decode(bytes.get(first.size()..).unwrap_or_default())? else {
                return Ok(None);
            };
            ensure!(rest.opcode == Opcode::Rest, "a text of other than two fragments");
            Ok(Some(Message { opcode: Opcode::Text, first, rest: Some(rest) }))
        }
        Opcode::Rest => bail!("the rest of a text that did not begin"),
        opcode => Ok(Some(Message { opcode, first, rest: None })),
    }
}

/// Appends a server's frame, which carries no mask.
pub fn encode_unmasked(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    put_header(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// Appends a client's frame, masked with `key` (RFC 6455, 5.3).
pub fn encode_masked(opcode: Opcode, payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    put_header(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&key);
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

/// Appends `payload` without its mask.
pub fn unmask(payload: &[u8], key: [u8; 4], out: &mut Vec<u8>) {
    out.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

fn put_header(opcode: Opcode, length: usize, mask_bit: u8, out: &mut Vec<u8>) {
    out.push(opcode.first_byte());
    if let Some(short) = u8::try_from(length).ok().filter(|short| *short < 126) {
        out.push(mask_bit | short);
    } else if let Ok(medium) = u16::try_from(length) {
        out.push(mask_bit | 126);
        out.extend_from_slice(&medium.to_be_bytes());
    } else {
        out.push(mask_bit | 127);
        out.extend_from_slice(&(length as u64).to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_of_every_length_form_survives_the_wire() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let payload = vec![b'x'; length];
            let mut wire = Vec::new();
            encode_unmasked(Opcode::Text, &payload, &mut wire);
            let frame = decode(&wire).unwrap().unwrap();
            assert_eq!(frame.opcode, Opcode::Text);
            assert_eq!(frame.size(), wire.len());
            assert_eq!(frame.payload_of(&wire), payload);
        }
    }

    #[test]
    fn a_masked_frame_is_the_example_of_the_standard() {
        // RFC 6455, 5.7: a single-frame masked text message, "Hello".
        let mut wire = Vec::new();
        encode_masked(Opcode::Text, b"Hello", [0x37, 0xfa, 0x21, 0x3d], &mut wire);
        assert_eq!(wire, [0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58]);
        let frame = decode(&wire).unwrap().unwrap();
        let mut text = Vec::new();
        unmask(frame.payload_of(&wire), frame.mask.unwrap(), &mut text);
        assert_eq!(text, b"Hello");
    }

    #[test]
    fn every_cut_asks_for_more() {
        let mut wire = Vec::new();
        encode_masked(Opcode::Text, &[7; 300], [1, 2, 3, 4], &mut wire);
        for cut in 0..wire.len() {
            assert_eq!(decode(&wire[..cut]).unwrap(), None, "cut at {cut}");
        }
    }

    #[test]
    fn binary_and_middle_fragments_are_refused() {
        for first in [0x00, 0x82, 0xc1] {
            assert!(decode(&[first, 0]).is_err());
        }
    }

    #[test]
    fn two_fragments_are_one_text() {
        let mut wire = Vec::new();
        encode_unmasked(Opcode::Beginning, &[b'a'; 200], &mut wire);
        encode_unmasked(Opcode::Rest, b"bcd", &mut wire);
        for cut in 0..wire.len() {
            assert_eq!(decode_message(&wire[..cut]).unwrap(), None, "cut at {cut}");
        }
        let size = wire.len();
        wire.push(7); // of the next message
        let message = decode_message(&wire).unwrap().unwrap();
        assert_eq!((message.opcode, message.size()), (Opcode::Text, size));
        let text = message.payload_of(&mut wire).to_vec();
        assert_eq!(text, [&[b'a'; 200][..], b"bcd"].concat());
        assert_eq!(wire.last(), Some(&7));
    }

    #[test]
    fn fragments_that_do_not_belong_together_are_refused() {
        assert!(decode_message(&[0x80, 0]).is_err());
        assert!(decode_message(&[0x01, 0, 0x81, 0]).is_err());
    }
}
