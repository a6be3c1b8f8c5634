//! Clients that come and go.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{above_zero, at_least_one};
use crate::connection::{Connection, Endpoint, prebuilt};
use crate::framing::Kind;
use crate::measurement::{Figure, Measurement, Readings};
use crate::target::Target;

/// How long one visit may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// Connects, authenticates, joins, leaves and closes, over and over.
#[derive(Debug, Clone, Args, Serialize)]
pub struct Churn {
    /// Clients at the same time.
    #[arg(long, default_value = "64", value_parser = at_least_one)]
    pub at_once: usize,
    /// Users that the visits are of, in turn.
    #[arg(long, default_value = "10000", value_parser = at_least_one)]
    pub users: usize,
    /// Rooms that the users are dealt out to.
    #[arg(long, default_value = "100", value_parser = at_least_one)]
    pub rooms: usize,
    /// Seconds that count, after a fifth of them as a warm-up.
    #[arg(long, default_value = "5", value_parser = above_zero)]
    pub seconds: f64,
}

impl Churn {
    pub(super) async fn measure(&self, target: &Target) -> Result<Measurement> {
        let framing = target.framing();
        let mut visitors = Vec::with_capacity(self.users);
        for user in 0..self.users {
            let room = format!("churn-{}", user % self.rooms);
            let token = target.mint.token(&format!("u{user}"))?;
            visitors.push(Visitor {
                token,
                join: prebuilt(&framing.join(&room)),
                leave: prebuilt(&framing.leave(&room)),
            });
        }
        let crowd = Rc::new(Crowd {
            sockets: target.sockets.clone(),
            visitors,
            next: RefCell::default(),
            // One microsecond to one minute, three digits.
            ready: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
        });

        let mut found = Measurement::default();
        crowd.visit(self.at_once, self.seconds / 5.0).await?;
        crowd.ready.borrow_mut().reset();
        let (cpu, began) = (Readings::cpu(&target.processes)?, Instant::now());
        crowd.visit(self.at_once, self.seconds).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = Readings::cpu(&target.processes)?.since(&cpu);

        let ready = crowd.ready.borrow();
        let visits = ready.len() as f64;
        found.set(Figure::PerSecond, visits / seconds);
        if !used.is_empty() {
            found.set_sum(Figure::CpuSecondsPerMillion, &used, 1e6 / visits);
        }
        if used.sum() > 0.0 {
            found.set(Figure::ConnectsPerCpuSecond, visits / used.sum());
        }
        for (figure, quantile) in [
            (Figure::P50Milliseconds, 0.5),
            (Figure::P99Milliseconds, 0.99),
            (Figure::P999Milliseconds, 0.999),
        ] {
            found.set(figure, ready.value_at_quantile(quantile) as f64 / 1e3);
        }
        Ok(found)
    }
}

struct Visitor {
    token: String,
    join: Vec<u8>,
    leave: Vec<u8>,
}

struct Crowd {
    sockets: Vec<Endpoint>,
    visitors: Vec<Visitor>,
    next: RefCell<usize>,
    /// From connecting to having joined, microseconds.
    ready: RefCell<Histogram<u64>>,
}

impl Crowd {
    async fn visit(self: &Rc<Self>, at_once: usize, seconds: f64) -> Result<()> {
        let began = Instant::now();
        let mut guests = JoinSet::new();
        for _ in 0..at_once {
            let crowd = Rc::clone(self);
            guests.spawn_local(async move {
                while began.elapsed().as_secs_f64() < seconds {
                    let visit = timeout(PATIENCE, crowd.once()).await;
                    visit.context("a visit took longer than half a minute")??;
                }
                anyhow::Ok(())
            });
        }
        while let Some(guest) = guests.join_next().await {
            guest??;
        }
        Ok(())
    }

    async fn once(&self) -> Result<()> {
        let turn = self.next.replace_with(|turn| turn.wrapping_add(1));
        let visitor = self.visitors.get(turn % self.visitors.len()).context("no visitors")?;
        let endpoint = self.sockets.get(turn % self.sockets.len()).context("no endpoint")?;
        let began = Instant::now();
        let mut connection = Connection::open(endpoint, None, &visitor.token).await?;
        connection.send(&visitor.join).await?;
        connection.expect(Kind::Joined).await?;
        let took = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.ready.borrow_mut().saturating_record(took);
        connection.send(&visitor.leave).await?;
        connection.expect(Kind::Left).await?;
        connection.close().await
    }
}
