//! Scripts for each transition, and a model of a broker that loses, repeats and forks.

use broker::HistoryQuery;
use proptest::prelude::*;
use proto::Epoch;

use super::*;

/// A stream and what a test needs around it.
struct Stream {
    epoch: Epoch,
    entries: Vec<Entry>,
    nonce: u64,
    kept: usize,
}

impl Stream {
    fn new() -> Self {
        Self { epoch: Epoch(1), entries: Vec::new(), nonce: 100, kept: usize::MAX }
    }

    fn top(&self) -> Position {
        self.entries.last().map_or(Position::start(self.epoch), |entry| entry.step.position)
    }

    fn publish(&mut self) -> Frame {
        self.nonce += 1;
        let top = self.top();
        let position = Position { offset: top.offset + 1, nonce: Nonce(self.nonce), ..top };
        let entry = Entry {
            step: Step { position, previous: top.nonce },
            payload: Bytes::from(self.nonce.to_string()),
        };
        self.entries.push(entry.clone());
        Frame { step: Some(entry.step), payload: entry.payload }
    }

    /// A failover to a replica that lacked the last `count` publications.
    fn lose(&mut self, count: usize) {
        let keep = self.entries.len().saturating_sub(count);
        self.entries.truncate(keep);
    }

    /// A stream that is gone and begins anew.
    fn reset(&mut self) {
        self.entries.clear();
        self.epoch = Epoch(self.epoch.0 + 1);
    }

    fn read(&self, read: Read) -> History {
        let Some(after) = read.after else {
            return History { top: self.top(), entries: Vec::new(), continuity: Continuity::Continuous };
        };
        let query = HistoryQuery { after: Some(after), limit: 256 };
        let kept = self.entries.iter().skip(self.entries.len().saturating_sub(self.kept));
        let from = if after.epoch == self.epoch { after.offset } else { 0 };
        let entries = kept.filter(|entry| entry.step.position.offset >= from).cloned().collect();
        History::judge(query, self.top(), entries)
    }
}

/// Answers every read at once and returns what sessions would see: `Ok(nonce)` or `Err(gap)`.
fn settle(follower: &mut Follower, stream: &Stream) -> Vec<Result<u64, GapReason>> {
    let mut seen = Vec::new();
    while let Some(output) = follower.poll() {
        match output {
            Output::Deliver { step: Some(step), .. } => seen.push(Ok(step.position.nonce.0)),
            Output::Deliver { step: None, .. } => seen.push(Ok(0)),
            Output::Gap(reason, _) => seen.push(Err(reason)),
            Output::Read(read) => follower.history(read.ticket, stream.read(read)),
        }
    }
    seen
}

fn live(stream: &Stream) -> Follower {
    let mut follower = Follower::new();
    follower.subscribed();
    assert_eq!(settle(&mut follower, stream), vec![]);
    assert_eq!(follower.live_position(), Some(stream.top()));
    follower
}

#[test]
fn a_frame_in_sequence_is_delivered_and_a_repeated_one_is_not() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    let frame = stream.publish();
    follower.frame(frame.clone());
    follower.frame(frame);
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101)]);
}

#[test]
fn what_was_published_before_the_subscription_is_not_delivered() {
    let mut stream = Stream::new();
    stream.publish();
    let mut follower = live(&stream);
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(102)]);
}

#[test]
fn a_hole_is_filled_in_order() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    let _lost = [stream.publish(), stream.publish()];
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101), Ok(102), Ok(103)]);
    assert_eq!(follower.live_position(), Some(stream.top()));
}

#[test]
fn an_interruption_is_filled_when_the_subscription_is_back() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.interrupted();
    stream.publish();
    assert_eq!(settle(&mut follower, &stream), vec![]);
    follower.subscribed();
    let late = stream.publish();
    follower.frame(late);
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101), Ok(102)]);
}

#[test]
fn what_provably_follows_does_not_wait_for_the_stream_to_be_read() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.interrupted();
    follower.subscribed();
    let Some(Output::Read(read)) = follower.poll() else { panic!("a read is due") };
    let early = stream.read(read);
    for _ in 0..2 {
        follower.frame(stream.publish());
    }
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101), Ok(102)]);
    assert_eq!(follower.live_position(), None, "the stream is still to be read");
    // However old the answer is, nothing comes twice.
    for answer in [early, stream.read(read)] {
        let mut follower = follower.clone();
        follower.history(read.ticket, answer);
        assert_eq!(settle(&mut follower, &stream), vec![]);
        assert_eq!(follower.live_position(), Some(stream.top()));
    }
    let _lost = stream.publish();
    follower.history(read.ticket, stream.read(read));
    assert_eq!(settle(&mut follower, &stream), vec![Ok(103)]);
}

