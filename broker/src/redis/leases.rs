//! Which nodes live: each renews a lease, and what one noted without one is void.
//!
//! Besides the lease a node stands in a register with the time until which it surely lives, so that the others find the
//! dead with one look instead of knowing everybody.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fred::interfaces::{KeysInterface, SortedSetsInterface};
use fred::types::scripts::Script;
use fred::types::{Expiration, SetOptions};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::Unavailable;

static ENROL: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/enrol.lua")));
static OVERDUE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/overdue.lua")));

/// How long a node counts as alive after its last sign of life. With the time that others take to notice and to be sure
/// it must stay below the 15 seconds that are promised.
const LEASE: Duration = Duration::from_secs(8);

/// How often it gives one. Two may be lost.
pub(super) const RENEWAL: Duration = Duration::from_millis(2_500);

/// How many leases are looked up at a time.
const IN_FLIGHT: usize = 64;

/// How many of the dead one look brings.
const OVERDUE_AT_ONCE: usize = 16;

/// The leases of all nodes.
#[derive(Clone)]
pub(super) struct Leases {
    commands: Commands,
    keys: Keys,
    nodes: Arc<Mutex<Nodes>>,
}

impl Leases {
    pub(super) fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys, nodes: Arc::default() }
    }

    /// Begins the lease of a new life.
    pub(super) async fn begin(&self, life: &str) -> Result<(), Unavailable> {
        // First of all others must be able to find out that it has ended.
        self.enrol(life).await?;
        self.set(life, SetOptions::NX).await.map(drop)
    }

    /// Renews a lease; false if it had run out.
    pub(super) async fn renew(&self, life: &str) -> Result<bool, Unavailable> {
        let lived = self.set(life, SetOptions::XX).await?;
        if lived {
            self.enrol(life).await?;
        }
        Ok(lived)
    }

    /// Ends a lease: what was noted under it is void at once.
    pub(super) async fn end(&self, life: &str) -> Result<(), Unavailable> {
        let (lease, register) = (self.keys.lease(life), self.keys.register());
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let lease = lease.clone();
                async move { client.del::<(), _>(lease).await }
            })
            .await?;
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (register, life) = (register.clone(), life.to_owned());
                async move { client.zadd::<(), _, _>(register, None, None, false, false, (0.0, life)).await }
            })
            .await
    }

    /// Sets a lease, if it exists or if it does not. Says whether it was set.
    async fn set(&self, life: &str, only: SetOptions) -> Result<bool, Unavailable> {
        let key = self.keys.lease(life);
        let set: Option<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let (key, only) = (key.clone(), only.clone());
                let lasting = Expiration::PX(LEASE.as_millis() as i64);
                async move { client.set(key, "1", Some(lasting), Some(only), false).await }
            })
            .await?;
        Ok(set.is_some())
    }

    async fn enrol(&self, life: &str) -> Result<(), Unavailable> {
        let arguments = [life.into(), LEASE.as_millis().to_string().into()];
        let keys = [self.keys.register()];
        let _: u64 = self.commands.script(Repeat::Harmless, &ENROL, &keys, |_| arguments.to_vec()).await?;
        Ok(())
    }

    /// Those of the nodes that do not live. `own` is believed without a look: what this node notes is true, whatever
    /// became of its lease.
    pub(super) async fn dead<'a>(&self, nodes: &'a [String], own: &str) -> Result<Vec<&'a str>, Unavailable> {
        let now = Instant::now();
        let (mut dead, mut unknown) = (Vec::new(), Vec::new());
        {
            let seen = self.nodes.lock();
            for node in nodes.iter().filter(|node| node.as_str() != own) {
                match seen.alive(node, now) {
                    Some(true) => {}
                    Some(false) => dead.push(node.as_str()),
                    None => unknown.push(node.as_str()),
                }
            }
        }
        let keys = unknown.iter().map(|node| self.keys.lease(node)).collect::<Vec<_>>();
        let asked = keys.into_iter().map(|key| self.left(key));
        let mut leases = stream::iter(asked).buffered(IN_FLIGHT);
        for node in unknown {
            let Some(lease) = leases.try_next().await? else { break };
            self.nodes.lock().saw(node, lease, now);
            if lease.is_none() {
                dead.push(node);
            }
        }
        Ok(dead)
    }

    /// How long the lease under a key still lasts.
    async fn left(&self, key: String) -> Result<Option<Duration>, Unavailable> {
        let left: i64 = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.pttl(key).await }
            })
            .await?;
        Ok(u64::try_from(left).ok().map(Duration::from_millis))
    }

    /// Some nodes that are dead beyond doubt and still stand in the register.
    pub(super) async fn gone(&self, own: &str) -> Result<Vec<String>, Unavailable> {
        let keys = [self.keys.register()];
        let overdue: Vec<(String, String)> = self
            .commands
            .script(Repeat::Harmless, &OVERDUE, &keys, |_| vec![OVERDUE_AT_ONCE.to_string().into()])
            .await?;
        let nodes = overdue.iter().map(|(node, _)| node.clone()).collect::<Vec<_>>();
        let dead = self.dead(&nodes, own).await?;
        let farewell = |node: &str| overdue.iter().any(|(name, until)| name == node && until == "0");
        let gone = dead.iter().filter(|node| farewell(node) || self.is_gone(node));
        Ok(gone.map(|node| (*node).to_owned()).collect())
    }

    /// Whether a node is dead beyond doubt, as far as this node saw.
    pub(super) fn is_gone(&self, node: &str) -> bool {
        self.nodes.lock().is_gone(node, Instant::now())
    }

    /// Takes a node out of the register that left nothing behind.
    pub(super) async fn strike(&self, node: &str) -> Result<(), Unavailable> {
        let register = self.keys.register();
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (register, node) = (register.clone(), node.to_owned());
                async move { client.zrem::<(), _, _>(register, node).await }
            })
            .await
    }

    /// This node has trouble with Redis: what it sees of other nodes says nothing for a while.
    pub(super) fn distrust(&self) {
        self.nodes.lock().distrust(Instant::now());
    }
}

