//! Redis dies and comes back with what it had written.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use rand::random_range;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::crowd::{Crowd, Publisher, Seat};
use super::{Found, RecoveryOptions, cluster};
use crate::chaos::world::Redis;
use crate::token::Mint;

/// How long everybody may take to get in, and to get something again.
const PATIENCE: Duration = Duration::from_secs(60);

/// How long Redis is away, milliseconds.
const AWAY: std::ops::Range<u64> = 200..6000;

/// Clients on two gateways, one room each, to which something is published all the time.
#[derive(Debug, Clone, Args)]
pub struct Restart {
    /// How often Redis is killed.
    #[arg(long, default_value = "20")]
    times: usize,
    /// How many clients, each with a room of its own.
    #[arg(long, default_value = "40")]
    clients: usize,
}

impl Restart {
    pub(super) async fn measure(&self, options: &RecoveryOptions) -> Result<Found> {
        let (mut world, secret) = cluster(options, 2, "").await?;
        let mint = Mint::new(&secret, None);
        let seat = |index: usize| Seat { home: index % 2, rooms: vec![format!("room-{index}")] };
        let seats = (0..self.clients).map(seat).collect();
        let crowd =
            Crowd::gather(&world.gateways, &mint, seats, Duration::from_millis(100), PATIENCE).await?;
        let mut publisher = Publisher::new(&crowd, &world.fanouts, &mint)?;
        let clients = self.clients;
        let publishing = spawn_local(async move {
            for index in (0..clients).cycle() {
                publisher.publish(&format!("room-{index}")).await;
                sleep(Duration::from_millis(1)).await;
            }
        });
        let (mut first, mut all) = (Vec::new(), Vec::new());
        for _ in 0..self.times {
            sleep(Duration::from_secs(1)).await;
            let Redis::Standalone(redis) = &mut world.redis else { bail!("one server was started") };
            redis.kill().await?;
            sleep(Duration::from_millis(random_range(AWAY))).await;
            redis.restart().await?;
            let answered = Instant::now();
            crowd.shared.deliveries.borrow_mut().clear();
            let delivered = self.delivered_to_all(&crowd, answered).await?;
            first.extend(delivered.first());
            all.extend(delivered.last());
        }
        publishing.abort();
        let mut found = Found::default();
        found.tell("restarts of Redis", self.times);
        found.tell_spread("from its answer to the first delivery of something published since", first);
        found.tell_spread("from its answer to such a delivery to each client on both gateways", all);
        found.expect_all(&crowd.shared);
        Ok(found)
    }

    /// When each client was first delivered something that was published after Redis answered, in that order.
    async fn delivered_to_all(&self, crowd: &Crowd, answered: Instant) -> Result<Vec<Duration>> {
        let deadline = answered + PATIENCE;
        loop {
            let mut after: Vec<Option<Duration>> = vec![None; self.clients];
            for delivery in crowd.shared.deliveries.borrow().iter() {
                if let Some(late) = delivery.published.checked_duration_since(answered)
                    && let Some(first) = after.get_mut(delivery.client)
                {
                    first.get_or_insert(late + delivery.after);
                }
            }
            let mut delivered: Vec<Duration> = after.into_iter().flatten().collect();
            if delivered.len() == self.clients {
                delivered.sort_unstable();
                return Ok(delivered);
            }
            if Instant::now() > deadline {
                bail!("only {} clients were delivered something", delivered.len());
            }
            sleep(Duration::from_millis(5)).await;
        }
    }
}
