//! Who is in a channel: notes of every node in hashes of the channel, valid while the node's lease lasts.
//!
//! A hold is one round trip whatever the size of the channel, since the notes are counted as they are written. Only
//! while notes of a dead node stand among them are all of them read, and never those of a crowd, where they count until
//! they are removed. The scripts that write notes tell the subscribers who came and who went, so that each change is told
//! once, by whoever made it.
//!
//! A node that has users in a channel puts the channel into its index first. When it dies, another node finds there where
//! it has to clear up ([`burial`]).

mod burial;
mod census;
mod renewal;

use std::collections::HashSet;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use fred::interfaces::{HashesInterface, SetsInterface};
use fred::types::scripts::Script;
use fred::types::{FromValue, Value};
use futures_util::{StreamExt, stream};
use parking_lot::Mutex;
use proto::{Channel, NodeId, PresenceEntry, UserId};

use super::argument::random;
use super::commands::Commands;
use super::keys::Keys;
use super::leases::Leases;
use super::note;
use super::outbox::{Outboxes, TICKETS, void};
use super::reply::Ticketed;
use super::retry::Repeat;
use super::roll::{Roll, Wish};
use crate::{Presence, Unavailable};

static HOLD: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(concat!(
        include_str!("scripts/enqueue.lua"),
        include_str!("scripts/news.lua"),
        include_str!("scripts/hold.lua")
    ))
});
static RELEASE: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(concat!(
        include_str!("scripts/enqueue.lua"),
        include_str!("scripts/news.lua"),
        include_str!("scripts/release.lua")
    ))
});
static PRESENT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/present.lua")));
static COUNT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/count.lua")));

/// How long a channel's notes stay when nobody renews them: then nobody is there.
const NOTES: Duration = Duration::from_secs(900);

/// How many channels' notes are written at a time.
const IN_FLIGHT: usize = 64;

/// How many notes one script writes or removes, so that it does not hold up others.
const NOTES_AT_ONCE: usize = 256;

/// How often the number of users of a crowded channel is told, at most.
const COUNT_TOLD: Duration = Duration::from_secs(1);

/// What this node is called in notes: its name and a random number, drawn anew whenever its lease was lost. Notes of an
/// earlier life, also of an earlier process of the same name, are those of a dead node.
type Life = Arc<str>;

/// Presence as this node sees and makes it.
#[derive(Clone)]
pub(super) struct Present {
    commands: Commands,
    keys: Keys,
    leases: Leases,
    outboxes: Outboxes,
    node: NodeId,
    news: News,
    life: Arc<Mutex<Life>>,
    roll: Arc<Mutex<Roll>>,
    /// Crowded channels whose number of users is to be told. Bounded by the channels that this node changes in a second.
    crowded: Arc<Mutex<HashSet<Channel>>>,
    /// Rooms whose number of users is to be written for all to see. Bounded by the rooms that this node changes.
    changed: Arc<Mutex<HashSet<Channel>>>,
}

/// How news are told.
#[derive(Debug, Clone, Copy)]
pub(super) struct News {
    /// `PUBLISH` or `SPUBLISH`.
    pub(super) verb: &'static str,
    /// How many users a channel may have for each to be told by name.
    pub(super) limit: u64,
}

impl Present {
    pub(super) fn new(commands: Commands, keys: Keys, node: NodeId, news: News) -> Self {
        let life = Arc::new(Mutex::new(new_life(&node)));
        let leases = Leases::new(commands.clone(), keys.clone());
        let outboxes = Outboxes::new(commands.clone(), keys.clone());
        Self {
            commands,
            keys,
            leases,
            outboxes,
            node,
            news,
            life,
            roll: Arc::default(),
            crowded: Arc::default(),
            changed: Arc::default(),
        }
    }

    fn life(&self) -> Life {
        self.life.lock().clone()
    }

