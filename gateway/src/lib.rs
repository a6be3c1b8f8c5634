//! The node that holds client connections.
//!
//! [`Gateway`] serves endpoints for everyone with a token, and gives each session what is published in the channels that it
//! listens to. A `transport` makes a request a `connection`, which moves bytes and asks its `session`, a value, what they
//! mean. The `hub` knows who listens to what; a [`follower`], a value too, keeps each channel in order.

#![forbid(unsafe_code)]

mod clock;
mod config;
mod connection;
mod endpoint;
pub mod engineio;
#[cfg(test)]
mod footprint;
mod hub;
mod metrics;
mod node;
mod peer;
mod session;
pub mod socketio;
mod transport;
mod trial;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::routing::get;
use broker::{Broker, Unavailable};
use chassis::auth::Verifier;
use chassis::ops::{Operations, Report};
use prometheus::Registry;
use proto::{ChannelRules, NodeId};
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

pub use config::{ENDPOINTS, GatewayConfig, OPTIONS};
pub use endpoint::offline::{First, Offline};
pub use endpoint::policy::{Admission, ClaimsText};
pub use endpoint::{Endpoint, Origins, Protocol, Refusal};
pub use hub::follower;

use endpoint::EndpointId;
use engineio::Server;
use engineio::neighbours::Neighbours;
use hub::flusher::Flusher;
use hub::{Hub, reader};
use metrics::Metrics;
use node::clerk::{self, Clerk};
use node::device_book::DeviceBook;
use node::drain::Drain;
use node::inquiries::Inquiries;
use node::keeper::Keeper;
use node::presence::PresenceBook;
use node::pulse::Pulse;
use node::{Node, tally};
use session::Terms;
use transport::door::Door;

/// The client side of one process. Its tasks end when it is dropped.
pub struct Gateway {
    node: Arc<Node>,
    doors: Vec<Door>,
    /// The doors of Socket.IO.
    servers: Vec<Server<Door>>,
    /// Where others reach this node, if not where it is bound.
    advertise: String,
    neighbours: Option<Arc<Neighbours>>,
    reconnect_window: Duration,
    page: Option<String>,
    _tasks: Vec<AbortOnDropHandle<()>>,
}

impl Gateway {
    /// A gateway on a broker that nobody else is attached to, counted in `registry`. Must be called within a runtime.
    ///
    /// # Errors
    /// When metrics of the same names are registered already.
    pub fn new(
        config: GatewayConfig,
        id: &NodeId,
        broker: Arc<dyn Broker>,
        verifier: Arc<Verifier>,
        channels: ChannelRules,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let metrics = Metrics::new(registry)?;
        let endpoints: Arc<[Endpoint]> = config.endpoints.into();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let flusher = Arc::new(Flusher::new(cores));
        let (asked, questions) = mpsc::channel(clerk::QUESTIONS);
        let channels = Arc::new(channels);
        let (hub, reads) = Hub::new(
            Arc::clone(&broker),
            Arc::clone(&channels),
            Arc::clone(&endpoints),
            metrics.clone(),
            Arc::clone(&flusher),
            asked,
        );
        let pulse = Arc::new(Pulse::new(Arc::clone(&endpoints)));
        let inquiries = Arc::<Inquiries>::default();
        let clerk = Clerk {
            node: id.clone(),
            broker: Arc::clone(&broker),
            endpoints: Arc::clone(&endpoints),
            pulse: Arc::clone(&pulse),
            inquiries: Arc::clone(&inquiries),
        };
        let keeper = Keeper::new(Arc::clone(&broker));
        let devices = DeviceBook::new(Arc::clone(&broker));
        let node = Arc::new(Node {
            presence: PresenceBook::new(&broker),
            keeper: Arc::clone(&keeper),
            devices: Arc::clone(&devices),
            broker: Arc::clone(&broker),
            hub: Arc::clone(&hub),
            pulse: Arc::clone(&pulse),
            verifier,
            drain: Drain::default(),
            inquiries,
            rates: Arc::default(),
            metrics,
        });
        let doors = (0..).zip(endpoints.iter()).map(|(index, endpoint)| {
            let (id, endpoint, channels) = (id.clone(), endpoint.clone(), Arc::clone(&channels));
            let terms = Arc::new(Terms { node: id, endpoint, channels });
            Door { node: Arc::clone(&node), terms, endpoint: EndpointId(index) }
        });
        let doors: Vec<Door> = doors.collect();
        let neighbours = Neighbours::new(Arc::clone(&broker));
        let servers = doors.iter().filter(|door| door.terms.endpoint.protocol == Protocol::SocketIo);
        let servers = servers.cloned().map(|door| transport::socketio::server(door, neighbours.clone()));
        let servers = servers.collect();
        let swept = Arc::clone(&hub);
        let mut tasks = vec![
            tokio::spawn(reader::run(Arc::clone(&hub), Arc::clone(&broker), reads)),
            tokio::spawn(tally::run(Arc::clone(&hub), Arc::clone(&broker))),
            tokio::spawn(reader::audit(hub, broker)),
            tokio::spawn(clerk.run(questions)),
            tokio::spawn(Arc::clone(&node).follow_revocations()),
            tokio::spawn(async move { keeper.run().await }),
            tokio::spawn(async move { devices.run().await }),
            tokio::spawn(async move { pulse.beat(|| swept.sweep(Instant::now())).await }),
        ];
        let later = Arc::clone(&flusher);
        tasks.push(tokio::spawn(async move { later.run_later().await }));
        tasks.extend((0..flusher.lanes()).map(|lane| {
            let flusher = Arc::clone(&flusher);
            tokio::spawn(async move { flusher.run(lane).await })
        }));
        tasks
            .extend(neighbours.clone().map(|neighbours| tokio::spawn(async move { neighbours.run().await })));
        let _tasks = tasks.into_iter().map(AbortOnDropHandle::new).collect();
        Ok(Self {
            node,
            doors,
            servers,
            advertise: config.advertise,
            neighbours,
            reconnect_window: config.reconnect_window,
            page: config.page,
            _tasks,
        })
    }

