//! Each promise has a run that keeps it and one that breaks it.

use proto::{Epoch, Nonce};

use super::super::history::{Event, Sample};
use super::*;

const ROOM: &str = "r";
const LIMITS: Limits = Limits { catch_up: 1000, resident: 1000, files: 10 };

/// Offset and nonce; the nonce is also the message's id.
fn at(offset: u64, nonce: u64) -> Position {
    Position { epoch: Epoch(7), offset, nonce: Nonce(nonce) }
}

fn message(position: Position) -> What {
    let id = position.nonce.0.to_string();
    What::Message { room: ROOM.into(), meant_for: ROOM.into(), position, id }
}

fn joined(position: Position) -> What {
    What::Joined { room: ROOM.into(), since: None, position, recovered: false }
}

fn resumed(since: Position, recovered: bool) -> What {
    What::Joined { room: ROOM.into(), since: Some(since), position: since, recovered }
}

fn gap(reason: Reason, position: Position) -> What {
    What::Gap { room: ROOM.into(), reason, position }
}

/// Things seen one millisecond after the other.
fn client(seen: Vec<What>) -> Client {
    let events = (0..).zip(seen).map(|(at, what)| Event { at, what });
    Client { name: "c".into(), rooms: vec![ROOM.into()], events: events.collect() }
}

fn acknowledged_at(position: Position) -> Publication {
    Publication {
        id: position.nonce.0.to_string(),
        room: ROOM.into(),
        begun: 1,
        ended: 2,
        attempts: 1,
        acknowledged: Some(position),
    }
}

/// A room whose stream ends as given, and in which that and `lost` was acknowledged.
fn run(stream: &[Position], lost: &[Position], clients: Vec<Vec<What>>) -> History {
    let entries = stream.iter().map(|at| Entry { position: *at, id: at.nonce.0.to_string() });
    History {
        clients: clients.into_iter().map(client).collect(),
        publications: stream.iter().chain(lost).map(|at| acknowledged_at(*at)).collect(),
        streams: BTreeMap::from([(ROOM.to_owned(), entries.collect())]),
        healed: 100,
        ..History::default()
    }
}

fn broken(history: &History) -> Vec<Invariant> {
    let mut broken: Vec<_> = check(history, &LIMITS).iter().map(|violation| violation.invariant).collect();
    broken.sort_unstable();
    broken.dedup();
    broken
}

fn stream() -> [Position; 4] {
    [at(1, 10), at(2, 20), at(3, 30), at(4, 40)]
}

fn start() -> What {
    joined(at(0, 0))
}

fn all() -> Vec<What> {
    std::iter::once(start()).chain(stream().map(message)).collect()
}

#[test]
fn everything_once_in_order_keeps_every_promise() {
    let history = History { lossless: true, ..run(&stream(), &[], vec![all(), all()]) };
    assert_eq!(broken(&history), []);
}

#[test]
fn a_client_that_comes_back_goes_on_where_it_was() {
    let closed = What::Closed { code: None };
    let seen = vec![
        start(),
        message(at(1, 10)),
        message(at(2, 20)),
        closed,
        resumed(at(2, 20), true),
        message(at(3, 30)),
        message(at(4, 40)),
    ];
    assert_eq!(broken(&History { lossless: true, ..run(&stream(), &[], vec![seen]) }), []);
}

#[test]
fn i1_a_place_that_comes_twice() {
    let mut seen = all();
    seen.push(message(at(4, 40)));
    assert_eq!(broken(&run(&stream(), &[], vec![seen])), [Invariant::I1]);
}

#[test]
fn i2_an_older_place_after_a_newer_one() {
    let mut seen = all();
    seen.swap(3, 4);
    let broken = broken(&run(&stream(), &[], vec![seen]));
    assert!(broken.contains(&Invariant::I2), "{broken:?}");
}

