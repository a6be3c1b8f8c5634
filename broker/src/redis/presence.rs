//! Who is in a channel: notes of every node in hashes of the channel, valid while the node's lease lasts.
//!
//! A hold is one round trip whatever the size of the channel, since the notes are counted as they are written. Only
//! while notes of a dead node stand among them are all of them read.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use fred::interfaces::{HashesInterface, KeysInterface};
use fred::types::scripts::Script;
use fred::types::{Expiration, SetOptions, Value};
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use proto::{Channel, NodeId, PresenceEntry, Profile, UserId};
use serde::{Deserialize, Serialize};

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use super::roll::{Nodes, Roll, Wish};
use crate::{Presence, Unavailable};

static HOLD: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/hold.lua")));
static RELEASE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/release.lua")));
static PRESENT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/present.lua")));

/// How long a node counts as alive after its last sign of life.
const LEASE: Duration = Duration::from_secs(15);

/// How often it gives one. Two may be lost.
pub(super) const RENEWAL: Duration = Duration::from_secs(5);

/// How long a channel's notes stay when nobody renews them: then nobody is there.
const NOTES: Duration = Duration::from_secs(900);

/// Each note is renewed once in this many renewals of the lease, so well within [`NOTES`].
const ROUNDS: usize = 60;

/// How many channels' notes are written, or leases looked up, at a time.
const IN_FLIGHT: usize = 64;

/// How many notes one script writes or removes, so that it does not hold up others.
const NOTES_AT_ONCE: usize = 256;

/// What is noted about a user, besides who it is.
#[derive(Serialize, Deserialize)]
struct Note {
    #[serde(rename = "n", default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    profile: Option<Profile>,
}

/// What this node is called in notes: its name and a random number, drawn anew whenever its lease was lost. Notes of an
/// earlier life, also of an earlier process of the same name, are those of a dead node.
type Life = Arc<str>;

/// Presence as this node sees and makes it.
#[derive(Clone)]
pub(super) struct Present {
    commands: Commands,
    keys: Keys,
    node: NodeId,
    life: Arc<Mutex<Life>>,
    roll: Arc<Mutex<Roll>>,
    nodes: Arc<Mutex<Nodes>>,
}

impl Present {
    pub(super) fn new(commands: Commands, keys: Keys, node: NodeId) -> Self {
        let life = Arc::new(Mutex::new(new_life(&node)));
        Self { commands, keys, node, life, roll: Arc::default(), nodes: Arc::default() }
    }

    fn life(&self) -> Life {
        self.life.lock().clone()
    }

    pub(super) async fn hold(&self, channel: &Channel, user: &PresenceEntry) -> Result<u64, Unavailable> {
        let note = Note { name: user.name.clone(), profile: user.profile.clone() };
        let entry = serde_json::to_string(&note).map_err(|error| Unavailable(error.to_string()))?;
        self.roll.lock().wish(channel, &user.user, Wish::Present(entry.clone()));
        let (count, nodes) = self.note(channel, &[(user.user.clone(), entry)]).await?;
        match self.dead(&nodes).await?.as_slice() {
            [] => Ok(count),
            dead => Ok(self.living(channel, dead).await?.len() as u64),
        }
    }

    pub(super) async fn release(&self, channel: &Channel, user: &UserId) -> Result<(), Unavailable> {
        // Where this fails the wish stands, and the next renewals go on trying.
        self.roll.lock().wish(channel, user, Wish::Absent);
        self.remove_all(channel, &self.life(), vec![user]).await?;
        // Who came back meanwhile may have been noted before being removed.
        let back = self.roll.lock().entry(channel, user);
        if let Some(entry) = back {
            self.note(channel, &[(user.clone(), entry)]).await?;
        }
        Ok(())
    }

