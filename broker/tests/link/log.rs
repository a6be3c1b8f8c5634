//! A sink that writes down what it is told, and checks that it makes sense.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use proto::Channel;
use switchboard_broker::{Frame, Sink};

use Event::{Interrupted, Subscribed};

/// What became of a channel, in the order in which it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    Subscribed,
    Interrupted,
    /// A frame with its number.
    Frame(u64),
}

/// Writes everything down.
#[derive(Default)]
pub(super) struct Log(Mutex<BTreeMap<String, Vec<Event>>>);

impl Log {
    fn add(&self, channels: &[Channel], event: Event) {
        let mut log = self.0.lock();
        channels.iter().for_each(|channel| log.entry(channel.as_str().to_owned()).or_default().push(event));
    }

    pub(super) fn of(&self, channel: &Channel) -> Vec<Event> {
        self.0.lock().get(channel.as_str()).cloned().unwrap_or_default()
    }

    pub(super) fn is_on(&self, channel: &Channel) -> bool {
        self.of(channel).iter().rev().find(|event| !matches!(event, Event::Frame(_))) == Some(&Subscribed)
    }

    /// How often each of these was interrupted, where it is the same for all.
    pub(super) fn interruptions(&self, channels: &[Channel]) -> Vec<usize> {
        let count = |channel| self.of(channel).iter().filter(|event| **event == Interrupted).count();
        channels.iter().map(count).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Between a `Subscribed` and the next `Interrupted`, numbers follow each other; frames come at no other time.
    pub(super) fn check(&self) {
        for (channel, events) in &*self.0.lock() {
            let (mut on, mut last) = (false, None);
            for event in events {
                match event {
                    Subscribed => (on, last) = (true, None),
                    Interrupted => {
                        assert!(on, "{channel} was interrupted though it was not in force");
                        on = false;
                    }
                    Event::Frame(number) => {
                        assert!(on, "{channel} got {number} though it was not in force");
                        assert!(
                            last.is_none_or(|last| last + 1 == *number),
                            "{channel}: {last:?} then {number}"
                        );
                        last = Some(*number);
                    }
                }
            }
        }
    }
}

impl Sink for Log {
    fn frame(&self, channel: &str, frame: Frame) {
        let channel = Channel::parse(channel).unwrap();
        self.add(&[channel], Event::Frame(frame.step.unwrap().position.offset));
    }

    fn subscribed(&self, channels: &[Channel]) {
        self.add(channels, Subscribed);
    }

    fn interrupted(&self, channels: &[Channel]) {
        self.add(channels, Interrupted);
    }

    fn flush(&self) {}
}
