//! What a message of a load run carries, and how a receiver reads it back.
//!
//! `data` is `{"seq":…,"t":…,"pad":"…"}`: the number that the checker
//! follows, the moment of publishing, and filling up to the wanted size. A
//! server may reorder the keys or wrap them in any envelope; only the keys
//! themselves are looked for.

use std::time::Instant;

const SEQ: &[u8] = b"\"seq\":";
const TIME: &[u8] = b"\"t\":";

/// What a receiver needs to know of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Its number in the run.
    pub seq: u64,
    /// When it was published, nanoseconds since the run's [`Clock`] began.
    pub published: u64,
}

/// Time as it is written into messages.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    began: Instant,
}

impl Clock {
    /// Begins now.
    #[must_use]
    pub fn start() -> Self {
        Self { began: Instant::now() }
    }

    /// `at` as nanoseconds since the beginning.
    #[must_use]
    pub fn nanos(&self, at: Instant) -> u64 {
        u64::try_from(at.saturating_duration_since(self.began).as_nanos()).unwrap_or(u64::MAX)
    }

    /// Now, as nanoseconds since the beginning.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.nanos(Instant::now())
    }
}

/// Appends the JSON of `data`, padded to `size` bytes where it is shorter.
pub fn write(mark: Mark, size: usize, out: &mut Vec<u8>) {
    const TAIL: &[u8] = b"\"}";
    let start = out.len();
    out.extend_from_slice(b"{\"seq\":");
    push_number(mark.seq, out);
    out.extend_from_slice(b",\"t\":");
    push_number(mark.published, out);
    out.extend_from_slice(b",\"pad\":\"");
    out.resize((start + size).saturating_sub(TAIL.len()).max(out.len()), b'x');
    out.extend_from_slice(TAIL);
}

/// Appends a number; formatting would cost the client as much as sending.
pub(crate) fn push_number(mut number: u64, out: &mut Vec<u8>) {
    let start = out.len();
    loop {
        out.push(b'0' + (number % 10) as u8);
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.get_mut(start..).unwrap_or_default().reverse();
}

/// Finds marks in frames. Frames of one run look alike, so it looks first
/// where the last one was found.
#[derive(Debug, Default)]
pub struct Finder {
    seq_at: usize,
    time_at: usize,
}

impl Finder {
    /// The mark in a frame's payload, if it carries one.
    pub fn find(&mut self, payload: &[u8]) -> Option<Mark> {
        let seq = number_after(payload, SEQ, &mut self.seq_at)?;
        let published = number_after(payload, TIME, &mut self.time_at)?;
        Some(Mark { seq, published })
    }
}

fn number_after(payload: &[u8], key: &[u8], hint: &mut usize) -> Option<u64> {
    let at_hint = payload.get(*hint..).is_some_and(|rest| rest.starts_with(key));
    if !at_hint {
        *hint = payload.windows(key.len()).position(|window| window == key)?;
    }
    let digits = payload.get(hint.saturating_add(key.len())..)?;
    let mut value = None;
    for digit in digits.iter().take_while(|byte| byte.is_ascii_digit()) {
        let ten_times = value.unwrap_or(0_u64).checked_mul(10)?;
        value = Some(ten_times.checked_add(u64::from(digit - b'0'))?);
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_has_the_wanted_size_and_reads_back() {
        let mark = Mark { seq: 42, published: 1_234_567 };
        let mut data = Vec::new();
        write(mark, 128, &mut data);
        assert_eq!(data.len(), 128);
        let value: serde_json::Value = serde_json::from_slice(&data).unwrap();
        assert_eq!(value["seq"], 42);
        assert_eq!(Finder::default().find(&data), Some(mark));
    }

    #[test]
    fn a_size_too_small_for_the_mark_keeps_the_mark() {
        let mut data = Vec::new();
        write(Mark { seq: 7, published: 9 }, 1, &mut data);
        assert_eq!(data, br#"{"seq":7,"t":9,"pad":""}"#);
    }

    #[test]
    fn the_mark_is_found_wherever_it_moves() {
        let mut finder = Finder::default();
        let frames = [
            &br#"{"type":"message","data":{"seq":1,"t":2,"pad":""}}"#[..],
            br#"{"type":"message","data":{"seq":3,"t":444,"pad":""}}"#,
            br#"{"data":{"pad":"","seq":5,"t":6},"type":"message"}"#,
        ];
        let seen: Vec<_> = frames.iter().filter_map(|frame| finder.find(frame)).collect();
        let numbers: Vec<_> = seen.iter().map(|mark| (mark.seq, mark.published)).collect();
        assert_eq!(numbers, [(1, 2), (3, 444), (5, 6)]);
    }

    #[test]
    fn other_frames_carry_no_mark() {
        let mut finder = Finder::default();
        assert_eq!(finder.find(br#"{"type":"pong"}"#), None);
        assert_eq!(finder.find(br#"{"seq":,"t":1}"#), None);
        assert_eq!(finder.find(br#"{"seq":99999999999999999999999,"t":1}"#), None);
    }
}
