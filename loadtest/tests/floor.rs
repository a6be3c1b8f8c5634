//! The floor delivers, and receivers notice what does not arrive.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::Path;
use std::time::Duration;

use switchboard_loadtest::audience::{Audience, Seat};
use switchboard_loadtest::checker::{Checker, Tally};
use switchboard_loadtest::connection::SharedBuffer;
use switchboard_loadtest::floor::Writes;
use switchboard_loadtest::payload::{Clock, Mark};
use switchboard_loadtest::publisher::{Publisher, To};
use switchboard_loadtest::target::Target;
use tokio::task::LocalSet;

const RECEIVERS: u64 = 50;

fn floor(writes: Writes) -> Target {
    Target::floor(Path::new(env!("CARGO_BIN_EXE_loadtest")), writes, None).unwrap()
}

/// Publishes `numbers` together to fifty receivers; `published` numbers were
/// meant to go out.
async fn deliver(writes: Writes, numbers: &[u64], published: u64) -> (Tally, f64) {
    let (target, clock, buffer) = (floor(writes), Clock::start(), SharedBuffer::default());
    let token = target.mint.token("listener").unwrap();
    let seat = || Seat { token: token.clone(), room: Some("r".to_owned()), checker: Checker::new(1, 0, 1) };
    let seats = (0..RECEIVERS).map(|_| seat()).collect();
    let audience = Audience::seat(&target.sockets, seats, clock, &buffer).await.unwrap();
    let mut publisher = Publisher::open(target.via, &target.publish, &token, &buffer).await.unwrap();
    let marks: Vec<_> = numbers.iter().map(|seq| Mark { seq: *seq, published: clock.now() }).collect();
    publisher.publish(&To::Room("r".to_owned()), &marks, 128).await.unwrap();
    assert!(audience.wait_for(RECEIVERS * numbers.len() as u64).await.unwrap());
    publisher.read_replies(Duration::ZERO).await.unwrap();
    (audience.ledger().verdict(published).unwrap(), audience.ledger().latency(0.5))
}

#[tokio::test]
async fn both_floors_deliver_everything_once_in_order() {
    for writes in [Writes::Each, Writes::Joined] {
        let (tally, latency) = LocalSet::new().run_until(deliver(writes, &[0, 1, 2, 3, 4, 5, 6, 7], 8)).await;
        assert!(tally.is_clean(), "{tally}");
        assert_eq!(tally.correct, 8 * RECEIVERS);
        assert!(latency > 0.0);
    }
}

#[tokio::test]
async fn a_number_that_was_never_sent_is_a_loss_of_every_receiver() {
    let (tally, _) = LocalSet::new().run_until(deliver(Writes::Each, &[0, 2], 3)).await;
    assert_eq!((tally.lost, tally.correct), (RECEIVERS, 2 * RECEIVERS));
}

#[tokio::test]
async fn a_floor_ends_with_its_target() {
    let target = floor(Writes::Each);
    let process = format!("/proc/{}", target.processes.first().unwrap().pid);
    assert!(Path::new(&process).exists());
    drop(target);
    assert!(!Path::new(&process).exists());
}
