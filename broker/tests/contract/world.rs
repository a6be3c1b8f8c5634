//! The worlds that promises are tried in.
//!
//! Servers are started by the first test that needs them and shared by the others, each in a world with names of its own.
//! They go with the process.

use std::sync::atomic::{AtomicU64, Ordering};

use proto::{Channel, NodeId, Room, Tenant, UserId};
use switchboard_broker::memory::{MemoryBroker, Store};
use switchboard_broker::redis::{RedisBroker, RedisConfig};
use testkit::{Access, Cluster, Options, Sentinel, Standalone};
use tokio::sync::OnceCell;

use crate::node::Node;

/// Nodes that share a broker, with names that no other world uses.
pub(crate) struct World {
    name: String,
    backend: Backend,
}

enum Backend {
    Memory(Store),
    /// By its URL.
    Redis(String),
}

/// Nodes of one process.
pub(crate) async fn memory() -> World {
    World::new(Backend::Memory(Store::new()))
}

/// Nodes at a single server.
pub(crate) async fn standalone() -> World {
    static SERVER: OnceCell<Standalone> = OnceCell::const_new();
    let server = SERVER.get_or_init(|| async { Standalone::start(Options::default()).await.unwrap() }).await;
    World::redis(&server.url())
}

/// Nodes at a cluster of three servers, as a user who may do no more than what is documented as needed.
pub(crate) async fn cluster() -> World {
    static SERVERS: OnceCell<Cluster> = OnceCell::const_new();
    let start = || async {
        let servers = Cluster::start().await.unwrap();
        add_user(&servers.nodes).await;
        servers
    };
    let servers = SERVERS.get_or_init(start).await;
    World::redis(&with_user(&servers.url()))
}

/// Nodes at a primary that Sentinels name, as such a user.
pub(crate) async fn sentinel() -> World {
    static SERVERS: OnceCell<Sentinel> = OnceCell::const_new();
    let start = || async {
        let servers = Sentinel::start().await.unwrap();
        add_user(&servers.servers).await;
        servers
    };
    let servers = SERVERS.get_or_init(start).await;
    World::redis(&with_user(&servers.url()))
}

/// Nodes at a server that takes TLS alone and knows nobody but such a user.
pub(crate) async fn secured() -> World {
    static SERVER: OnceCell<Standalone> = OnceCell::const_new();
    let start = || async {
        let access = Access::User { name: USER.to_owned(), password: PASSWORD.to_owned(), rules: rules() };
        let server = Standalone::start(Options { access, tls: true, ..Options::default() }).await.unwrap();
        std::fs::write(server.home().join("ca.pem"), server.ca_pem().unwrap()).unwrap();
        server
    };
    let server = SERVER.get_or_init(start).await;
    let authority = server.home().join("ca.pem");
    World::redis(&format!("{}?prefix={PREFIX}&ca={}", server.url(), authority.display()))
}

const USER: &str = "switchboard";
const PASSWORD: &str = "secret";
const PREFIX: &str = "live";

fn rules() -> String {
    RedisConfig::ACL.replace("PREFIX", PREFIX)
}

async fn add_user(servers: &[Standalone]) {
    let (password, rules) = (format!(">{PASSWORD}"), rules());
    let mut command = vec!["ACL", "SETUSER", USER, "on", &password];
    command.extend(rules.split_whitespace());
    for server in servers {
        server.command(&command).await.unwrap();
    }
}

fn with_user(url: &str) -> String {
    format!("{}&prefix={PREFIX}", url.replace("://", &format!("://{USER}:{PASSWORD}@")))
}

impl World {
    fn redis(url: &str) -> Self {
        Self::new(Backend::Redis(url.to_owned()))
    }

    fn new(backend: Backend) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { name: format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed)), backend }
    }

    /// A node of this world.
    pub(crate) async fn node(&self, name: &str) -> Node {
        let name = NodeId::new(format!("{}-{name}", self.name)).unwrap();
        match &self.backend {
            Backend::Memory(store) => Node::new(MemoryBroker::new(store, name)),
            Backend::Redis(url) => {
                Node::new(RedisBroker::connect(RedisConfig::parse(url).unwrap(), name).await.unwrap())
            }
        }
    }

    /// The same world, where a channel may have so many users for each to be told by name.
    pub(crate) fn with_presence_limit(&self, limit: u64) -> Self {
        Self::new(match &self.backend {
            Backend::Memory(_) => Backend::Memory(Store::with_presence_limit(limit)),
            Backend::Redis(url) => {
                // All nodes under one prefix must agree.
                let more = format!("prefix={PREFIX}:limit&presenceLimit={limit}");
                let separator = if url.contains('?') { '&' } else { '?' };
                Backend::Redis(format!("{url}{separator}{more}"))
            }
        })
    }

    /// A world that shares nothing with any other, for promises about everything that there is.
    pub(crate) fn apart(&self) -> Self {
        Self::new(match &self.backend {
            Backend::Memory(_) => Backend::Memory(Store::new()),
            Backend::Redis(url) => {
                let more = format!("prefix={PREFIX}:{}", self.name);
                let separator = if url.contains('?') { '&' } else { '?' };
                Backend::Redis(format!("{url}{separator}{more}"))
            }
        })
    }

    /// Two nodes, for most promises.
    pub(crate) async fn two(&self) -> (Node, Node) {
        (self.node("a").await, self.node("b").await)
    }

    pub(crate) fn tenant(&self) -> Tenant {
        Tenant::new(self.name.as_str()).unwrap()
    }

    pub(crate) fn room(&self, name: &str) -> Channel {
        Channel::room(&self.tenant(), &Room::new(name).unwrap())
    }

    pub(crate) fn rooms(&self, count: usize) -> Vec<Channel> {
        (0..count).map(|number| self.room(&format!("r{number}"))).collect()
    }

    pub(crate) fn user(&self, name: &str) -> Channel {
        Channel::user(&self.tenant(), &UserId::new(name).unwrap())
    }

    pub(crate) fn everyone(&self) -> Channel {
        Channel::everyone(&self.tenant())
    }
}
