//! The worlds that promises are tried in.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proto::{Channel, NodeId, Room, Tenant, UserId};
use switchboard_broker::Broker;
use switchboard_broker::memory::{MemoryBroker, Store};

use crate::node::Node;

/// Nodes that share a broker, with names that no other world uses.
pub(crate) struct World {
    name: String,
    backend: Backend,
}

enum Backend {
    Memory(Store),
}

/// Nodes of one process.
pub(crate) async fn memory() -> World {
    World::new(Backend::Memory(Store::new()))
}

impl World {
    fn new(backend: Backend) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self { name: format!("w{}", NEXT.fetch_add(1, Ordering::Relaxed)), backend }
    }

    /// A node of this world.
    #[expect(clippy::unused_async, reason = "memory has nothing to connect to, other brokers do")]
    pub(crate) async fn node(&self, name: &str) -> Node {
        let name = NodeId::new(format!("{}-{name}", self.name)).unwrap();
        let broker: Arc<dyn Broker> = match &self.backend {
            Backend::Memory(store) => Arc::new(MemoryBroker::new(store, name)),
        };
        Node::new(broker)
    }

    /// Two nodes, for most promises.
    pub(crate) async fn two(&self) -> (Node, Node) {
        (self.node("a").await, self.node("b").await)
    }

    fn tenant(&self) -> Tenant {
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