#[test]
fn an_answer_that_knows_something_else_is_looked_into() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101)]);
    follower.interrupted();
    follower.subscribed();
    let Some(Output::Read(read)) = follower.poll() else { panic!("a read is due") };
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(102)]);
    stream.lose(1);
    stream.publish();
    follower.history(read.ticket, stream.read(read));
    assert_eq!(settle(&mut follower, &stream), vec![Err(GapReason::Fork), Ok(103)]);
}

#[test]
fn the_loss_of_the_last_frame_is_found_by_an_audit() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    let before = stream.top();
    stream.publish();
    follower.audit(before, stream.top());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101)]);
    follower.audit(before, stream.top());
    assert_eq!(follower.poll(), None, "an audit of an older place says nothing");
}

#[test]
fn a_fork_is_told_at_the_last_shared_publication() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    for _ in 0..3 {
        follower.frame(stream.publish());
    }
    assert_eq!(settle(&mut follower, &stream).len(), 3);
    stream.lose(2);
    let common = stream.top();
    let frames = [stream.publish(), stream.publish(), stream.publish()];
    follower.frame(frames[2].clone());
    let mut told = None;
    let mut seen = Vec::new();
    while let Some(output) = follower.poll() {
        match output {
            Output::Gap(reason, at) => told = Some((reason, at)),
            Output::Read(read) => follower.history(read.ticket, stream.read(read)),
            Output::Deliver { step, .. } => seen.push(step.unwrap().position.nonce.0),
        }
    }
    assert_eq!(told, Some((GapReason::Fork, common)));
    assert_eq!(seen, vec![104, 105, 106]);
}

#[test]
fn lost_writes_without_a_new_one_are_a_fork_too() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    for _ in 0..3 {
        follower.frame(stream.publish());
    }
    settle(&mut follower, &stream);
    stream.lose(1);
    follower.interrupted();
    follower.subscribed();
    assert_eq!(settle(&mut follower, &stream), vec![Err(GapReason::Fork)]);
    assert_eq!(follower.live_position(), Some(stream.top()));
}

#[test]
fn a_held_frame_that_the_stream_lost_is_dropped_unseen() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.interrupted();
    let phantom = stream.publish();
    follower.frame(phantom);
    stream.lose(1);
    follower.subscribed();
    assert_eq!(settle(&mut follower, &stream), vec![]);
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(102)]);
}

#[test]
fn a_trimmed_stream_and_a_new_one_are_told() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.interrupted();
    for _ in 0..5 {
        stream.publish();
    }
    stream.kept = 2;
    follower.subscribed();
    assert_eq!(settle(&mut follower, &stream), vec![Err(GapReason::Trimmed), Ok(104), Ok(105)]);
    stream.reset();
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Err(GapReason::Reset), Ok(106)]);
}

#[test]
fn the_answer_to_an_older_read_is_ignored() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    stream.publish();
    follower.suspect();
    let Some(Output::Read(old)) = follower.poll() else { panic!("a read is due") };
    let answer = stream.read(old);
    follower.interrupted();
    follower.history(old.ticket, answer);
    assert_eq!(follower.poll(), None);
    assert_eq!(follower.live_position(), None);
}

#[test]
fn frames_beyond_the_bound_are_read_from_the_stream_instead() {
    let mut stream = Stream::new();
    let mut follower = live(&stream);
    follower.suspect();
    let Some(Output::Read(read)) = follower.poll() else { panic!("a read is due") };
    let answer = stream.read(read);
    let big = Bytes::from(vec![0; HELD_BYTES / 2]);
    for _ in 0..5 {
        let frame = stream.publish();
        follower.frame(Frame { payload: big.clone(), ..frame });
    }
    assert!(follower.held_bytes <= HELD_BYTES);
    follower.history(read.ticket, answer);
    let seen: Vec<_> = settle(&mut follower, &stream).into_iter().map(Result::unwrap).collect();
    assert_eq!(seen, vec![101, 102, 103, 104, 105]);
}

#[test]
fn where_only_the_newest_matters_the_others_are_left_out_without_a_gap() {
    let mut stream = Stream::new();
    let mut follower = Follower::of_latest();
    follower.subscribed();
    settle(&mut follower, &stream);
    follower.frame(stream.publish());
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Ok(101), Ok(102)], "who keeps up gets all");
    follower.interrupted();
    for _ in 0..5 {
        stream.publish();
    }
    follower.subscribed();
    assert_eq!(settle(&mut follower, &stream), vec![Ok(107)]);
    follower.interrupted();
    for _ in 0..5 {
        stream.publish();
    }
    stream.kept = 1;
    follower.subscribed();
    assert_eq!(settle(&mut follower, &stream), vec![Ok(112)]);
    stream.reset();
    stream.publish();
    follower.frame(stream.publish());
    assert_eq!(settle(&mut follower, &stream), vec![Err(GapReason::Reset), Ok(114)]);
}

