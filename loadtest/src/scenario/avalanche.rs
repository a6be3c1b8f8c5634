//! Everybody is cut at once, and comes back.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use super::{above_zero, at_least_one};
use crate::audience::Seat;
use crate::checker::Checker;
use crate::connection::SharedBuffer;
use crate::measurement::{Figure, Measurement};
use crate::payload::{Clock, Mark};
use crate::publisher::{Publisher, To};
use crate::returning::Company;
use crate::target::Target;

/// Connects, publishes to each room, cuts everybody, publishes while they are
/// away, waits until they are back, and publishes once more. Over Socket.IO.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Avalanche {
    /// Connections, each of a user of its own and with one room joined.
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    pub connections: usize,
    /// Rooms that the connections are dealt out to.
    #[arg(long, default_value = "100", value_parser = at_least_one)]
    pub rooms: usize,
    /// Seconds until what did not arrive counts as lost.
    #[arg(long, default_value = "120", value_parser = above_zero)]
    pub patience: f64,
}

impl Avalanche {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let patience = Duration::from_secs_f64(self.patience);
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let mut seats = Vec::with_capacity(self.connections);
        for index in 0..self.connections {
            let room = index % self.rooms;
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some(format!("avalanche-{room}")),
                checker: Checker::new(self.rooms as u64, room as u64, 1),
            });
        }
        let company = Company::gather(&target.sockets, seats, clock, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publisher = Publisher::open(target.via, &target.publish, &token, &buffer).await?;
        let (rooms, everybody) = (self.rooms as u64, self.connections as u64);

        self.publish(&mut publisher, 0, clock).await?;
        company.wait_for(everybody, patience).await?;
        company.cut().await;
        self.publish(&mut publisher, rooms, clock).await?;
        company.all_there(patience).await;
        company.wait_for(2 * everybody, patience).await?;
        self.publish(&mut publisher, 2 * rooms, clock).await?;
        company.wait_for(3 * everybody, patience).await?;

        let mut found = Measurement::default();
        found.set_returns(company.returns());
        for (figure, share) in [(Figure::HalfBackSeconds, 0.5), (Figure::LastBackSeconds, 1.0)] {
            if let Some(after) = company.back_after(share) {
                found.set(figure, after.as_secs_f64());
            }
        }
        found.tally = company.verdict(3 * rooms)?;
        Ok(found)
    }

    /// One message for each room, with numbers from `first` on.
    async fn publish(&self, publisher: &mut Publisher, first: u64, clock: Clock) -> Result<()> {
        for room in 0..self.rooms as u64 {
            let mark = Mark { seq: first + room, published: clock.now() };
            publisher.publish_surely(&To::Room(format!("avalanche-{room}")), mark, 64).await?;
        }
        Ok(())
    }
}
