//! Lists and sums over all channels. They walk through everything: a store in memory is small.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};

use async_trait::async_trait;
use parking_lot::Mutex;
use proto::{Channel, Kind, Position, PresenceEntry, Room, Tenant, Timestamp};

use super::MemoryBroker;
use super::mailbox::NodeKey;
use crate::clock::now;
use crate::{Busiest, Directory, Earlier, Page, REVOKED_MAX, Revocation, RoomCount, Unavailable};

/// How many sessions which node has in which tenant, and the order in which lists are given.
#[derive(Default)]
pub(super) struct Census {
    sessions: Mutex<HashMap<(Tenant, NodeKey), u64>>,
    order: RandomState,
    revoked: Mutex<Revoked>,
}

/// What is revoked: its place in the order, and its end.
#[derive(Default)]
struct Revoked {
    all: HashMap<String, (u64, Timestamp)>,
    newest: u64,
}

impl Census {
    /// Forgets a node.
    pub(super) fn leave(&self, node: NodeKey) {
        self.sessions.lock().retain(|(_, of), _| *of != node);
    }

    /// A page of a list, in an order that stays the same whatever comes and goes.
    fn page<T>(&self, all: Vec<T>, name: impl Fn(&T) -> &str, from: u64, limit: usize) -> Page<T> {
        // Never 0, which stands for the beginning.
        let place = |item: &T| self.order.hash_one(name(item)).max(1);
        let mut rest: Vec<_> = all.into_iter().map(|item| (place(&item), item)).collect();
        rest.retain(|(place, _)| *place > from);
        rest.sort_by_key(|(place, _)| *place);
        let next = rest.get(limit.max(1)).and_then(|_| rest.get(limit.max(1) - 1)).map(|(place, _)| *place);
        let upto = next.unwrap_or(u64::MAX);
        let items = rest.into_iter().take_while(|(place, _)| *place <= upto).map(|(_, item)| item);
        Page { items: items.collect(), next }
    }
}

impl MemoryBroker {
    fn occupied(&self, tenant: &Tenant) -> Vec<RoomCount> {
        let mut rooms = Vec::new();
        self.store.each(|channel, topic| {
            let is_room = channel.kind() == Kind::Room && channel.tenant() == tenant.as_str();
            if is_room
                && topic.count() > 0
                && let Ok(room) = Room::new(channel.name())
            {
                rooms.push(RoomCount { room, users: topic.count() });
            }
        });
        rooms
    }
}

#[async_trait]
impl Directory for MemoryBroker {
    async fn present_page(
        &self,
        channel: &Channel,
        from: u64,
        limit: usize,
    ) -> Result<Page<PresenceEntry>, Unavailable> {
        let users = self.store.with(channel, |topic, _| {
            self.check()?;
            Ok(topic.present(usize::MAX).users)
        })?;
        Ok(self.store.census().page(users, |entry| entry.user.as_str(), from, limit))
    }

    async fn rooms(&self, tenant: &Tenant, from: u64, limit: usize) -> Result<Page<RoomCount>, Unavailable> {
        self.check()?;
        let rooms = self.occupied(tenant);
        Ok(self.store.census().page(rooms, |count| count.room.as_str(), from, limit))
    }

    async fn busiest(&self, tenant: &Tenant, limit: usize) -> Result<Busiest, Unavailable> {
        self.check()?;
        let mut busiest = self.occupied(tenant);
        let rooms = busiest.len() as u64;
        busiest.sort_by(|a, b| (b.users, &b.room).cmp(&(a.users, &a.room)));
        busiest.truncate(limit);
        Ok(Busiest { rooms, busiest })
    }

    async fn report_sessions(&self, tenant: &Tenant, sessions: u64) -> Result<(), Unavailable> {
        self.check()?;
        let mut reported = self.store.census().sessions.lock();
        let key = (tenant.clone(), self.mailbox.node());
        if sessions == 0 {
            reported.remove(&key);
        } else {
            reported.insert(key, sessions);
        }
        Ok(())
    }

    async fn sessions(&self, tenant: &Tenant) -> Result<u64, Unavailable> {
        self.check()?;
        let reported = self.store.census().sessions.lock();
        Ok(reported.iter().filter(|((of, _), _)| of == tenant).map(|(_, sessions)| sessions).sum())
    }

    async fn revoke(&self, text: &str, until: Timestamp) -> Result<bool, Unavailable> {
        self.check()?;
        let mut revoked = self.store.census().revoked.lock();
        let Revoked { all, newest } = &mut *revoked;
        if all.len() >= REVOKED_MAX {
            let now = now();
            all.retain(|_, (_, until)| *until > now);
        }
        if all.len() >= REVOKED_MAX && !all.contains_key(text) {
            return Ok(false);
        }
        *newest = (*newest + 1).max(now().0.saturating_mul(1000));
        let before = all.get(text).map_or(until, |(_, before)| *before);
        all.insert(text.to_owned(), (*newest, until.max(before)));
        Ok(true)
    }

    async fn revoked(&self, after: u64, limit: usize) -> Result<Vec<Revocation>, Unavailable> {
        self.check()?;
        let now = now();
        let revoked = self.store.census().revoked.lock();
        let news = revoked.all.iter().filter(|(_, (order, until))| *order > after && *until > now);
        let read = |(text, (order, until)): (&String, &(u64, Timestamp))| Revocation {
            text: text.clone(),
            until: *until,
            order: *order,
        };
        let mut news: Vec<_> = news.map(read).collect();
        news.sort_unstable_by_key(|revocation| revocation.order);
        news.truncate(limit);
        Ok(news)
    }

    async fn earlier(
        &self,
        channel: &Channel,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Earlier, Unavailable> {
        self.store.with(channel, |topic, now| {
            self.check()?;
            Ok(topic.earlier(before, limit, now))
        })
    }
}
