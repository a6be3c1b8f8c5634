//! The rooms of one session: those that it is in, and those that it need not ask for.

use broker::MembershipChange;
use proto::Room;

/// See the module's documentation. The lists are in order, since they may be long.
#[derive(Debug, Default)]
pub(super) struct Rooms {
    /// Those that it is in.
    joined: Vec<Room>,
    /// Those that its endpoint puts it into.
    assigned: Vec<Room>,
    /// Those that the backend put its user into.
    memberships: Vec<Room>,
    /// Those of the last two that its client has left.
    declined: Vec<Room>,
}

/// What has to change for a session to be where it belongs.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Moves {
    pub(super) join: Vec<Room>,
    pub(super) leave: Vec<Room>,
}

impl Rooms {
    /// Those of a session that is put into these by its endpoint, and not in them yet.
    pub(super) fn new(assigned: Vec<Room>) -> Self {
        Self { assigned: ordered(assigned), ..Self::default() }
    }

    pub(super) fn is_in(&self, room: &Room) -> bool {
        has(&self.joined, room)
    }

    /// Whether it need not ask for the room.
    pub(super) fn is_given(&self, room: &Room) -> bool {
        has(&self.assigned, room) || has(&self.memberships, room)
    }

    /// Those that its endpoint puts it into.
    pub(super) fn assigned(&self) -> &[Room] {
        &self.assigned
    }

    /// How many it is in because its client asked.
    pub(super) fn asked(&self) -> usize {
        self.joined.iter().filter(|room| !self.is_given(room)).count()
    }

    /// The session is in the room now.
    pub(super) fn enter(&mut self, room: Room) {
        self.declined.retain(|declined| *declined != room);
        insert(&mut self.joined, room);
    }

    /// Its client leaves the room. Answers whether it was in there.
    pub(super) fn leave(&mut self, room: &Room) -> bool {
        let was_in = remove(&mut self.joined, room);
        if was_in && self.is_given(room) {
            insert(&mut self.declined, room.clone());
        }
        was_in
    }

    /// Takes out the rooms that it is in without being given them, and that `keeps` does not hold for.
    pub(super) fn take_out(&mut self, keeps: impl Fn(&Room) -> bool) -> Vec<Room> {
        let (stay, out) =
            std::mem::take(&mut self.joined).into_iter().partition(|room| self.is_given(room) || keeps(room));
        self.joined = stay;
        out
    }

    /// Its endpoint puts it into other rooms from now on.
    pub(super) fn assign(&mut self, assigned: Vec<Room>) -> Moves {
        let before = std::mem::replace(&mut self.assigned, ordered(assigned));
        let mut moves = self.moves();
        moves.leave = before.into_iter().filter(|room| !self.is_given(room)).collect();
        self.without(moves)
    }

    /// All memberships of its user, as they are now.
    pub(super) fn set_memberships(&mut self, memberships: Vec<Room>) -> Moves {
        let before = std::mem::replace(&mut self.memberships, ordered(memberships));
        let mut moves = self.moves();
        moves.leave = before.into_iter().filter(|room| !self.is_given(room)).collect();
        self.without(moves)
    }

    /// The backend changed memberships of its user. What it takes the user out of is left, even if the client asked for it.
    pub(super) fn change_memberships(&mut self, change: MembershipChange) -> Moves {
        for room in &change.leave {
            remove(&mut self.memberships, room);
        }
        for room in &change.join {
            insert(&mut self.memberships, room.clone());
            remove(&mut self.declined, room);
        }
        let mut moves = self.moves();
        moves.leave = change.leave.into_iter().filter(|room| !self.is_given(room)).collect();
        self.without(moves)
    }

    /// The rooms to join: what it is given and is not in.
    fn moves(&self) -> Moves {
        let given = self.assigned.iter().chain(&self.memberships);
        let mut join: Vec<_> =
            given.filter(|room| !self.is_in(room) && !has(&self.declined, room)).cloned().collect();
        join.sort();
        join.dedup();
        Moves { join, leave: Vec::new() }
    }