#[test]
fn i3_a_hole_that_was_not_told() {
    let mut seen = all();
    seen.remove(2);
    assert_eq!(broken(&run(&stream(), &[], vec![seen])), [Invariant::I3, Invariant::I5]);
}

#[test]
fn i3_another_epoch_that_was_not_told() {
    let other = Position { epoch: Epoch(8), offset: 1, nonce: Nonce(50) };
    let seen = vec![start(), message(at(1, 10)), message(other)];
    // What was delivered before is rolled back as well, and nobody said so.
    assert_eq!(broken(&run(&[other], &[at(1, 10)], vec![seen])), [Invariant::I3, Invariant::I4]);
}

#[test]
fn i3_a_resume_that_admits_a_gap_and_does_not_say_which() {
    let seen = vec![
        start(),
        message(at(1, 10)),
        message(at(2, 20)),
        resumed(at(2, 20), false),
        message(at(3, 30)),
        message(at(4, 40)),
    ];
    assert!(broken(&run(&stream(), &[], vec![seen])).contains(&Invariant::I3));
}

/// The stream was rolled back to 2 and went on with 31 and 41; 30 was acknowledged and lost.
fn forked(seen: Vec<What>) -> History {
    run(&[at(1, 10), at(2, 20), at(3, 31), at(4, 41)], &[at(3, 30)], vec![seen])
}

#[test]
fn a_told_fork_is_kept_word() {
    let common = vec![
        start(),
        message(at(1, 10)),
        message(at(2, 20)),
        message(at(3, 30)),
        gap(Reason::Fork, at(2, 20)),
        message(at(3, 31)),
        message(at(4, 41)),
    ];
    assert_eq!(broken(&forked(common)), []);
    let from_the_top = vec![
        start(),
        message(at(1, 10)),
        message(at(2, 20)),
        message(at(3, 30)),
        gap(Reason::Fork, at(4, 41)),
    ];
    assert_eq!(broken(&forked(from_the_top)), []);
}

#[test]
fn i4_a_fork_that_is_passed_over() {
    let seen = vec![start(), message(at(1, 10)), message(at(2, 20)), message(at(3, 30)), message(at(4, 41))];
    assert_eq!(broken(&forked(seen)), [Invariant::I4, Invariant::I5]);
}

#[test]
fn i4_two_clients_that_disagree_about_what_came_before() {
    let one = vec![joined(at(2, 20)), message(at(3, 30)), message(at(4, 40))];
    let other = vec![joined(at(2, 20)), message(at(3, 31)), message(at(4, 40))];
    let history = run(&[at(4, 40)], &[], vec![one, other]);
    assert_eq!(broken(&history), [Invariant::I4]);
}

#[test]
fn i4_a_rolled_back_tail_that_nobody_speaks_of() {
    let seen = vec![start(), message(at(1, 10)), message(at(2, 20))];
    let history = run(&[at(1, 10)], &[at(2, 20)], vec![seen]);
    assert_eq!(broken(&history), [Invariant::I4, Invariant::I6]);
}

#[test]
fn i5_an_acknowledged_message_that_nobody_gets() {
    let seen = vec![start(), message(at(1, 10)), message(at(2, 20)), message(at(3, 30))];
    let broken = broken(&run(&stream(), &[], vec![seen]));
    assert_eq!(broken, [Invariant::I5, Invariant::I6]);
}

#[test]
fn what_redis_forgot_before_a_client_saw_any_of_it_is_not_owed_to_it() {
    let history = run(&stream(), &[at(3, 31), at(4, 41)], vec![all()]);
    assert_eq!(broken(&history), []);
    assert_eq!(broken(&History { lossless: true, ..history }), [Invariant::I5]);
}

