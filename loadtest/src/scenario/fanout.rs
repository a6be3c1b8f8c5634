//! One room, many receivers.

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

/// Publishes some messages together, waits until every receiver has all of
/// them, and publishes the next: floor and server are measured at the same
/// depth, and none looks cheap because it let messages pile up.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Fanout {
    /// Connections in the room.
    #[arg(long, default_value = "1000", value_parser = at_least_one)]
    pub receivers: usize,
    /// Bytes of data in a message.
    #[arg(long, default_value = "128")]
    pub size: usize,
    /// Messages that are published together.
    #[arg(long, default_value = "1", value_parser = at_least_one)]
    pub in_flight: usize,
    /// Publish so many messages a second instead of as fast as they arrive.
    #[arg(long, value_parser = above_zero)]
    pub rate: Option<f64>,
    /// Seconds that count, after a fifth of them as a warm-up.
    #[arg(long, default_value = "5", value_parser = above_zero)]
    pub seconds: f64,
}

impl Fanout {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let mut room = Room::open(self, target).await?;
        let mut found = Measurement::default();
        room.keep_publishing(self.seconds / 5.0).await?;
        room.audience.ledger().forget_latency();

        let cpu = Readings::cpu(&target.processes)?;
        let (before, began) = (room.published, Instant::now());
        room.keep_publishing(self.seconds).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = Readings::cpu(&target.processes)?.since(&cpu);

        let deliveries = (room.published - before) as f64 * self.receivers as f64;
        found.set(Figure::PerSecond, deliveries / seconds);
        if !used.is_empty() {
            found.set_sum(Figure::CpuSecondsPerMillion, &used, 1e6 / deliveries);
        }
        found.set_latency(&room.audience);
        for publisher in &mut room.publishers {
            publisher.read_replies(Duration::from_millis(10)).await?;
        }
        found.tally = room.audience.ledger().verdict(room.published)?;
        Ok(found)
    }
}

struct Room<'a> {
    options: &'a Fanout,
    name: To,
    clock: Clock,
    audience: Audience,
    publishers: Vec<Publisher>,
    published: u64,
}

impl<'a> Room<'a> {
    async fn open(options: &'a Fanout, target: &Target) -> Result<Self> {
        const NAME: &str = "load";
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        // One connection carries any number of frames at once, but only one
        // request; what different connections publish may overtake.
        let lanes = match target.via {
            Via::Ws => 1,
            Via::Http => options.in_flight,
        };
        let mut seats = Vec::with_capacity(options.receivers);
        for index in 0..options.receivers {
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some(NAME.to_owned()),
                checker: Checker::new(lanes as u64, 0, lanes as u64),
            });
        }
        let audience = Audience::seat(&target.sockets, seats, clock, &buffer).await?;
        let token = target.mint.token("publisher")?;
        let mut publishers = Vec::new();
        for _ in 0..lanes {
            publishers.push(Publisher::open(target.via, &target.publish, &token, &buffer).await?);
        }
        Ok(Self { options, name: To::Room(NAME.to_owned()), clock, audience, publishers, published: 0 })
    }

    /// Publishes for so many seconds, or until something is lost.
    async fn keep_publishing(&mut self, seconds: f64) -> Result<()> {
        let pause = self.options.rate.map(|rate| self.options.in_flight as f64 / rate);
        let began = tokio::time::Instant::now();
        let mut bursts = 0_u32;
        while began.elapsed().as_secs_f64() < seconds {
            if !self.burst().await? {
                return Ok(());
            }
            bursts += 1;
            if let Some(pause) = pause {
                sleep_until(began + Duration::from_secs_f64(pause * f64::from(bursts))).await;
            }
        }
        Ok(())
    }

    async fn burst(&mut self) -> Result<bool> {
        let now = self.clock.now();
        let next = self.published;
        self.published += self.options.in_flight as u64;
        let marks: Vec<_> = (next..self.published).map(|seq| Mark { seq, published: now }).collect();
        // Each publisher takes the numbers of its own lane.
        let each = marks.len() / self.publishers.len().max(1);
        let lanes = self.publishers.iter_mut().zip(marks.chunks(each.max(1)));
        let size = self.options.size;
        try_join_all(lanes.map(|(publisher, marks)| publisher.publish(&self.name, marks, size))).await?;
        self.audience.wait_for(self.published * self.options.receivers as u64).await
    }
}
