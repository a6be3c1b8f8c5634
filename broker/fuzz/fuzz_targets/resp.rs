//! Whatever Redis, or whoever answers in its place, sends: the parser neither panics nor depends on how it was split.

#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| broker::redis::link::resp::exercise(input));