    pub(super) async fn present(&self, channel: &Channel, limit: usize) -> Result<Presence, Unavailable> {
        let keys = [self.keys.users(channel), self.keys.nodes(channel)];
        let (count, nodes, listed): (u64, Vec<String>, Vec<(String, String)>) = self
            .commands
            .script(Repeat::Harmless, &PRESENT, &keys, |_| vec![limit.to_string().into()])
            .await?;
        let dead = self.dead(&nodes).await?;
        if dead.is_empty() {
            let users = listed.iter().filter_map(|(user, noted)| read(user, noted));
            return Ok(Presence { users: users.collect(), count });
        }
        let living = self.living(channel, &dead).await?;
        let count = living.len() as u64;
        let users = living.into_iter().take(limit).collect::<Vec<_>>();
        let noted = self.noted(channel, &users).await?;
        let pairs = users.iter().zip(&noted);
        let users = pairs.filter_map(|(user, noted)| read(user, noted.as_ref()?)).collect();
        Ok(Presence { users, count })
    }

    /// The users that nodes hold which are not dead. What was noted by nodes dead for long is removed on the way.
    async fn living(&self, channel: &Channel, dead: &[&str]) -> Result<HashSet<String>, Unavailable> {
        let key = self.keys.holds(channel);
        let notes: Vec<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.hkeys(key).await }
            })
            .await?;
        let now = Instant::now();
        let (mut living, mut buried) = (HashSet::new(), Vec::new());
        for note in &notes {
            let Some((node, user)) = note.split_once('/') else { continue };
            if !dead.contains(&node) {
                living.insert(user.to_owned());
            } else if buried.len() < NOTES_AT_ONCE && self.nodes.lock().buried(node, now) {
                buried.push(note.clone());
            }
        }
        self.remove(channel, &buried).await?;
        Ok(living)
    }

    /// What is noted about users, in their order.
    async fn noted(&self, channel: &Channel, users: &[String]) -> Result<Vec<Option<String>>, Unavailable> {
        if users.is_empty() {
            return Ok(Vec::new());
        }
        let key = self.keys.users(channel);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, users) = (key.clone(), users.to_vec());
                async move { client.hmget(key, users).await }
            })
            .await
    }

    /// Those of the nodes that do not live.
    async fn dead<'a>(&self, nodes: &'a [String]) -> Result<Vec<&'a str>, Unavailable> {
        let now = Instant::now();
        let (mut dead, mut unknown) = (Vec::new(), Vec::new());
        {
            let seen = self.nodes.lock();
            // What this node notes is true, whatever became of its lease.
            let own = self.life();
            for node in nodes.iter().filter(|node| node.as_str() != &*own) {
                match seen.alive(node, now) {
                    Some(true) => {}
                    Some(false) => dead.push(node.as_str()),
                    None => unknown.push(node.as_str()),
                }
            }
        }
        let keys = unknown.iter().map(|node| self.keys.lease(node)).collect::<Vec<_>>();
        let asked = keys.into_iter().map(|key| self.lease(key));
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
    async fn lease(&self, key: String) -> Result<Option<Duration>, Unavailable> {
        let left: i64 = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.pttl(key).await }
            })
            .await?;
        Ok(u64::try_from(left).ok().map(Duration::from_millis))
    }

    /// Notes that this node holds users; gives how many users are noted, and on which nodes.
    async fn note(
        &self,
        channel: &Channel,
        users: &[(UserId, String)],
    ) -> Result<(u64, Vec<String>), Unavailable> {
        let life = self.life();
        let mut arguments: Vec<Value> = vec![life.as_ref().into(), millis(NOTES).into()];
        for (user, entry) in users {
            arguments.extend([user.as_str().into(), entry.as_str().into()]);
        }
        let keys = self.notes(channel);
        let noted = self.commands.script(Repeat::Harmless, &HOLD, &keys, |_| arguments.clone()).await?;
        // Whoever left meanwhile may have been removed before being noted.
        let left = {
            let roll = self.roll.lock();
            users
                .iter()
                .map(|(user, _)| user)
                .filter(|user| roll.entry(channel, user).is_none())
                .collect::<Vec<_>>()
        };
        if !left.is_empty() {
            self.remove_all(channel, &life, left).await?;
        }
        Ok(noted)
    }

    /// Removes what this node noted about users.
    async fn remove_all(
        &self,
        channel: &Channel,
        life: &str,
        users: Vec<&UserId>,
    ) -> Result<(), Unavailable> {
        let notes = users.iter().map(|user| Keys::note(life, user.as_str())).collect::<Vec<_>>();
        self.remove(channel, &notes).await?;
        let mut roll = self.roll.lock();
        users.into_iter().for_each(|user| roll.removed(channel, user));
        Ok(())
    }

    async fn remove(&self, channel: &Channel, notes: &[String]) -> Result<(), Unavailable> {
        for notes in notes.chunks(NOTES_AT_ONCE) {
            let arguments = notes.iter().map(|note| note.as_str().into()).collect::<Vec<Value>>();
            let keys = self.notes(channel);
            let _: u64 =
                self.commands.script(Repeat::Harmless, &RELEASE, &keys, |_| arguments.clone()).await?;
        }
        Ok(())
    }

    /// The keys of the scripts that write notes.
    fn notes(&self, channel: &Channel) -> [String; 3] {
        [self.keys.holds(channel), self.keys.users(channel), self.keys.nodes(channel)]
    }

    /// Renews the lease and a part of the notes. With the lease the notes are lost, and a new life notes all of them.
    pub(super) async fn renew(&self) -> Result<(), Unavailable> {
        let lived = self.live(&self.life(), SetOptions::XX).await?;
        if !lived {
            let life = new_life(&self.node);
            self.live(&life, SetOptions::NX).await?;
            *self.life.lock() = life;
        }
        let due = {
            let mut roll = self.roll.lock();
            if lived {
                roll.take_due(ROUNDS)
            } else {
                roll.begin_anew();
                roll.take_due(1)
            }
        };
        let mut noted = stream::iter(due)
            .map(|(channel, wishes)| async move { self.settle(&channel, wishes).await })
            .buffer_unordered(IN_FLIGHT);
        let mut outcome = Ok(());
        while let Some(one) = noted.next().await {
            outcome = outcome.and(one);
        }
        if outcome.is_err() {
            self.roll.lock().all_due();
        }
        outcome
    }

    /// Sets the lease of a life, if it exists or if it does not. Says whether it was set.
    async fn live(&self, life: &str, only: SetOptions) -> Result<bool, Unavailable> {
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

    /// Makes true what is wished about a channel.
    async fn settle(&self, channel: &Channel, wishes: Vec<(UserId, Wish)>) -> Result<(), Unavailable> {
        let (mut present, mut absent) = (Vec::new(), Vec::new());
        for (user, wish) in wishes {
            match wish {
                Wish::Present(entry) => present.push((user, entry)),
                Wish::Absent => absent.push(user),
            }
        }
        if !absent.is_empty() {
            self.remove_all(channel, &self.life(), absent.iter().collect()).await?;
        }
        for present in present.chunks(NOTES_AT_ONCE) {
            self.note(channel, present).await?;
        }
        Ok(())
    }

    /// Ends the lease: what this node noted is void at once.
    pub(super) async fn end(&self) -> Result<(), Unavailable> {
        let key = self.keys.lease(&self.life());
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.del::<(), _>(key).await }
            })
            .await
    }
}

/// Holds no `/`, as no name does: in a note, that ends the life.
fn new_life(node: &NodeId) -> Life {
    format!("{node}~{:016x}", rand::random::<u64>()).into()
}

/// Reads `<number of nodes>:<entry>`. What another version wrote is passed over.
fn read(user: &str, noted: &str) -> Option<PresenceEntry> {
    let (_, entry) = noted.split_once(':')?;
    let Note { name, profile } = serde_json::from_str(entry).ok()?;
    Some(PresenceEntry { user: UserId::new(user).ok()?, name, profile })
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
