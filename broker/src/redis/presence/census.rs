//! Who is where, for those who want to see all of it: users page by page, rooms by how many are in them, sessions.
//!
//! How many users are in which room of a tenant stands in one sorted set, which follows the rooms: a node that changed who is
//! in a room writes the number within a second or so, once however often it changed. The two lie in different slots, so it
//! writes what it finds and looks again: of several at once the last to write sees the last state.

use std::collections::HashMap;
use std::sync::LazyLock;

use fred::interfaces::{HashesInterface, SortedSetsInterface};
use fred::types::scripts::Script;
use futures_util::{StreamExt, stream};
use proto::{Channel, Kind, PresenceEntry, Room, Tenant};

use super::{IN_FLIGHT, NOTES, Present, millis, read};
use crate::redis::keys::Keys;
use crate::redis::retry::Repeat;
use crate::{Busiest, Page, RoomCount, Unavailable};

static PAGE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("../scripts/page.lua")));
static ROOMS: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("../scripts/rooms.lua")));
static BUSIEST: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("../scripts/busiest.lua")));
static REPORT: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("../scripts/report.lua")));

/// How many rooms' numbers are written at a time. The others wait for the next second: numbers are for people.
const COUNTED_AT_ONCE: usize = 2000;

impl Present {
    pub(in crate::redis) async fn page(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<Page<PresenceEntry>, Unavailable> {
        let keys = [self.keys.users(channel), self.keys.nodes(channel)];
        let (next, nodes, listed): (String, Vec<String>, Vec<(String, String)>) =
            self.commands.script(Repeat::Harmless, &PAGE, &keys, |_| page(from, limit)).await?;
        let dead = self.leases.dead(&nodes, &self.life()).await?;
        let held_by_dead = self.held_by(channel, &dead, &listed).await?;
        let living = listed.iter().filter(|(user, noted)| {
            let by_dead = held_by_dead.get(user.as_str()).copied().unwrap_or(0);
            let by_all = noted.split_once(':').and_then(|(held, _)| held.parse().ok()).unwrap_or(0);
            by_all > by_dead
        });
        let items = living.filter_map(|(user, noted)| read(user, noted)).collect();
        Ok(Page { items, next: following(&next) })
    }

    /// How many of the dead nodes hold each of some users.
    async fn held_by<'a>(
        &self,
        channel: &Channel,
        dead: &[&str],
        listed: &'a [(String, String)],
    ) -> Result<HashMap<&'a str, u64>, Unavailable> {
        let mut held = HashMap::new();
        if listed.is_empty() {
            return Ok(held);
        }
        for node in dead {
            let notes = listed.iter().map(|(user, _)| Keys::note(node, user)).collect::<Vec<_>>();
            let key = self.keys.holds(channel);
            let noted: Vec<Option<String>> = self
                .commands
                .run(Repeat::Harmless, |client, _| {
                    let (key, notes) = (key.clone(), notes.clone());
                    async move { client.hmget(key, notes).await }
                })
                .await?;
            for ((user, _), _) in listed.iter().zip(noted).filter(|(_, noted)| noted.is_some()) {
                *held.entry(user.as_str()).or_default() += 1;
            }
        }
        Ok(held)
    }

    pub(in crate::redis) async fn rooms(
        &self,
        tenant: &Tenant,
        from: u64,
        limit: usize,
    ) -> Result<Page<RoomCount>, Unavailable> {
        let keys = [self.keys.rooms(&Channel::everyone(tenant))];
        let (next, listed): (String, Vec<(String, u64)>) =
            self.commands.script(Repeat::Harmless, &ROOMS, &keys, |_| page(from, limit)).await?;
        Ok(Page { items: counts(&listed), next: following(&next) })
    }

    pub(in crate::redis) async fn busiest(
        &self,
        tenant: &Tenant,
        limit: usize,
    ) -> Result<Busiest, Unavailable> {
        let keys = [self.keys.rooms(&Channel::everyone(tenant))];
        let (rooms, listed): (u64, Vec<(String, u64)>) = self
            .commands
            .script(Repeat::Harmless, &BUSIEST, &keys, |_| vec![limit.to_string().into()])
            .await?;
        Ok(Busiest { rooms, busiest: counts(&listed) })
    }

    pub(in crate::redis) async fn report(&self, tenant: &Tenant, sessions: u64) -> Result<(), Unavailable> {
        let keys = [self.keys.sessions(&Channel::everyone(tenant))];
        let arguments = [self.life().as_ref().into(), sessions.to_string().into(), millis(NOTES).into()];
        let _: u64 = self.commands.script(Repeat::Harmless, &REPORT, &keys, |_| arguments.to_vec()).await?;
        Ok(())
    }

    pub(in crate::redis) async fn sessions(&self, tenant: &Tenant) -> Result<u64, Unavailable> {
        let key = self.keys.sessions(&Channel::everyone(tenant));
        let reported: HashMap<String, u64> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.hgetall(key).await }
            })
            .await?;
        let nodes = reported.keys().cloned().collect::<Vec<_>>();
        let dead = self.leases.dead(&nodes, &self.life()).await?;
        let gone: Vec<_> =
            dead.iter().filter(|node| self.leases.is_gone(node)).map(|node| (*node).to_owned()).collect();
        if !gone.is_empty() {
            self.commands
                .run(Repeat::Harmless, |client, _| {
                    let (key, gone) = (key.clone(), gone.clone());
                    async move { client.hdel::<(), _, _>(key, gone).await }
                })
                .await?;
        }
        let living = reported.iter().filter(|(node, _)| !dead.contains(&node.as_str()));
        Ok(living.map(|(_, sessions)| sessions).sum())
    }

    /// Remembers that the number of users in a room is to be written.
    pub(super) fn recount(&self, channel: &Channel) {
        if channel.kind() == Kind::Room {
            self.changed.lock().insert(channel.clone());
        }
    }

    /// Writes how many users are in the rooms where that changed. To be called about once a second.
    pub(in crate::redis) async fn count_rooms(&self) -> Result<(), Unavailable> {
        let due = {
            let mut changed = self.changed.lock();
            let due = changed.iter().take(COUNTED_AT_ONCE).cloned().collect::<Vec<_>>();
            due.iter().for_each(|channel| _ = changed.remove(channel));
            if changed.is_empty() {
                // A storm must not leave its table behind.
                changed.shrink_to_fit();
            }
            due
        };
        let mut counting = stream::iter(due)
            .map(|channel| async move { (self.count_room(&channel).await, channel) })
            .buffer_unordered(IN_FLIGHT);
        let mut outcome = Ok(());
        while let Some((counted, channel)) = counting.next().await {
            if counted.is_err() {
                self.recount(&channel);
            }
            outcome = outcome.and(counted);
        }
        outcome
    }

    async fn count_room(&self, channel: &Channel) -> Result<(), Unavailable> {
        let Ok(tenant) = Tenant::new(channel.tenant()) else { return Ok(()) };
        let rooms = self.keys.rooms(&Channel::everyone(&tenant));
        let mut count = self.users_in(channel).await?;
        loop {
            self.commands
                .run(Repeat::Harmless, |client, _| {
                    let (rooms, room) = (rooms.clone(), channel.name().to_owned());
                    async move {
                        if count == 0 {
                            client.zrem::<(), _, _>(rooms, room).await
                        } else {
                            let entry = (count as f64, room);
                            client.zadd::<(), _, _>(rooms, None, None, false, false, entry).await
                        }
                    }
                })
                .await?;
            let now = self.users_in(channel).await?;
            if now == count {
                return Ok(());
            }
            count = now;
        }
    }

    async fn users_in(&self, channel: &Channel) -> Result<u64, Unavailable> {
        let key = self.keys.users(channel);
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.hlen(key).await }
            })
            .await
    }
}

fn page(from: u64, limit: usize) -> Vec<fred::types::Value> {
    vec![from.to_string().into(), limit.max(1).to_string().into()]
}

fn following(cursor: &str) -> Option<u64> {
    cursor.parse().ok().filter(|next| *next != 0)
}

fn counts(listed: &[(String, u64)]) -> Vec<RoomCount> {
    let count =
        |(room, users): &(String, u64)| Some(RoomCount { room: Room::new(room).ok()?, users: *users });
    listed.iter().filter_map(count).collect()
}
