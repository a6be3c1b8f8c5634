//! What waits for a client: server frames of WebSocket, built once and shared by all who receive them. For a client that
//! polls they are taken apart again.

use bytes::{Buf, Bytes};
use proto::framing::engineio::{Packet, Payload};

use crate::wire::ws_frame;

/// One message or several that must not be parted, such as an event with its attachments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frames(Bytes);

impl Frames {
    /// A text message.
    pub fn text(message: &str) -> Self {
        Self::packet(&Packet::Message(message))
    }

    /// A binary message.
    pub fn binary(message: &[u8]) -> Self {
        Self(ws_frame::binary(message))
    }

    /// A text message and the binary messages that belong to it.
    pub fn with_attachments(message: &str, attachments: &[Bytes]) -> Self {
        if attachments.is_empty() {
            return Self::text(message);
        }
        Self(ws_frame::with_binaries(&Self::text(message).0, attachments))
    }

    /// A packet of the session itself.
    pub(super) fn packet(packet: &Packet<'_>) -> Self {
        Self(ws_frame::text(&packet.to_text()))
    }

    /// What was made [bytes](Self::into_bytes).
    pub(super) const fn from_bytes(frames: Bytes) -> Self {
        Self(frames)
    }

    pub(crate) fn into_bytes(self) -> Bytes {
        self.0
    }

    /// Adds the messages to the body of a polling answer.
    pub(super) fn add_to(mut self, payload: &mut Payload) {
        while let Some((first, mut message)) = next_frame(&mut self.0) {
            if first & ws_frame::FIN == 0
                && let Some((_, rest)) = next_frame(&mut self.0)
            {
                message = [message, rest].concat().into();
            }
            let opcode = first & ws_frame::OPCODE;
            match std::str::from_utf8(&message) {
                Ok(text) if opcode == ws_frame::TEXT => payload.push_text(text),
                _ => payload.push_binary(&message),
            }
        }
    }
}

/// Takes a frame off: its first byte and payload. The frames are those that `ws_frame` builds.
fn next_frame(frames: &mut Bytes) -> Option<(u8, Bytes)> {
    let first = frames.try_get_u8().ok()?;
    let length = match frames.try_get_u8().ok()? {
        126 => u64::from(frames.try_get_u16().ok()?),
        127 => frames.try_get_u64().ok()?,
        short => u64::from(short),
    };
    let length = usize::try_from(length).ok().filter(|length| *length <= frames.len())?;
    Some((first, frames.split_to(length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_taken_apart_for_polling() {
        let long = "x".repeat(70_000);
        let attachments = [Bytes::from_static(&[1, 2, 3, 4]), Bytes::from(vec![0; 200])];
        let mut payload = Payload::default();
        Frames::text("hello").add_to(&mut payload);
        Frames::with_attachments(&long, &attachments).add_to(&mut payload);
        let halves = [ws_frame::begin_of_text("4[1"), ws_frame::rest_of_text(",2]")];
        Frames::from_bytes(halves.concat().into()).add_to(&mut payload);
        Frames::packet(&Packet::Ping("")).add_to(&mut payload);
        let body = payload.into_string();
        let parts: Vec<_> = body.split('\u{1e}').collect();
        assert_eq!(parts.len(), 6);
        assert_eq!((parts[0], parts[2], parts[4], parts[5]), ("4hello", "bAQIDBA==", "4[1,2]", "2"));
        assert_eq!(parts[1].len(), 1 + long.len());
        assert_eq!(parts[3].len(), 1 + 268);
    }
}
