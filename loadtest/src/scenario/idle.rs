//! Connections that wait.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use tokio::time::sleep;

use super::{above_zero, at_least_one};
use crate::audience::{Audience, Seat};
use crate::checker::Checker;
use crate::connection::SharedBuffer;
use crate::measurement::{Figure, Measurement, Readings};
use crate::payload::{Clock, Mark};
use crate::publisher::{Publisher, To};
use crate::target::Target;

/// Connects, waits, and proves at the end that every connection is alive.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Idle {
    /// Connections, each of a user of its own and with one room joined.
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    pub connections: usize,
    /// Rooms that the connections are dealt out to.
    #[arg(long, default_value = "100", value_parser = at_least_one)]
    pub rooms: usize,
    /// Seconds of waiting.
    #[arg(long, default_value = "5", value_parser = above_zero)]
    pub seconds: f64,
}

impl Idle {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let (clock, buffer) = (Clock::start(), SharedBuffer::default());
        let mut seats = Vec::with_capacity(self.connections);
        for index in 0..self.connections {
            let room = index % self.rooms;
            seats.push(Seat {
                token: target.mint.token(&format!("u{index}"))?,
                room: Some(format!("idle-{room}")),
                checker: Checker::new(self.rooms as u64, room as u64, 1),
            });
        }

        let mut found = Measurement::default();
        let memory = Readings::settled_memory(&target.processes).await?;
        let cpu = Readings::cpu(&target.processes)?;
        let audience = Audience::seat(&target.sockets, seats, clock, &buffer).await?;
        let connections = self.connections as f64;
        let spent = Readings::cpu(&target.processes)?.since(&cpu).sum();
        let grown = Readings::settled_memory(&target.processes).await?.since(&memory);
        found.set(Figure::ConnectsPerSecond, connections / audience.connecting.as_secs_f64());
        if spent > 0.0 {
            found.set(Figure::ConnectsPerCpuSecond, connections / spent);
        }
        if !grown.is_empty() {
            found.set_sum(Figure::BytesPerConnection, &grown, 1.0 / connections);
        }

        let (cpu, began) = (Readings::cpu(&target.processes)?, Instant::now());
        sleep(Duration::from_secs_f64(self.seconds)).await;
        let waited = began.elapsed().as_secs_f64();
        let spent = Readings::cpu(&target.processes)?.since(&cpu);
        if !spent.is_empty() {
            found.set_sum(Figure::IdleCpuPercent, &spent, 100.0 / waited);
        }

        // Not before it is needed: a server gives a connection that says nothing no time.
        let token = target.mint.token("publisher")?;
        let mut publisher = Publisher::open(target.via, &target.publish, &token, &buffer).await?;
        for room in 0..self.rooms {
            let mark = Mark { seq: room as u64, published: clock.now() };
            publisher.publish(&To::Room(format!("idle-{room}")), &[mark], 64).await?;
        }
        audience.wait_for(self.connections as u64).await?;
        found.tally = audience.ledger().verdict(self.rooms as u64)?;
        Ok(found)
    }
}
