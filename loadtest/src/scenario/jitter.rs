//! Connections are cut at random while messages go out.

use std::time::Duration;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep_until};

use super::{above_zero, at_least_one};
use crate::audience::Seat;
use crate::checker::Checker;
use crate::connection::SharedBuffer;
use crate::measurement::{Figure, Measurement};
use crate::payload::{Clock, Mark};
use crate::publisher::{Publisher, To};
use crate::returning::Company;
use crate::target::Target;

/// Publishes to one room at a steady pace while connections are cut at random,
/// every second one without the server being told; then leaves them alone and
/// waits until everybody has everything. Over Socket.IO.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Jitter {
    /// Connections in the room.
    #[arg(long, default_value = "2000", value_parser = at_least_one)]
    pub receivers: usize,
    /// Messages a second.
    #[arg(long, default_value = "10", value_parser = above_zero)]
    pub rate: f64,
    /// Bytes of data in a message.
    #[arg(long, default_value = "128")]
    pub size: usize,
    /// Seconds from one cut of a connection to its next, on average.
    #[arg(long, default_value = "10", value_parser = above_zero)]
    pub cut_every: f64,
    /// Seconds of publishing and cutting.
    #[arg(long, default_value = "60", value_parser = above_zero)]
    pub seconds: f64,
    /// Seconds until what did not arrive counts as lost.
    #[arg(long, default_value = "120", value_parser = above_zero)]
    pub patience: f64,
}

impl Jitter {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let patience = Duration::from_secs_f64(self.patience);
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let mut seats = Vec::with_capacity(self.receivers);
        for index in 0..self.receivers {
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some("jitter".to_owned()),
                checker: Checker::new(1, 0, 1),
            });
        }
        let company = Company::gather(&target.sockets, seats, clock, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publisher = Publisher::open(target.via, &target.publish, &token, &buffer).await?;

        company.cut_at_random(self.cut_every);
        let (began, room, mut published) = (Instant::now(), To::Room("jitter".to_owned()), 0);
        while began.elapsed().as_secs_f64() < self.seconds {
            let mark = Mark { seq: published, published: clock.now() };
            publisher.publish_surely(&room, mark, self.size).await?;
            published += 1;
            sleep_until(began + Duration::from_secs_f64(published as f64 / self.rate)).await;
        }
        company.leave_alone().await;
        company.wait_for(published * self.receivers as u64, patience).await?;
        company.all_there(patience).await;

        let mut found = Measurement::default();
        found.set_returns(company.returns());
        found.set(Figure::AllThereSeconds, began.elapsed().as_secs_f64() - self.seconds);
        found.tally = company.verdict(published)?;
        Ok(found)
    }
}
