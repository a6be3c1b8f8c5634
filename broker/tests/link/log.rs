//! A sink that writes down what it is told, and checks that it makes sense.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::Channel;
use switchboard_broker::{Frame, PresenceNews, Sink};

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
pub(super) struct Log(Mutex<BTreeMap<String, Story>>);

/// One channel's.
#[derive(Default)]
struct Story {
    events: Vec<Event>,
    /// The last number whose publication has begun, where the test says so.
    begun: Option<u64>,
    /// What that was at each `Subscribed`.
    begun_before: Vec<Option<u64>>,
}

impl Log {
    fn add(&self, channel: &str, event: Event) {
        let mut stories = self.0.lock();
        let story = stories.entry(channel.to_owned()).or_default();
        if event == Subscribed {
            story.begun_before.push(story.begun);
        }
        story.events.push(event);
    }

    /// The message with this number is about to be published.
    pub(super) fn begin(&self, channel: &Channel, number: u64) {
        self.0.lock().entry(channel.as_str().to_owned()).or_default().begun = Some(number);
    }

    pub(super) fn of(&self, channel: &Channel) -> Vec<Event> {
        self.0.lock().get(channel.as_str()).map(|story| story.events.clone()).unwrap_or_default()
    }

    pub(super) fn is_on(&self, channel: &Channel) -> bool {
        self.of(channel).iter().rev().find(|event| !matches!(event, Event::Frame(_))) == Some(&Subscribed)
    }

    /// How often each of these was interrupted, where it is the same for all.
    pub(super) fn interruptions(&self, channels: &[Channel]) -> Vec<usize> {
        let count = |channel| self.of(channel).iter().filter(|event| **event == Interrupted).count();
        channels.iter().map(count).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// From a `Subscribed` to the next `Interrupted`, every message arrives whose publication begins after the former,
    /// in order; none arrives at any other time.
    pub(super) fn check(&self) {
        for (channel, story) in &*self.0.lock() {
            let (mut on, mut last, mut begun_before) = (false, None, story.begun_before.iter());
            for event in &story.events {
                match event {
                    Subscribed => {
                        on = true;
                        last = begun_before.next().unwrap().map(Last::AtMost);
                    }
                    Interrupted => {
                        assert!(on, "{channel} was interrupted though it was not in force");
                        on = false;
                    }
                    Event::Frame(number) => {
                        assert!(on, "{channel} got {number} though it was not in force");
                        let follows = match last {
                            None => true,
                            Some(Last::AtMost(begun)) => *number <= begun + 1,
                            Some(Last::Was(last)) => *number == last + 1,
                        };
                        assert!(follows, "{channel}: {last:?} then {number}");
                        last = Some(Last::Was(*number));
                    }
                }
            }
        }
    }
}

/// What came before a frame.
#[derive(Debug, Clone, Copy)]
enum Last {
    /// A subscription, when this was the last publication that had begun.
    AtMost(u64),
    /// The frame with this number.
    Was(u64),
}

impl Sink for Log {
    fn frame(&self, channel: &str, frame: Frame) {
        self.add(channel, Event::Frame(frame.step.unwrap().position.offset));
    }

    fn presence(&self, channel: &str, news: PresenceNews) {
        panic!("nobody wrote {news:?} on {channel}");
    }

    fn control(&self, channel: &str, payload: Bytes) {
        panic!("nobody wrote {payload:?} on {channel}");
    }

    fn subscribed(&self, channels: &[Channel]) {
        channels.iter().for_each(|channel| self.add(channel.as_str(), Subscribed));
    }

    fn interrupted(&self, channels: &[Channel]) {
        channels.iter().for_each(|channel| self.add(channel.as_str(), Interrupted));
    }

    fn flush(&self) {}
}
