//! Who is a member of which room.

use std::collections::{BTreeSet, HashMap};
use std::ops::Bound;

use parking_lot::Mutex;
use proto::{Room, Tenant, UserId};

use crate::{MEMBERSHIPS_MAX, Members, MembershipChange, MembershipError};

/// The memberships of all users. Its memory is what the backend asked for.
#[derive(Default)]
pub(super) struct Memberships(Mutex<Books>);

/// Two views of the same pairs.
#[derive(Default)]
struct Books {
    rooms: HashMap<(Tenant, UserId), BTreeSet<Room>>,
    members: HashMap<(Tenant, Room), BTreeSet<UserId>>,
}

impl Memberships {
    /// Makes a change true.
    pub(super) fn set(
        &self,
        tenant: &Tenant,
        user: &UserId,
        change: &MembershipChange,
    ) -> Result<(), MembershipError> {
        change.check()?;
        let mut books = self.0.lock();
        let Books { rooms, members } = &mut *books;
        let of_user = (tenant.clone(), user.clone());
        let mut mine = rooms.get(&of_user).cloned().unwrap_or_default();
        for room in &change.leave {
            mine.remove(room);
        }
        mine.extend(change.join.iter().cloned());
        if mine.len() > MEMBERSHIPS_MAX && !change.join.is_empty() {
            return Err(MembershipError::TooMany);
        }
        for room in &change.join {
            members.entry((tenant.clone(), room.clone())).or_default().insert(user.clone());
        }
        for room in &change.leave {
            let of_room = (tenant.clone(), room.clone());
            if let Some(users) = members.get_mut(&of_room) {
                users.remove(user);
                if users.is_empty() {
                    members.remove(&of_room);
                }
            }
        }
        if mine.is_empty() {
            rooms.remove(&of_user);
        } else {
            rooms.insert(of_user, mine);
        }
        Ok(())
    }

    /// The rooms of a user.
    pub(super) fn of(&self, tenant: &Tenant, user: &UserId) -> Vec<Room> {
        let books = self.0.lock();
        let rooms = books.rooms.get(&(tenant.clone(), user.clone()));
        rooms.map(|rooms| rooms.iter().cloned().collect()).unwrap_or_default()
    }

    /// A part of a room's members.
    pub(super) fn members(
        &self,
        tenant: &Tenant,
        room: &Room,
        after: Option<&UserId>,
        limit: usize,
    ) -> Members {
        let books = self.0.lock();
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let users = books.members.get(&(tenant.clone(), room.clone()));
        let users = users.into_iter().flat_map(|users| users.range::<UserId, _>((from, Bound::Unbounded)));
        Members::page(users.cloned(), limit)
    }
}
