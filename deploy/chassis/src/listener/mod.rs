//! The accept loop: takes connections, holds them to their limits, and lets them finish when the process stops.
//!
//! A connection first has to say something, then to send the head of a request in time; until it does it costs a
//! socket and a small task. Whoever comes when all places are taken is told so (503 with `Retry-After`) instead of
//! being left waiting. A connection that becomes a WebSocket leaves the listener's hands, but keeps its place for
//! as long as its [`ConnectionGuard`] lives.
//!
//! hyper is given a `TokioIo<TcpStream>`, so an upgraded connection can be turned back into the socket
//! (`Upgraded::downcast`).

mod backoff;
mod capacity;
mod config;
mod connection;
mod metrics;
#[cfg(test)]
mod tests;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use proto::ErrorCode;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use capacity::{Capacity, ConnectionGuard};
pub use config::{LISTENER, ListenerConfig};
pub use metrics::{Counters, ListenerMetrics};
pub use tls::{TLS, Tls};

use crate::lifecycle::Lifecycle;
use crate::problem::Problem;
use backoff::AcceptBackoff;
use capacity::Admitted;
use connection::Connections;

/// The whole life of a connection that is only told to come back later. Kept short, because the places for
/// refusals are few.
const REFUSAL_TIME: Duration = Duration::from_secs(5);

/// A socket that waits to be served.
pub struct Listener {
    socket: TcpListener,
    config: ListenerConfig,
    capacity: Capacity,
    when_full: Router,
    tls: Option<Tls>,
    life: Option<Lifecycle>,
}

impl Listener {
    /// Binds an address. Several listeners may share one [`Capacity`], and with `share_port` one address.
    pub fn bind(address: SocketAddr, config: ListenerConfig, capacity: Capacity) -> io::Result<Self> {
        let socket = config::bind(address, &config)?;
        Ok(Self::new(socket, config, capacity))
    }

    /// Takes a socket that somebody else bound.
    pub fn new(socket: TcpListener, config: ListenerConfig, capacity: Capacity) -> Self {
        Self { socket, config, capacity, when_full: Router::new().fallback(full), tls: None, life: None }
    }

    /// What is answered even when all places are taken, such as the probes of an orchestrator, which would
    /// otherwise take a full process for a dead one. Everything else is refused. These routes cannot upgrade.
    #[must_use]
    pub fn when_full(mut self, router: Router) -> Self {
        self.when_full = router.fallback(full);
        self
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.tls = tls;
        self
    }

    /// Ends each connection with its next answer once the process leaves. One that stayed open until the drain could be
    /// closed in the very moment in which its caller sends the next request, and nobody could tell whether that was read.
    #[must_use]
    pub fn for_life(mut self, life: Lifecycle) -> Self {
        self.life = Some(life);
        self
    }

    /// Where it listens; tells the port that the system chose.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Serves until `stop`. Then takes no more connections, closes those that are idle, and lets requests in
    /// flight finish for as long as `grace`. Answers how many connections had to be cut off after that. Dropping
    /// the future cuts off all of them at once. Upgraded connections are left alone either way.
    pub async fn serve(self, router: Router, stop: CancellationToken, grace: Duration) -> usize {
        let Self { socket, config, capacity, when_full, tls, life } = self;
        let cut = CancellationToken::new();
        // Whoever is cut off was asked to stop first: a connection waits for one of the two at a time.
        let stop = stop.child_token();
        let _stop_and_cut_when_dropped = (stop.clone().drop_guard(), cut.clone().drop_guard());
        let tracker = TaskTracker::new();
        if let Some(tls) = tls.clone() {
            let cut = cut.clone();
            tokio::spawn(async move { cut.run_until_cancelled(tls.watch()).await });
        }
        let connections = |router, lasting| {
            let life = life.as_ref();
            Arc::new(Connections::new(router, config, lasting, life, capacity.counters(), &stop, &cut))
        };
        let (served, refused) = (connections(router, true), connections(when_full, false));
        let mut backoff = AcceptBackoff::default();

        loop {
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    if backoff.succeeded() {
                        tracing::info!("connections are accepted again");
                    }
                    match capacity.admit() {
                        Admitted::Place(guard) => {
                            tracker.spawn(Arc::clone(&served).take(tls.clone(), stream, guard));
                        }
                        Admitted::Refusal(guard) => {
                            let refusal = Arc::clone(&refused).take(tls.clone(), stream, guard);
                            tracker.spawn(tokio::time::timeout(REFUSAL_TIME, refusal));
                        }
                        // Not even a place to say no. The peer sees a reset and goes elsewhere.
                        Admitted::Nothing => drop(stream),
                    }
                }
                Err(error) => {
                    capacity.counters().accept_failed(&error);
                    let Some(wait) = backoff.failed(&error) else { continue };
                    if backoff.is_first() {
                        tracing::warn!(%error, "connections cannot be accepted; trying again with pauses");
                    }
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        }
        drop(socket);
        tracker.close();
        if tokio::time::timeout(grace, tracker.wait()).await.is_ok() {
            return 0;
        }
        let left = tracker.len();
        cut.cancel();
        tracker.wait().await;
        left
    }
}

/// Refuses for want of a place. The moment to come back is spread, so that not all come back together.
async fn full() -> Problem {
    Problem::new(ErrorCode::Unavailable)
        .detail("this node holds as many connections as it may")
        .retry_after(Duration::from_secs(rand::random_range(2..=10)))
}
