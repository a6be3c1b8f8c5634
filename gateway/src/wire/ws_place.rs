//! Where in a client's stream of frames (RFC 6455, section 5.2) its reader is.

use std::io::Cursor;

use smallvec::SmallVec;
use tokio_tungstenite::tungstenite::protocol::frame::FrameHeader;
use tokio_tungstenite::tungstenite::protocol::frame::coding::OpCode;

/// How long a header is at most.
const HEADER: usize = 14;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// What was read of the next frame's header.
    header: SmallVec<[u8; HEADER]>,
    /// How much of the frame's payload is still to come.
    payload: u64,
    /// More fragments of the message are still to come.
    is_fragmented: bool,
}

impl Place {
    /// This was read.
    pub(super) fn pass(&mut self, mut bytes: &[u8]) {
        loop {
            let within = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
            self.payload -= within as u64;
            bytes = bytes.get(within..).unwrap_or_default();
            let Some((byte, rest)) = bytes.split_first() else { return };
            self.header.push(*byte);
            bytes = rest;
            match FrameHeader::parse(&mut Cursor::new(&self.header)) {
                Ok(None) => {}
                Ok(Some((header, length))) => {
                    self.header.clear();
                    self.payload = length;
                    // Control frames may come between fragments.
                    if let OpCode::Data(_) = header.opcode {
                        self.is_fragmented = !header.is_final;
                    }
                }
                // No frame begins like that, so none ends.
                Err(_) => self.payload = u64::MAX,
            }
        }
    }

    /// Whether all that was read is whole messages.
    pub(super) fn is_between_messages(&self) -> bool {
        self.header.is_empty() && self.payload == 0 && !self.is_fragmented
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::protocol::frame::Frame;
    use tokio_tungstenite::tungstenite::protocol::frame::coding::{Control, Data};

    /// A frame as a client sends it.
    fn frame(opcode: OpCode, is_final: bool, length: usize) -> Vec<u8> {
        let header = FrameHeader { is_final, opcode, mask: Some([1, 2, 3, 4]), ..FrameHeader::default() };
        let mut bytes = Vec::new();
        Frame::from_payload(header, vec![7; length].into()).format(&mut bytes).unwrap();
        bytes
    }

    fn is_between_after(frames: &[Vec<u8>]) -> bool {
        let mut place = Place::default();
        frames.iter().for_each(|frame| place.pass(frame));
        place.is_between_messages()
    }

    #[test]
    fn fragments_with_a_ping_between_them_are_one_message() {
        let begin = frame(OpCode::Data(Data::Text), false, 3);
        let middle = frame(OpCode::Data(Data::Continue), false, 0);
        let ping = frame(OpCode::Control(Control::Ping), true, 5);
        let end = frame(OpCode::Data(Data::Continue), true, 200);
        assert!(is_between_after(&[]));
        assert!(!is_between_after(std::slice::from_ref(&begin)));
        assert!(!is_between_after(&[begin.clone(), middle.clone(), ping.clone()]));
        assert!(is_between_after(&[begin, middle, ping, end]));
    }

    #[test]
    fn what_is_no_frame_has_no_end() {
        let reserved = [0x83, 0x80, 1, 2, 3, 4];
        assert!(!is_between_after(&[reserved.to_vec(), frame(OpCode::Data(Data::Text), true, 0)]));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_a_message_ends_with_its_last_byte(
            length in prop_oneof![0usize..300, Just(65_535), Just(65_536)],
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..5),
        ) {
            let whole = [frame(OpCode::Control(Control::Pong), true, 4), frame(OpCode::Data(Data::Binary), true, length)].concat();
            let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(whole.len())).collect();
            ends.sort_unstable();
            let (mut place, mut at) = (Place::default(), 0);
            for end in ends {
                place.pass(&whole[at..end]);
                at = end;
                prop_assert_eq!(place.is_between_messages(), end == 0 || end == 10);
            }
            place.pass(&whole[at..]);
            prop_assert!(place.is_between_messages());
        }
    }
}
