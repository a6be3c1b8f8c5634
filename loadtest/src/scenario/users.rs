//! Many users, each with a channel of its own.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures_util::future::try_join_all;
use serde::Serialize;
use tokio::time::sleep_until;

use super::{above_zero, at_least_one};
use crate::audience::{Audience, Seat};
use crate::checker::Checker;
use crate::connection::SharedBuffer;
use crate::measurement::{Figure, Measurement, Readings};
use crate::payload::{Clock, Mark};
use crate::publisher::{Publisher, To, Via};
use crate::target::Target;

/// Publishes at a steady pace to one user after the other.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Users {
    /// Users, one connection each.
    #[arg(long, default_value = "5000", value_parser = at_least_one)]
    pub users: usize,
    /// Bytes of data in a message.
    #[arg(long, default_value = "128")]
    pub size: usize,
    /// Messages a second, all users together.
    #[arg(long, default_value = "1000", value_parser = above_zero)]
    pub rate: f64,
    /// Connections that publish; each has users of its own.
    #[arg(long, default_value = "8", value_parser = at_least_one)]
    pub publishers: usize,
    /// Seconds that count, after a fifth of them as a warm-up.
    #[arg(long, default_value = "10", value_parser = above_zero)]
    pub seconds: f64,
}

impl Users {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let mut seats = Vec::with_capacity(self.users);
        for user in 0..self.users {
            let name = format!("u{user}");
            seats.push(Seat {
                token: target.mint.token(&name)?,
                // A user's own channel comes by itself, but only HTTP
                // publishes to it; over WebSocket a room stands in for it.
                room: (target.via == Via::Ws).then_some(name),
                checker: Checker::new(self.users as u64, user as u64, 1),
            });
        }
        let audience = Audience::seat(&target.sockets, seats, clock, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publishers = Vec::new();
        for _ in 0..self.publishers {
            publishers.push(Publisher::open(target.via, &target.publish, &token, &buffer).await?);
        }

        let mut found = Measurement::default();
        let warm_up = self.messages(self.seconds / 5.0);
        self.publish(target.via, 0, warm_up, clock, &mut publishers).await?;
        audience.wait_for(warm_up).await?;
        audience.ledger().forget_latency();

        let (cpu, began) = (Readings::cpu(&target.processes)?, Instant::now());
        let all = warm_up + self.messages(self.seconds);
        self.publish(target.via, warm_up, all, clock, &mut publishers).await?;
        audience.wait_for(all).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = Readings::cpu(&target.processes)?.since(&cpu);

        let deliveries = (all - warm_up) as f64;
        found.set(Figure::PerSecond, deliveries / seconds);
        if !used.is_empty() {
            found.set_sum(Figure::CpuSecondsPerMillion, &used, 1e6 / deliveries);
        }
        found.set_latency(&audience);
        found.tally = audience.ledger().verdict(all)?;
        Ok(found)
    }

    fn messages(&self, seconds: f64) -> u64 {
        // A count that a run can reach is far below what a float holds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let messages = (self.rate * seconds) as u64;
        messages.max(1)
    }

    /// Publishes the numbers `from..to`, each to user `number % users`.
    async fn publish(
        &self,
        via: Via,
        from: u64,
        to: u64,
        clock: Clock,
        publishers: &mut [Publisher],
    ) -> Result<()> {
        let began = tokio::time::Instant::now();
        let users = self.users as u64;
        let each = publishers.iter_mut().enumerate().map(|(own, publisher)| async move {
            let mine = |number: &u64| number % users % self.publishers as u64 == own as u64;
            for number in (from..to).filter(mine) {
                let due = began + Duration::from_secs_f64((number - from) as f64 / self.rate);
                // A message that waited for the one before it is as old as its
                // turn, or a slow server would look fast.
                let late = due <= tokio::time::Instant::now();
                sleep_until(due).await;
                let published = if late { clock.nanos(due.into_std()) } else { clock.now() };
                let name = format!("u{}", number % users);
                let whom = if via == Via::Ws { To::Room(name) } else { To::User(name) };
                publisher.publish(&whom, &[Mark { seq: number, published }], self.size).await?;
            }
            publisher.read_replies(Duration::ZERO).await
        });
        try_join_all(each).await.map(drop)
    }
}
