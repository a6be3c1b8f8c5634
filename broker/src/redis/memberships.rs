//! Memberships: a set of rooms for each user, which is the truth, and a sorted set of users for each room, which follows.
//!
//! The two lie in different slots of a cluster, so no script sees both. Whoever changed a user writes what it finds in the
//! user's set into the rooms, and looks again: of several at once the last to write sees the last state.

use std::sync::LazyLock;

use fred::interfaces::{SetsInterface, SortedSetsInterface};
use fred::types::Value;
use fred::types::scripts::Script;
use futures_util::{TryStreamExt, stream};
use proto::{Channel, Room, Tenant, UserId};

use super::commands::Commands;
use super::keys::Keys;
use super::retry::Repeat;
use crate::{MEMBERSHIPS_MAX, Members, MembershipChange, MembershipError, Unavailable};

static ENLIST: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/enlist.lua")));

/// How many rooms are written at a time.
const IN_FLIGHT: usize = 64;

/// The memberships of all users.
#[derive(Clone)]
pub(super) struct Memberships {
    commands: Commands,
    keys: Keys,
}

impl Memberships {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    /// Makes a change true.
    pub(super) async fn set(
        &self,
        tenant: &Tenant,
        user: &UserId,
        change: &MembershipChange,
    ) -> Result<(), MembershipError> {
        change.check()?;
        let keys = [self.keys.memberships(&Channel::user(tenant, user))];
        let mut arguments: Vec<Value> =
            vec![MEMBERSHIPS_MAX.to_string().into(), change.leave.len().to_string().into()];
        arguments.extend(change.leave.iter().chain(&change.join).map(|room| Value::from(room.as_str())));
        let done: u64 = self.commands.script(Repeat::Harmless, &ENLIST, &keys, |_| arguments.clone()).await?;
        if done == 0 {
            return Err(MembershipError::TooMany);
        }
        Ok(self.follow(tenant, user, change).await?)
    }

    /// Writes into the rooms of a change what the user's set says, until it says the same afterwards.
    async fn follow(
        &self,
        tenant: &Tenant,
        user: &UserId,
        change: &MembershipChange,
    ) -> Result<(), Unavailable> {
        let joined = change.join.iter().map(|room| (room, true));
        let mut writes = joined.chain(change.leave.iter().map(|room| (room, false))).collect::<Vec<_>>();
        while !writes.is_empty() {
            stream::iter(writes.iter().map(Ok))
                .try_for_each_concurrent(IN_FLIGHT, |(room, is)| self.write(tenant, user, room, *is))
                .await?;
            let now = self.is_in(tenant, user, writes.iter().map(|(room, _)| *room)).await?;
            let mut now = now.into_iter();
            writes.retain_mut(|(_, written)| {
                let is = now.next().unwrap_or(*written);
                std::mem::replace(written, is) != is
            });
        }
        Ok(())
    }

    /// Which of some rooms the user is a member of, in their order.
    async fn is_in(
        &self,
        tenant: &Tenant,
        user: &UserId,
        rooms: impl Iterator<Item = &Room>,
    ) -> Result<Vec<bool>, Unavailable> {
        let key = self.keys.memberships(&Channel::user(tenant, user));
        let rooms = rooms.map(|room| room.as_str().to_owned()).collect::<Vec<_>>();
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, rooms) = (key.clone(), rooms.clone());
                async move { client.smismember(key, rooms).await }
            })
            .await
    }

    async fn write(
        &self,
        tenant: &Tenant,
        user: &UserId,
        room: &Room,
        is_member: bool,
    ) -> Result<(), Unavailable> {
        let key = self.keys.members(&Channel::room(tenant, room));
        self.commands
            .run(Repeat::Harmless, |client, _| {
                let (key, user) = (key.clone(), user.as_str().to_owned());
                async move {
                    if is_member {
                        client.zadd::<(), _, _>(key, None, None, false, false, (0.0, user)).await
                    } else {
                        client.zrem::<(), _, _>(key, user).await
                    }
                }
            })
            .await
    }

    /// The rooms of a user, in no order.
    pub(super) async fn of(&self, tenant: &Tenant, user: &UserId) -> Result<Vec<Room>, Unavailable> {
        let key = self.keys.memberships(&Channel::user(tenant, user));
        let rooms: Vec<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let key = key.clone();
                async move { client.smembers(key).await }
            })
            .await?;
        Ok(rooms.iter().filter_map(|room| Room::new(room).ok()).collect())
    }

    /// A part of a room's members.
    pub(super) async fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Members, Unavailable> {
        let key = self.keys.members(&Channel::room(tenant, room));
        let from = after.map_or_else(|| "-".to_owned(), |after| format!("({after}"));
        let count = i64::try_from(limit.max(1).saturating_add(1)).unwrap_or(i64::MAX);
        let users: Vec<String> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let (key, from) = (key.clone(), from.clone());
                async move { client.zrangebylex(key, from, "+", Some((0, count))).await }
            })
            .await?;
        Ok(Members::page(users.iter().filter_map(|user| UserId::new(user).ok()), limit))
    }
}