    /// Learns which tokens are revoked already. To be awaited before clients are taken; what is revoked later is learned
    /// as it comes.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn know_revoked(&self) -> Result<(), Unavailable> {
        self.node.read_revocations().await
    }

    /// The routes of the endpoints.
    pub fn router(&self) -> Router {
        let polled = self.doors.first().map_or_else(Router::new, |door| {
            let poll =
                async |State(door): State<Door>, room, asked, request| door.poll(room, asked, request).await;
            Router::new().route("/v1/rooms/{room}/history", get(poll).with_state(door.clone()))
        });
        let served = self.servers.iter().fold(polled, |router, server| router.merge(server.router()));
        let endpoints = self.doors.iter().map(|door| &door.terms.endpoint);
        let served = match &self.page {
            Some(path) => served.merge(trial::router(path, endpoints)),
            None => served,
        };
        self.doors.iter().fold(served, |router, door| {
            let endpoint = &door.terms.endpoint;
            let served = match endpoint.protocol {
                Protocol::WebSocket => {
                    get(async |State(door): State<Door>, request: Request| door.open(request))
                }
                Protocol::ServerSentEvents => {
                    get(async |State(door): State<Door>, request: Request| door.stream(request).await)
                }
                Protocol::SocketIo => return router,
            };
            router.route(&endpoint.path, served.with_state(door.clone()))
        })
    }

    /// What `/health` and `/status` tell of this node's clients.
    pub fn tell(&self, operations: Operations) -> Operations {
        let [connections, health, clients, users] = [(); 4].map(|()| Arc::clone(&self.node));
        let (started, since) = (Instant::now(), Instant::now());
        operations
            .sign("uptime", move || started.elapsed().as_secs_f64().into())
            .sign("connections", move || connections.metrics.connections.get().into())
            .sign("redis", move || {
                if health.broker.health().is_ok() { "connected" } else { "disconnected" }.into()
            })
            .detail("uptime", move || since.elapsed().as_secs_f64().into())
            .detail("connectedClients", move || clients.metrics.connections.get().into())
            .detail("uniqueUsers", move || users.hub.users().into())
    }

    /// Lets the other nodes know where this one is reached, which is bound to that address: they hand it the requests of
    /// clients that poll, wherever those come. Nothing is said of an address that means any of this machine's.
    pub fn advertise(&self, bound: SocketAddr) {
        let address = match &*self.advertise {
            "" if bound.ip().is_unspecified() => return,
            "" => bound.to_string(),
            address => address.to_owned(),
        };
        if let Some(neighbours) = &self.neighbours {
            neighbours.advertise(address);
        }
    }

    /// How many clients are connected.
    pub fn connections(&self) -> i64 {
        self.node.metrics.connections.get()
    }

    /// Takes no more clients, tells those that are there to go, spread over `window`, and returns when they are gone.
    pub async fn drain(&self, window: Duration) {
        self.node.drain.begin();
        self.node.pulse.drain(window, self.reconnect_window).await;
        if let Err(error) = self.node.devices.tell().await {
            tracing::warn!(%error, "what some devices have got is given to them again");
        }
    }
}

/// What `/health` says of the broker. Without subscriptions clients stay, and miss nothing that they are not given later.
pub fn broker_report(health: broker::Health) -> Report {
    match (health.commands, health.subscriptions) {
        (true, true) => Report::ok(),
        (true, false) => Report::degraded("a subscription connection is being made again; messages are late"),
        (false, _) => Report::down("Redis does not answer; clients stay, and catch up when it is back"),
    }
}
