//! The seeds of the fuzz targets, replayed, and the same properties on arbitrary bytes.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

#[path = "../fuzz/properties.rs"]
mod properties;

use std::fs;
use std::path::Path;

use proptest::prelude::*;

/// Runs a property on every seed, then on mixtures: seeds with bytes changed, cut out or repeated.
fn hold(target: &str, property: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let seeds: Vec<_> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    assert!(!seeds.is_empty());
    for seed in &seeds {
        property(seed);
    }
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..6);
    let mutated = (prop::sample::select(seeds), changes).prop_map(|(mut bytes, changes)| {
        for (at, byte, change) in changes {
            let at = at.index(bytes.len() + 1);
            match change {
                0 => bytes.insert(at, byte),
                1 => bytes.truncate(at),
                2 => bytes.extend_from_within(at..),
                _ => bytes.iter_mut().skip(at).take(1).for_each(|old| *old = byte),
            }
        }
        bytes
    });
    let input = prop_oneof![3 => mutated, 1 => any::<Vec<u8>>()];
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) };
    proptest!(config, |(bytes in input)| property(&bytes));
}

#[test]
fn native_frames_are_decoded_or_refused() {
    hold("native", properties::native);
}

#[test]
fn engineio_bodies_are_decoded_or_refused() {
    hold("engineio", properties::engineio);
}

#[test]
fn socketio_packets_are_decoded_or_refused() {
    hold("socketio", properties::socketio);
}

#[test]
fn names_are_accepted_as_they_are_or_refused() {
    hold("names", properties::names);
}

#[test]
fn stored_publications_are_read_or_refused() {
    hold("publication", properties::publication);
}

#[test]
fn an_applications_frames_are_decoded_or_refused() {
    hold("vocabulary", properties::vocabulary);
}

#[test]
fn templates_are_compiled_or_refused() {
    hold("template", properties::template);
}
