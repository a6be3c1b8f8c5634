//! Everything at once, from a seed: messages, wishes that change, connections that break.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use testkit::{Options, Proxy, Standalone};

use super::*;

/// How often something breaks and is mended.
const ROUNDS: usize = 8;

/// How many messages are published while it is broken, and again while it is not.
const MESSAGES: usize = 150;

/// One server behind a network, a link, and how many messages each channel has had.
struct World {
    random: StdRng,
    redis: Standalone,
    proxy: Proxy,
    link: Link,
    log: Arc<Log>,
    rooms: Vec<Channel>,
    published: Vec<u64>,
}

impl World {
    async fn start(seed: u64) -> Self {
        let redis = Standalone::start(Options::default()).await.unwrap();
        let proxy = Proxy::start(redis.address()).await.unwrap();
        let (link, log) = link_at(&proxy.url());
        let rooms = rooms(20);
        link.subscribe(&rooms);
        all_on(&log, &rooms).await;
        let published = vec![0; rooms.len()];
        Self { random: StdRng::seed_from_u64(seed), redis, proxy, link, log, rooms, published }
    }

    async fn publish(&mut self, at: usize) {
        self.published[at] += 1;
        self.log.begin(&self.rooms[at], self.published[at]);
        publish(&self.redis, &self.rooms[at], self.published[at]).await;
    }

    /// Messages, while now and then somebody comes or goes.
    async fn busy(&mut self) {
        for _ in 0..MESSAGES {
            let at = self.random.random_range(0..self.rooms.len());
            self.publish(at).await;
            let room = &self.rooms[at..=at];
            match self.random.random_range(0..20) {
                0 => self.link.unsubscribe(room),
                1 => self.link.subscribe(room),
                2 => {
                    self.link.unsubscribe(room);
                    self.link.subscribe(room);
                }
                _ => {}
            }
        }
    }

    async fn disturb(&mut self) {
        match self.random.random_range(0..4) {
            0 => drop(self.redis.command(&["CLIENT", "KILL", "TYPE", "pubsub"]).await.unwrap()),
            1 => self.proxy.cut(),
            2 => self.proxy.stall(true),
            _ => {}
        }
    }

    /// Everybody is wanted again, and gets the next message.
    async fn mend(&mut self) {
        self.proxy.restore();
        self.link.subscribe(&self.rooms);
        for at in 0..self.rooms.len() {
            self.publish(at).await;
        }
        let all = self.rooms.len() as u64;
        let stands = || async { Ok(self.link.health().connected && self.link.health().channels == all) };
        until("all is well again", PATIENCE, stands).await.unwrap();
        all_on(&self.log, &self.rooms).await;
        for at in 0..self.rooms.len() {
            self.publish(at).await;
            got(&self.log, &self.rooms[at], self.published[at]).await;
        }
    }
}

#[tokio::test]
async fn no_message_is_missing_without_a_word_whatever_breaks() {
    let seed = rand::random();
    println!("seed {seed}");
    let mut world = World::start(seed).await;
    for _ in 0..ROUNDS {
        world.disturb().await;
        world.busy().await;
        world.mend().await;
        world.busy().await;
        world.mend().await;
    }
    world.log.check();
}