/// What a broker and its network can do.
#[derive(Debug, Clone)]
enum Event {
    Publish {
        arrives: bool,
        twice: bool,
    },
    Interrupt,
    Resubscribe,
    /// The stream is read; the answer takes its time.
    Read,
    Answer,
    Audit,
    LoseWrites(usize),
    Reset,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        8 => (any::<bool>(), any::<bool>()).prop_map(|(arrives, twice)| Event::Publish { arrives, twice }),
        1 => Just(Event::Interrupt),
        2 => Just(Event::Resubscribe),
        6 => Just(Event::Read),
        6 => Just(Event::Answer),
        1 => Just(Event::Audit),
        1 => (1..5usize).prop_map(Event::LoseWrites),
        1 => Just(Event::Reset),
    ]
}

/// A client that trusts nothing: it checks each delivery against the last one or the gap it was told.
#[derive(Default)]
struct Client {
    at: Option<Position>,
    gaps: usize,
    /// It cares for the newest publication alone.
    latest: bool,
}

impl Client {
    fn take(&mut self, output: &Output) {
        match output {
            Output::Deliver { step: Some(step), .. } => {
                if let Some(at) = self.at {
                    let skips = at.epoch == step.position.epoch && at.offset < step.position.offset;
                    assert!((self.latest && skips) || at.precedes(step), "{step:?} does not follow {at:?}");
                }
                self.at = Some(step.position);
            }
            Output::Gap(_, at) => {
                self.gaps += 1;
                self.at = Some(*at);
            }
            Output::Deliver { step: None, .. } | Output::Read(_) => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_hole_without_a_word_and_the_top_is_reached(
        events in prop::collection::vec(event(), 1..60),
        latest in any::<bool>(),
        kept in 1..20usize,
    ) {
        let mut stream = Stream::new();
        let mut follower = live(&stream);
        follower.latest = latest;
        if latest {
            // What was left out may be gone, too.
            stream.kept = kept;
        }
        let mut client = Client { at: Some(stream.top()), gaps: 0, latest };
        let mut lossless = true;
        let mut reads: VecDeque<Read> = VecDeque::new();
        let mut answers: VecDeque<(u32, History)> = VecDeque::new();
        let mut subscribed = true;
        let drain = |follower: &mut Follower, client: &mut Client, reads: &mut VecDeque<Read>| {
            while let Some(output) = follower.poll() {
                client.take(&output);
                if let Output::Read(read) = output {
                    reads.push_back(read);
                }
            }
        };
        for event in events {
            match event {
                Event::Publish { arrives, twice } => {
                    let frame = stream.publish();
                    if subscribed && arrives {
                        for _ in 0..=usize::from(twice) {
                            follower.frame(frame.clone());
                        }
                    }
                }
                Event::Interrupt => {
                    follower.interrupted();
                    subscribed = false;
                }
                Event::Resubscribe if !subscribed => {
                    follower.subscribed();
                    subscribed = true;
                }
                Event::Resubscribe => {}
                Event::Read => answers.extend(reads.pop_front().map(|read| (read.ticket, stream.read(read)))),
                Event::Answer => {
                    if let Some((ticket, answer)) = answers.pop_front() {
                        follower.history(ticket, answer);
                    }
                }
                Event::Audit => {
                    if let Some(at) = follower.live_position() {
                        follower.audit(at, stream.top());
                    }
                }
                Event::LoseWrites(count) => {
                    stream.lose(count);
                    lossless = false;
                }
                Event::Reset => {
                    stream.reset();
                    lossless = false;
                }
            }
            drain(&mut follower, &mut client, &mut reads);
        }
        // Everything heals: the subscription is in force again, and every read is answered.
        follower.interrupted();
        follower.subscribed();
        drain(&mut follower, &mut client, &mut reads);
        let mut patience = 100;
        while let Some(read) = reads.pop_front() {
            follower.history(read.ticket, stream.read(read));
            drain(&mut follower, &mut client, &mut reads);
            patience -= 1;
            prop_assert!(patience > 0, "reads without an end");
        }
        prop_assert_eq!(follower.live_position(), Some(stream.top()));
        prop_assert_eq!(client.at, Some(stream.top()));
        if lossless {
            prop_assert_eq!(client.gaps, 0, "a gap was told though nothing was lost");
        }
    }
}
