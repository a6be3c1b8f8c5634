//! A gateway dies, and all its clients come back on another.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::Args;
use proto::Position;
use rand::random_range;
use tokio::task::spawn_local;
use tokio::time::sleep;

use super::crowd::{Crowd, Publisher, Seat};
use super::{Found, RecoveryOptions, cluster};
use crate::token::Mint;

/// How long everybody together may take to come for the first time.
const GATHERING: Duration = Duration::from_secs(120);

/// How long everybody may take to be back, and then to have all that was published.
const PATIENCE: Duration = Duration::from_secs(60);

/// All clients are connected to one of two gateways, one room each; it is killed (SIGKILL).
#[derive(Debug, Clone, Args)]
pub struct Comeback {
    /// How many clients.
    #[arg(long, default_value = "10000")]
    pub clients: usize,
    /// How many rooms they are dealt out to.
    #[arg(long, default_value = "100")]
    rooms: usize,
    /// How many messages a second are published meanwhile, each to one of the rooms.
    #[arg(long, default_value = "20")]
    rate: u32,
    /// How long a client waits at random before it connects again, at most, milliseconds.
    #[arg(long, default_value = "1000")]
    spread: u64,
}

impl Comeback {
    pub(super) async fn measure(&self, options: &RecoveryOptions) -> Result<Found> {
        let (mut world, secret) = cluster(options, 2, "").await?;
        let mint = Mint::new(&secret, None);
        let room = |index: usize| format!("room-{}", index % self.rooms.max(1));
        let seats = (0..self.clients).map(|index| Seat { home: 0, rooms: vec![room(index)] }).collect();
        let spread = Duration::from_millis(self.spread);
        let crowd = Crowd::gather(&world.gateways, &mint, seats, spread, GATHERING).await?;

        let tops: Rc<RefCell<HashMap<String, Position>>> = Rc::default();
        let over = Rc::new(Cell::new(false));
        let mut publisher = Publisher::new(&crowd, &world.fanouts, &mint)?;
        let publishing = spawn_local({
            let (tops, over, rooms, rate) = (Rc::clone(&tops), Rc::clone(&over), self.rooms, self.rate);
            async move {
                while !over.get() {
                    let room = format!("room-{}", random_range(0..rooms.max(1)));
                    let position = publisher.publish(&room).await;
                    tops.borrow_mut().insert(room, position);
                    sleep(Duration::from_secs(1) / rate.max(1)).await;
                }
            }
        });
        sleep(Duration::from_secs(2)).await;
        crowd.shared.elsewhere.set(Some(1));
        world.gateways.first_mut().context("no gateway")?.kill();
        let killed = Instant::now();
        let back = crowd.all_since(killed, PATIENCE).await;
        over.set(true);
        publishing.await?;

        let behind = || {
            let (places, tops) = (crowd.shared.places.borrow(), tops.borrow());
            let lacks = |(room, at): (&String, &Position)| tops.get(room).is_some_and(|top| top != at);
            places.iter().filter(|places| places.iter().any(lacks)).count()
        };
        let deadline = Instant::now() + PATIENCE;
        while behind() > 0 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let mut found = Found::default();
        let shared = &crowd.shared;
        found.tell("clients back on another gateway", format!("{back} of {}", self.clients));
        found.tell("with nothing missing", shared.recovered.get());
        found.tell_spread("from the kill to being back", shared.since(killed));
        found.tell(
            "published while they came back, over all",
            tops.borrow().values().map(|at| at.offset).sum::<u64>(),
        );
        found.expect(back == self.clients, || "not everybody is back".to_owned());
        found.expect(shared.recovered.get() == self.clients, || {
            "not everybody is told that nothing is missing".to_owned()
        });
        found.expect(behind() == 0, || format!("{} clients lack something", behind()));
        found.expect_all(&crowd.shared);
        Ok(found)
    }
}