    pub(super) async fn hold(
        &self,
        channel: &Channel,
        user: &PresenceEntry,
        outbox: Option<u32>,
    ) -> Result<u64, Unavailable> {
        let entry = note::write(user).map_err(|error| Unavailable(error.to_string()))?;
        let indexed = {
            let mut roll = self.roll.lock();
            roll.wish(channel, &user.user, Wish::Present(entry.clone()));
            roll.report(channel, outbox);
            roll.is_indexed(channel)
        };
        if !indexed {
            self.index(channel).await?;
        }
        let (count, nodes) = self.note(channel, &[(user.user.clone(), entry)]).await?;
        match self.dead(count, &nodes).await?.as_slice() {
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
        let dead = self.dead(count, &nodes).await?;
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

    /// Those of the nodes that do not live; none of a crowd, which would be read whole for each who comes.
    async fn dead<'a>(&self, count: u64, nodes: &'a [String]) -> Result<Vec<&'a str>, Unavailable> {
        if count > self.news.limit { Ok(Vec::new()) } else { self.leases.dead(nodes, &self.life()).await }
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
        let (mut living, mut buried) = (HashSet::new(), Vec::new());
        for note in &notes {
            let Some((node, user)) = note.split_once('/') else { continue };
            if !dead.contains(&node) {
                living.insert(user.to_owned());
            } else if buried.len() < NOTES_AT_ONCE && self.leases.is_gone(node) {
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

    /// Notes that this node holds users; gives how many users are noted, and on which nodes.
    async fn note(
        &self,
        channel: &Channel,
        users: &[(UserId, String)],
    ) -> Result<(u64, Vec<String>), Unavailable> {
        let life = self.life();
        let outbox = self.roll.lock().reported(channel).map_or_else(String::new, |most| most.to_string());
        let mut arguments: Vec<Value> = vec![life.as_ref().into(), millis(NOTES).into(), outbox.into()];
        for (user, entry) in users {
            arguments.extend([user.as_str().into(), entry.as_str().into()]);
        }
        let (count, nodes, crowded): (u64, Vec<String>, u64) =
            self.change(channel, &HOLD, &arguments).await?;
        self.heed(channel, crowded);
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
        Ok((count, nodes))
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
            let notes = notes.iter().map(|note| Value::from(note.as_str())).collect::<Vec<_>>();
            let crowded: u64 = self.change(channel, &RELEASE, &notes).await?;
            self.heed(channel, crowded);
        }
        Ok(())
    }

    /// Runs a script that writes notes. Where that fills the channel's outbox, the channel is in the index before.
    async fn change<R: FromValue + Send>(
        &self,
        channel: &Channel,
        script: &Script,
        own: &[Value],
    ) -> Result<R, Unavailable> {
        let keys = [
            self.keys.holds(channel),
            self.keys.users(channel),
            self.keys.nodes(channel),
            self.keys.reported(channel),
            self.keys.outbox(channel),
            self.keys.mark(channel),
        ];
        let fresh = random().to_string();
        let mut ticket = String::new();
        for _ in 0..TICKETS {
            let mut arguments: Vec<Value> = vec![
                self.keys.channel(channel).into(),
                self.news.verb.into(),
                self.news.limit.to_string().into(),
                ticket.as_str().into(),
                fresh.as_str().into(),
            ];
            arguments.extend_from_slice(own);
            match self.commands.script(Repeat::Harmless, script, &keys, |_| arguments.clone()).await? {
                Ticketed::Done(answer) => return Ok(answer),
                Ticketed::Unmarked(drawn) => ticket = drawn,
            }
            self.outboxes.mark(channel).await?;
        }
        Err(void())
    }

    /// Remembers what is to be told of a change that may have been made, and that it was not told in a crowded channel.
    fn heed(&self, channel: &Channel, crowded: u64) {
        self.recount(channel);
        if crowded != 0 {
            self.crowded.lock().insert(channel.clone());
        }
    }

    /// Tells how many users are in crowded channels. To be called about once in [`COUNT_TOLD`].
    pub(super) async fn tell_counts(&self) -> Result<(), Unavailable> {
        let channels = std::mem::take(&mut *self.crowded.lock());
        let mut telling = stream::iter(channels)
            .map(|channel| async move { (self.tell_count(&channel).await, channel) })
            .buffer_unordered(IN_FLIGHT);
        let mut outcome = Ok(());
        while let Some((told, channel)) = telling.next().await {
            // What has to wait is told the next time.
            if !matches!(told, Ok(true)) {
                self.crowded.lock().insert(channel);
            }
            outcome = outcome.and(told.map(drop));
        }
        outcome
    }

    async fn tell_count(&self, channel: &Channel) -> Result<bool, Unavailable> {
        let keys = [self.keys.users(channel), self.keys.told(channel)];
        let arguments: [Value; 3] =
            [self.keys.channel(channel).into(), self.news.verb.into(), millis(COUNT_TOLD).into()];
        let told: u64 = self.commands.script(Repeat::Harmless, &COUNT, &keys, |_| arguments.to_vec()).await?;
        Ok(told != 0)
    }

    /// Puts the channel into the index of this life.
    async fn index(&self, channel: &Channel) -> Result<(), Unavailable> {
        let life = self.life();
        let key = self.keys.index(&life);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, channel) = (key.clone(), channel.as_str().to_owned());
                async move { client.sadd::<(), _, _>(key, channel).await }
            })
            .await?;
        if *self.life.lock() == life {
            self.roll.lock().indexed(channel);
        }
        Ok(())
    }

    /// Ends the lease: what this node noted is void at once.
    pub(super) async fn end(&self) -> Result<(), Unavailable> {
        self.leases.end(&self.life()).await
    }
}

/// Holds no `/`, as no name does: in a note, that ends the life.
fn new_life(node: &NodeId) -> Life {
    format!("{node}~{:016x}", rand::random::<u64>()).into()
}

/// Reads `<number of nodes>:<note>`. What another version wrote is passed over.
fn read(user: &str, noted: &str) -> Option<PresenceEntry> {
    let (_, entry) = noted.split_once(':')?;
    note::read(user, entry)
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