/// Which nodes live, as far as was seen lately.
#[derive(Default)]
struct Nodes {
    seen: HashMap<String, Sight>,
    /// Until when nobody is buried.
    truce: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Sight {
    alive: bool,
    until: Instant,
    /// Since when it was never seen alive.
    dead_since: Option<Instant>,
}

/// For this long a node is believed to be as it was last seen.
const BELIEF: Duration = Duration::from_millis(250);

/// A node that was seen dead for this long may be buried. Longer than a node needs to renew its lease once it reaches
/// Redis again.
const BURIAL: Duration = Duration::from_secs(2);

/// For this long after this node had trouble with Redis itself, the others are given the time to recover as well: leases
/// that ran out while Redis was away say nothing about nodes.
const TRUCE: Duration = Duration::from_secs(10);

/// Names come from Redis: forget old ones rather than keep any number.
const MANY: usize = 4096;

impl Nodes {
    /// Whether the node lives; `None` if that must be looked up.
    fn alive(&self, node: &str, now: Instant) -> Option<bool> {
        self.seen.get(node).filter(|sight| now < sight.until).map(|sight| sight.alive)
    }

    /// Notes what was looked up: how long the node's lease still lasts, if it has one.
    fn saw(&mut self, node: &str, lease: Option<Duration>, now: Instant) {
        if self.seen.len() >= MANY {
            self.seen.retain(|_, sight| now < sight.until + BURIAL);
        }
        let before = self.seen.get(node).and_then(|sight| sight.dead_since);
        let sight = match lease {
            Some(left) => Sight { alive: true, until: now + left.min(BELIEF), dead_since: None },
            None => Sight { alive: false, until: now + BELIEF, dead_since: Some(before.unwrap_or(now)) },
        };
        self.seen.insert(node.to_owned(), sight);
    }

    /// This node had trouble with Redis: what it saw says nothing.
    fn distrust(&mut self, now: Instant) {
        self.seen.clear();
        self.truce = Some(now + TRUCE);
    }

    /// Whether the node was dead for so long that it may be buried.
    fn is_gone(&self, node: &str, now: Instant) -> bool {
        if self.truce.is_some_and(|until| now < until) {
            return false;
        }
        let since = self.seen.get(node).and_then(|sight| sight.dead_since);
        since.is_some_and(|since| now.saturating_duration_since(since) >= BURIAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_believed_briefly_and_never_past_its_lease() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        assert_eq!(nodes.alive("a", start), None);
        nodes.saw("a", Some(Duration::from_secs(9)), start);
        nodes.saw("b", Some(Duration::from_millis(20)), start);
        let later = start + Duration::from_millis(30);
        assert_eq!((nodes.alive("a", later), nodes.alive("b", later)), (Some(true), None));
        assert_eq!(nodes.alive("a", start + BELIEF), None);
    }

    #[test]
    fn only_a_long_death_is_final() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        nodes.saw("a", None, start);
        nodes.saw("a", None, start + BURIAL / 2);
        assert!(!nodes.is_gone("a", start + BURIAL / 2));
        assert!(nodes.is_gone("a", start + BURIAL));
        nodes.saw("a", Some(Duration::from_secs(9)), start + BURIAL);
        assert!(!nodes.is_gone("a", start + BURIAL * 3));
    }

    #[test]
    fn after_trouble_of_its_own_a_node_buries_nobody_for_a_while() {
        let (mut nodes, start) = (Nodes::default(), Instant::now());
        nodes.saw("a", None, start);
        nodes.distrust(start + BURIAL);
        assert!(!nodes.is_gone("a", start + BURIAL));
        let back = start + BURIAL + TRUCE;
        nodes.saw("a", None, back);
        assert!(!nodes.is_gone("a", back));
        assert!(nodes.is_gone("a", back + BURIAL));
    }
}