#[test]
fn what_lies_in_a_told_gap_is_not_lost_without_a_word() {
    let trimmed = vec![start(), message(at(1, 10)), gap(Reason::Trimmed, at(3, 30)), message(at(4, 40))];
    assert_eq!(broken(&run(&stream(), &[], vec![trimmed])), []);
    let other = Position { epoch: Epoch(8), offset: 1, nonce: Nonce(50) };
    let before = Position { offset: 0, nonce: Nonce(0), ..other };
    let reset = vec![start(), message(at(1, 10)), gap(Reason::Reset, before), message(other)];
    assert_eq!(broken(&run(&[other], &stream(), vec![reset])), []);
}

#[test]
fn i5_a_gap_where_nothing_was_lost() {
    let seen = vec![start(), message(at(1, 10)), gap(Reason::Trimmed, at(3, 30)), message(at(4, 40))];
    let history = History { lossless: true, ..run(&stream(), &[], vec![seen]) };
    assert_eq!(broken(&history), [Invariant::I5]);
}

#[test]
fn i5_an_acknowledged_message_that_is_in_no_stream() {
    let history = History { lossless: true, ..run(&stream(), &[at(9, 90)], Vec::new()) };
    assert_eq!(broken(&history), [Invariant::I5]);
}

#[test]
fn what_was_published_before_a_client_came_is_not_owed_to_it() {
    let late = vec![What::Connected { gateway: 0 }, What::Connected { gateway: 0 }, joined(at(4, 40))];
    assert_eq!(broken(&run(&stream(), &[], vec![late])), []);
}

#[test]
fn i6_a_client_that_stays_behind_or_comes_late() {
    let behind = vec![joined(at(3, 30))];
    let mut history = run(&stream(), &[], vec![behind]);
    history.publications.clear();
    assert_eq!(broken(&history), [Invariant::I6]);
    let mut late = run(&stream(), &[], vec![all()]);
    late.clients[0].events[4].at = 1101;
    assert_eq!(broken(&late), [Invariant::I6]);
    late.clients[0].events[4].at = 1100;
    assert_eq!(broken(&late), []);
}

#[test]
fn i6_a_client_that_never_gets_in() {
    assert_eq!(broken(&run(&stream(), &[], vec![Vec::new()])), [Invariant::I6]);
}

#[test]
fn i7_a_room_that_the_token_does_not_list() {
    let mut seen = all();
    let position = at(1, 1);
    seen.push(What::Joined { room: "other".into(), since: None, position, recovered: false });
    assert_eq!(broken(&run(&stream(), &[], vec![seen])), [Invariant::I7]);
}

#[test]
fn i7_a_message_for_another_room() {
    let mut seen = all();
    let (room, meant_for) = (ROOM.to_owned(), "other".to_owned());
    seen.push(What::Message { room, meant_for, position: at(5, 50), id: "50".into() });
    assert_eq!(broken(&run(&stream(), &[], vec![seen])), [Invariant::I7]);
}

#[test]
fn i8_a_message_at_two_places() {
    let mut history = run(&stream(), &[], vec![all()]);
    let again =
        What::Message { room: ROOM.into(), meant_for: ROOM.into(), position: at(4, 40), id: "30".into() };
    history.clients[0].events[4].what = again;
    history.publications.pop();
    assert_eq!(broken(&history), [Invariant::I8]);
}

#[test]
fn i8_a_stream_that_holds_a_message_twice() {
    let mut history = run(&stream(), &[], Vec::new());
    history.streams.get_mut(ROOM).unwrap()[3].id = "30".into();
    assert_eq!(broken(&history), [Invariant::I8]);
}

#[test]
fn i9_a_process_that_grows() {
    let sample = |resident, files| Sample { process: "g".into(), at: 1, resident, files };
    for (sample, wanted) in [
        (sample(1000, 10), vec![]),
        (sample(1001, 1), vec![Invariant::I9]),
        (sample(1, 11), vec![Invariant::I9]),
    ] {
        let history = History { samples: vec![sample], ..run(&stream(), &[], vec![all()]) };
        assert_eq!(broken(&history), wanted);
    }
}