    /// Takes the session out of the rooms that are to be left, and forgets those that it is not in.
    fn without(&mut self, mut moves: Moves) -> Moves {
        moves.leave.retain(|room| {
            remove(&mut self.declined, room);
            remove(&mut self.joined, room)
        });
        moves
    }
}

fn ordered(mut rooms: Vec<Room>) -> Vec<Room> {
    rooms.sort();
    rooms.dedup();
    rooms
}

fn has(rooms: &[Room], room: &Room) -> bool {
    rooms.binary_search(room).is_ok()
}

fn insert(rooms: &mut Vec<Room>, room: Room) {
    if let Err(at) = rooms.binary_search(&room) {
        if rooms.capacity() == 0 {
            // Most sessions are in one room.
            rooms.reserve_exact(1);
        }
        rooms.insert(at, room);
    }
}

fn remove(rooms: &mut Vec<Room>, room: &Room) -> bool {
    let found = rooms.binary_search(room);
    if let Ok(at) = found {
        rooms.remove(at);
    }
    found.is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rooms(names: &[&str]) -> Vec<Room> {
        names.iter().map(|name| Room::new(name).unwrap()).collect()
    }

    fn moves(join: &[&str], leave: &[&str]) -> Moves {
        Moves { join: rooms(join), leave: rooms(leave) }
    }

    fn enter(session: &mut Rooms, names: &[&str]) {
        rooms(names).into_iter().for_each(|room| session.enter(room));
    }

    fn change(session: &mut Rooms, join: &[&str], leave: &[&str]) -> Moves {
        session.change_memberships(MembershipChange::new(&rooms(join), &rooms(leave)))
    }

    #[test]
    fn a_session_is_moved_as_its_user_is() {
        let mut session = Rooms::new(rooms(&["org"]));
        assert_eq!(session.set_memberships(rooms(&["b", "a"])), moves(&["a", "b", "org"], &[]));
        enter(&mut session, &["a", "b", "org", "asked"]);
        assert_eq!(session.asked(), 1);
        assert_eq!(change(&mut session, &["c", "a"], &["b", "never"]), moves(&["c"], &["b"]));
        enter(&mut session, &["c"]);
        assert_eq!(session.set_memberships(rooms(&["d", "c"])), moves(&["d"], &["a"]));
        assert!(session.is_in(&rooms(&["org"])[0]) && session.is_in(&rooms(&["asked"])[0]));
    }

    #[test]
    fn the_backend_also_takes_a_session_out_of_a_room_that_its_client_asked_for() {
        let mut session = Rooms::default();
        enter(&mut session, &["lobby"]);
        assert_eq!(change(&mut session, &[], &["lobby"]), moves(&[], &["lobby"]));
        assert!(!session.is_in(&rooms(&["lobby"])[0]));
    }

    #[test]
    fn what_its_client_left_is_not_joined_again_until_it_is_given_anew() {
        let mut session = Rooms::default();
        assert_eq!(change(&mut session, &["a"], &[]), moves(&["a"], &[]));
        enter(&mut session, &["a"]);
        assert!(session.leave(&rooms(&["a"])[0]) && !session.leave(&rooms(&["a"])[0]));
        assert_eq!(session.set_memberships(rooms(&["a"])), Moves::default());
        assert_eq!(change(&mut session, &["a"], &[]), moves(&["a"], &[]));
    }

    #[test]
    fn an_assigned_room_stays_when_the_membership_ends_and_goes_with_the_token() {
        let mut session = Rooms::new(rooms(&["org"]));
        assert_eq!(session.set_memberships(rooms(&["org"])), moves(&["org"], &[]));
        enter(&mut session, &["org", "asked"]);
        assert_eq!(change(&mut session, &[], &["org"]), Moves::default());
        assert_eq!(session.assign(rooms(&["other"])), moves(&["other"], &["org"]));
        assert_eq!(session.take_out(|_| false), rooms(&["asked"]));
    }
}
