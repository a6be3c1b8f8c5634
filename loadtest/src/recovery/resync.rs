//! A gateway that listens to many channels loses all its subscriptions at once.

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

/// How long everybody may take to get in.
const GATHERING: Duration = Duration::from_secs(300);

/// How long everything is watched before, and after all samples arrived.
const CALM: Duration = Duration::from_secs(5);

/// How long the samples may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Who is there is not tracked: it has nothing to do with this, and a hundred thousand of it take long.
const CHANNELS: &str = "presence = false\n";

/// Sessions with a hundred rooms each on one gateway; Redis throws its subscriptions out.
#[derive(Debug, Clone, Args)]
pub struct Resync {
    /// How many rooms, all of them different.
    #[arg(long, default_value = "100000")]
    channels: usize,
    /// How many rooms each session is in.
    #[arg(long, default_value = "100")]
    each: usize,
    /// How many messages a second are published, to rooms drawn at random.
    #[arg(long, default_value = "200")]
    rate: u32,
    /// To how many rooms something is published just after the interruption: they are in step when that is delivered.
    #[arg(long, default_value = "1000")]
    samples: usize,
}

impl Resync {
    pub(super) async fn measure(&self, options: &RecoveryOptions) -> Result<Found> {
        let (world, secret) = cluster(options, 1, CHANNELS).await?;
        let mint = Mint::new(&secret, None);
        let rooms: Vec<String> = (0..self.channels).map(|index| format!("room-{index}")).collect();
        let seats = rooms.chunks(self.each.max(1)).map(|rooms| Seat { home: 0, rooms: rooms.to_vec() });
        let crowd =
            Crowd::gather(&world.gateways, &mint, seats.collect(), Duration::from_millis(100), GATHERING)
                .await?;
        let (channels, rate) = (self.channels, self.rate);
        let mut publisher = Publisher::new(&crowd, &world.fanouts, &mint)?;
        let publishing = spawn_local(async move {
            loop {
                publisher.publish(&format!("room-{}", random_range(0..channels))).await;
                sleep(Duration::from_secs(1) / rate.max(1)).await;
            }
        });
        sleep(CALM).await;
        let Redis::Standalone(redis) = &world.redis else { bail!("one server was started") };
        let shared = &crowd.shared;
        let calm = shared.deliveries.take();

        redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await?;
        let broken = Instant::now();
        let mut sampler = Publisher::new(&crowd, &world.fanouts, &mint)?;
        for index in 0..self.samples {
            sampler.publish(&format!("room-{}", index * channels / self.samples)).await;
        }
        let sampled = Instant::now();
        let last_delivery = || {
            let deliveries = shared.deliveries.borrow();
            let samples = deliveries.iter().filter(|one| one.published >= broken && one.published <= sampled);
            let ends: Vec<Instant> = samples.map(|one| one.published + one.after).collect();
            (ends.len(), ends.into_iter().max())
        };
        while last_delivery().0 < self.samples && broken.elapsed() < PATIENCE {
            sleep(Duration::from_millis(20)).await;
        }
        sleep(CALM).await;
        publishing.abort();

        let mut found = Found::default();
        found.tell("channels on the gateway", self.channels);
        found.tell("sessions", shared.arrived.borrow().len());
        let (count, last) = last_delivery();
        found.expect(count >= self.samples, || format!("{count} of {} samples arrived", self.samples));
        let step = last.map_or(Duration::ZERO, |last| last.duration_since(broken));
        found.tell("from the interruption until all samples were delivered", super::milliseconds(step));
        found.tell("which were published within", super::milliseconds(sampled.duration_since(broken)));
        let after = |deliveries: &[super::crowd::Delivery]| deliveries.iter().map(|one| one.after).collect();
        found.tell_spread("from publishing to delivery, before", after(&calm));
        let deliveries = shared.deliveries.take();
        let (meanwhile, later): (Vec<_>, Vec<_>) =
            deliveries.into_iter().partition(|one| one.published < broken + step);
        let (samples, meanwhile): (Vec<_>, Vec<_>) =
            meanwhile.into_iter().partition(|one| one.published <= sampled);
        found.tell_spread("just after the interruption", after(&samples));
        found.tell_spread("meanwhile", after(&meanwhile));
        found.tell_spread("afterwards", after(&later));
        found.expect_all(&crowd.shared);
        Ok(found)
    }
}
