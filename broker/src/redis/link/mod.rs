//! The subscription link: the connections on which Redis pushes published messages.
//!
//! Client libraries drop confirmations, lose subscriptions when slots move, or queue without bound between the socket and
//! the application. This link does one thing, and says so whenever it cannot.
//!
//! ```text
//! Link ── Routes     which connection is to carry which channel     (a value)
//!   ├──── Finder     who has the channels: asks Sentinels, nodes    (I/O)   ── Owners  what they say   (a value)
//!   └──── Lane  ×n   one connection, kept up                        (I/O)   ── Interest, Parser        (values)
//! ```

mod channels;
pub(super) mod connection;
pub(super) mod finder;
mod interest;
mod lane;
pub(super) mod owners;
mod pulse;
pub mod resp;
mod routes;
pub(super) mod slot;
mod wishes;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use proto::Channel;
use tokio::select;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use connection::Dialer;
use finder::Finder;
pub use interest::Naming;
use interest::Style;
use lane::{Lane, Shared};
use routes::Routes;

use super::RedisConfig;
use crate::Sink;
use crate::chaos::{Detector, is_off};

/// How often to look whether other servers have the channels now, though nothing says so. What a node of the old order
/// still passes on after a partition is only found out like this.
const LOOK_AGAIN: Duration = Duration::from_secs(3);

/// Between two looks at least, whatever happens; doubled for each look in a row that found nothing new.
const RESPITE: Duration = Duration::from_millis(100);

/// The longest of them, also while nobody answers.
const LONGEST_RESPITE: Duration = Duration::from_secs(1);

/// How the link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkHealth {
    /// It is known which servers have the channels, and a connection stands to each.
    pub connected: bool,
    /// How often a connection was made again after it was lost.
    pub reconnects: u64,
    /// How many channels are subscribed to and confirmed.
    pub channels: u64,
}

/// The subscriptions of one node. Ends its connections when dropped.
///
/// The user of the URL needs no more rights than `+subscribe +unsubscribe` and `&<prefix>:*`, in a cluster
/// `+ssubscribe +sunsubscribe +cluster|nodes` instead of the first two, and at Sentinels `+sentinel|master
/// +sentinel|get-master-addr-by-name`.
pub struct Link {
    config: RedisConfig,
    naming: Naming,
    routes: Arc<Mutex<Routes>>,
    reconnects: Arc<AtomicU64>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Link {
    /// A link that does nothing before a sink is [attached](Self::attach). `naming` says how a channel is called in Redis;
    /// `shards` is how many connections to one server share its channels, 1 unless one core is too few to read them.
    pub fn new(config: RedisConfig, naming: Naming, shards: u16) -> Self {
        Self {
            routes: Arc::new(Mutex::new(Routes::new(naming.clone(), shards))),
            config,
            naming,
            reconnects: Arc::default(),
            tasks: TaskTracker::new(),
            closed: CancellationToken::new(),
        }
    }

    /// Names the receiver and begins to connect, on the current runtime. Servers that are away are tried until they are
    /// there. Called once.
    pub fn attach(&self, sink: Arc<dyn Sink>) {
        let shared = Arc::new(Shared {
            sink,
            style: if self.config.is_cluster() { Style::Sharded } else { Style::Plain },
            naming: self.naming.clone(),
            dialer: Dialer {
                credentials: self.config.credentials().clone(),
                tls: self.config.tls().cloned(),
                primary_only: true,
            },
            stale: Notify::new(),
            settled: Notify::new(),
            reconnects: self.reconnects.clone(),
        });
        let keeper = Keeper {
            shared,
            routes: self.routes.clone(),
            tasks: self.tasks.clone(),
            closed: self.closed.clone(),
        };
        let finder = Finder::new(&self.config);
        let closed = self.closed.clone();
        self.tasks.spawn(async move { closed.run_until_cancelled(keeper.keep(finder)).await });
    }

    /// States that the frames of these channels are wanted, and returns at once. [`Sink::subscribed`] follows when Redis
    /// has confirmed it, and again each time that it comes true again.
    pub fn subscribe(&self, channels: &[Channel]) {
        self.routes.lock().want(channels);
    }

    /// States that they are wanted no more.
    pub fn unsubscribe(&self, channels: &[Channel]) {
        self.routes.lock().forget(channels);
    }

    /// How the link is, from what it last saw.
    pub fn health(&self) -> LinkHealth {
        let routes = self.routes.lock();
        LinkHealth {
            connected: routes.is_connected(),
            reconnects: self.reconnects.load(Ordering::Relaxed),
            channels: routes.confirmed(),
        }
    }

    /// Closes all connections. Nothing is passed on after it returns.
    pub async fn close(&self) {
        self.closed.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.closed.cancel();
    }
}

/// Keeps the lanes where the channels are.
struct Keeper {
    shared: Arc<Shared>,
    routes: Arc<Mutex<Routes>>,
    tasks: TaskTracker,
    closed: CancellationToken,
}

impl Keeper {
    async fn keep(self, finder: Finder) {
        tokio::join!(self.follow(finder), self.settle());
    }

    /// Follows the channels from server to server.
    async fn follow(&self, mut finder: Finder) {
        let (mut known, mut respite) = (true, RESPITE);
        loop {
            let found = finder.find().await;
            let told = std::mem::replace(&mut known, found.is_ok());
            match found {
                Ok(owners) => {
                    if !told {
                        info!("it is known again which Redis servers have the channels");
                    }
                    self.routes.lock().follow(owners).into_iter().for_each(|lane| self.start(lane));
                }
                Err(error) if told => warn!(%error, "it is unknown which Redis servers have the channels"),
                Err(error) => debug!(%error, "still unknown which Redis servers have the channels"),
            }
            // Every node of ours sees a failover in the same moment: let them not ask in the same moment.
            sleep(respite.mul_f64(0.5 + rand::random::<f64>())).await;
            let quiet = if known { LOOK_AGAIN } else { Duration::ZERO };
            respite = select! {
                () = self.shared.stale.notified() => LONGEST_RESPITE.min(respite * 2),
                () = sleep(quiet.mul_f64(0.5 + rand::random::<f64>())), if !(known && is_off(Detector::Primary)) => {
                    if known { RESPITE } else { LONGEST_RESPITE.min(respite * 2) }
                }
            };
        }
    }

    /// Lets channels go to their new place once they have left the old one.
    async fn settle(&self) {
        loop {
            self.shared.settled.notified().await;
            self.routes.lock().settle();
        }
    }

    fn start(&self, lane: Arc<Lane>) {
        let (shared, closed) = (self.shared.clone(), self.closed.clone());
        self.tasks.spawn(async move { closed.run_until_cancelled(lane::run(lane, shared)).await });
    }
}
