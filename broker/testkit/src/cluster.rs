//! A Redis Cluster of three masters without replicas.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::poll::until;
use crate::resp::Reply;
use crate::server::{Options, Server};

/// How many slots a cluster has.
const SLOTS: u16 = 16_384;

/// The last slot of each node at the start.
const LAST: [u16; 3] = [5_460, 10_922, SLOTS - 1];

/// How long gossip may take to reach everybody, with a loaded machine in mind.
const GOSSIP: Duration = Duration::from_secs(30);

/// Keys that move at a time.
const BATCH: &str = "100";

/// How long the nodes give each other before they take one for dead, and how long a key may take to move, in
/// milliseconds.
const NODE_TIMEOUT: &str = "2000";

/// Three masters that share the slots evenly. With one down, the others refuse commands with `CLUSTERDOWN`.
#[derive(Debug)]
pub struct Cluster {
    /// The nodes. They may be killed, paused and restarted; a restarted one is still in the cluster.
    pub nodes: [Server; 3],
}

impl Cluster {
    /// Starts three nodes and waits until each of them finds the cluster complete.
    pub async fn start() -> Result<Self> {
        let cluster = Self { nodes: [node().await?, node().await?, node().await?] };
        let mut first = 0;
        for (index, (node, last)) in cluster.nodes.iter().zip(LAST).enumerate() {
            // Nodes that start with one epoch each need not first settle who has which.
            let epoch = (index + 1).to_string();
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &epoch]).await?;
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &first.to_string(), &last.to_string()]).await?;
            first = last + 1;
        }
        let [meeting_point, others @ ..] = &cluster.nodes;
        for node in others {
            let port = node.port().to_string();
            meeting_point.command(&["CLUSTER", "MEET", "127.0.0.1", &port]).await?;
        }
        cluster.complete().await?;
        Ok(cluster)
    }

    /// The cluster's address for a client: `redis-cluster://127.0.0.1:port?node=127.0.0.1:port&node=…`.
    #[must_use]
    pub fn url(&self) -> String {
        let [first, second, third] = self.nodes.each_ref().map(Server::address);
        format!("redis-cluster://{first}?node={second}&node={third}")
    }

    /// Waits until every node knows two others and finds all slots served, as after a restart of one.
    pub async fn complete(&self) -> Result<()> {
        for node in &self.nodes {
            let what = format!("node {} finds the cluster complete", node.address());
            until(&what, GOSSIP, || async {
                let info = node.command(&["CLUSTER", "INFO"]).await?.text();
                let has = |wanted: &str| info.lines().any(|line| line == wanted);
                Ok(has("cluster_state:ok") && has("cluster_known_nodes:3") && has("cluster_slots_ok:16384"))
            })
            .await?;
        }
        Ok(())
    }

    /// The slot of a key.
    pub async fn slot_of(&self, key: &str) -> Result<u16> {
        let [first, ..] = &self.nodes;
        match first.command(&["CLUSTER", "KEYSLOT", key]).await? {
            Reply::Int(slot) => Ok(u16::try_from(slot)?),
            other => anyhow::bail!("not a slot: {other:?}"),
        }
    }

    /// Which node serves a slot, as the nodes agree; an error while they do not.
    pub async fn owner_of(&self, slot: u16) -> Result<usize> {
        let mut owner = None;
        for node in &self.nodes {
            let seen = self.owner_seen_by(node, slot).await?;
            ensure!(*owner.get_or_insert(seen) == seen, "the nodes do not agree on the owner of slot {slot}");
        }
        owner.context("a cluster without nodes")
    }

    /// Moves a slot with its keys to a node, and waits until all nodes agree that it is there.
    pub async fn move_slot(&self, slot: u16, to: usize) -> Result<()> {
        if self.owner_of(slot).await? == to {
            return Ok(());
        }
        self.begin_move(slot, to).await?;
        self.finish_move(slot, to).await
    }

    /// Opens a slot for moving: from now on its owner sends clients to the new node (`ASK`) for keys that it does not
    /// have.
    pub async fn begin_move(&self, slot: u16, to: usize) -> Result<()> {
        let owner = self.node(self.owner_of(slot).await?)?;
        let target = self.node(to)?;
        let slot = slot.to_string();
        target.command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &id(owner).await?]).await?;
        owner.command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &id(target).await?]).await?;
        Ok(())
    }

    /// Moves the keys of a slot that [`begin_move`](Self::begin_move) opened, and gives the slot to the new node.
    pub async fn finish_move(&self, slot: u16, to: usize) -> Result<()> {
        let owner = self.node(self.owner_of(slot).await?)?;
        let target = self.node(to)?;
        move_keys(owner, target, slot).await?;
        let target_id = id(target).await?;
        // The new owner first: if the old one gave it up first, the slot would be nobody's in between.
        for node in [target, owner] {
            node.command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &target_id]).await?;
        }
        until("all nodes agree on the slot's new owner", GOSSIP, || async {
            Ok(self.owner_of(slot).await? == to)
        })
        .await
    }

    fn node(&self, index: usize) -> Result<&Server> {
        self.nodes.get(index).with_context(|| format!("there is no node {index}"))
    }

    async fn owner_seen_by(&self, node: &Server, slot: u16) -> Result<usize> {
        let ranges = node.command(&["CLUSTER", "SLOTS"]).await?;
        // A range is its first slot, its last slot, and its master as a list of address, port and more.
        let port = ranges.list().iter().find_map(|range| match range.list() {
            [Reply::Int(first), Reply::Int(last), master, ..] if (*first..=*last).contains(&slot.into()) => {
                master.list().get(1)
            }
            _ => None,
        });
        let owner = self.nodes.iter().position(|node| port == Some(&Reply::Int(node.port().into())));
        owner.with_context(|| format!("slot {slot} has no owner"))
    }
}

async fn node() -> Result<Server> {
    let config = vec![
        "cluster-enabled yes".to_owned(),
        "cluster-announce-ip 127.0.0.1".to_owned(),
        format!("cluster-node-timeout {NODE_TIMEOUT}"),
    ];
    Server::start(Options { config, ..Options::default() }).await
}

async fn id(node: &Server) -> Result<String> {
    Ok(node.command(&["CLUSTER", "MYID"]).await?.text())
}

async fn move_keys(owner: &Server, target: &Server, slot: u16) -> Result<()> {
    let (slot, port) = (slot.to_string(), target.port().to_string());
    loop {
        let batch = owner.command(&["CLUSTER", "GETKEYSINSLOT", &slot, BATCH]).await?;
        let keys: Vec<String> = batch.list().iter().map(Reply::text).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let mut command = vec!["MIGRATE", "127.0.0.1", &port, "", "0", NODE_TIMEOUT, "KEYS"];
        command.extend(keys.iter().map(String::as_str));
        owner.command(&command).await?;
    }
}
