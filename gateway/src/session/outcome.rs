//! What follows from how an operation ended: what the client is told, and what the session goes on with.

use std::time::Duration;

use chassis::auth::TokenError;
use proto::{Channel, ChannelOptions, Close, ErrorCode, Outgoing, Timestamp};

use super::operation::{Arrived, Failure, Operation, Outcome, Purpose};
use super::rooms::Moves;
use super::{Effect, Session, State, Timer};

/// After how long rooms are tried again that could not be had.
const SOON: Duration = Duration::from_secs(5);

const AWAY: &str = "cannot be done right now; try again";
const UNCONFIRMED: &str = "stored, but not confirmed in time; repeat it with the same id";

impl Session {
    /// An operation ended.
    pub(crate) fn finished(&mut self, outcome: Outcome, now: Timestamp) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match outcome {
            Outcome::Verified(purpose, Ok(identity)) => {
                match (self.terms.endpoint.admission.admit(&identity), purpose) {
                    (Ok(rooms), Purpose::Authenticate) => self.admit(*identity, rooms, now),
                    (Ok(rooms), Purpose::Refresh) => self.refresh(*identity, rooms, now),
                    (Err(error), purpose) => self.refuse(purpose, &TokenError::Claims(error)),
                }
            }
            Outcome::Verified(purpose, Err(error)) => self.refuse(purpose, &error),
            Outcome::Recalled(record) => self.recalled(record),
            Outcome::Admitted { places: positions, rooms, memberships, resumed } => {
                if let Some(session) = resumed {
                    self.id = session;
                }
                if !self.is_accepted {
                    self.accept(true, now);
                }
                let State::Admitted(member) = &mut self.state else { return };
                rooms.into_iter().for_each(|room| member.rooms.enter(room));
                // It is in them already.
                member.rooms.set_memberships(memberships);
                let session = member.info(&self.id);
                let positions: Vec<_> =
                    positions.iter().map(|(channel, at)| (channel.public_name(), *at)).collect();
                self.reply(&Outgoing::AuthSuccess { session: &session, positions: &positions });
            }
            Outcome::Joined { room, position, recovered, user_count } => {
                let State::Admitted(member) = &mut self.state else { return };
                let ChannelOptions { history_size, latest, .. } =
                    *self.terms.channels.of(&member.channel(&room));
                member.rooms.enter(room.clone());
                let position = (history_size > 0).then_some(position);
                self.reply(&Outgoing::Joined { room: &room, position, recovered, latest, user_count });
            }
            Outcome::Reviewed(memberships) => {
                let State::Admitted(member) = &mut self.state else { return };
                let moves = member.rooms.set_memberships(memberships);
                self.go(moves);
                self.keep_place();
            }
            Outcome::Replaced => self.close(Close::Replaced, None),
            Outcome::Followed { arrived, all } => {
                if !all {
                    self.set(Timer::Review, Some(SOON));
                }
                for Arrived { room, position, user_count } in arrived {
                    let State::Admitted(member) = &mut self.state else { return };
                    let ChannelOptions { history_size, latest, .. } =
                        *self.terms.channels.of(&member.channel(&room));
                    member.rooms.enter(room.clone());
                    let position = (history_size > 0).then_some(position);
                    let added = Outgoing::Added { room: &room, position, latest, user_count };
                    let frame = self.terms.endpoint.frame(&added, None);
                    self.send(frame);
                }
            }
            Outcome::Published { room, id, published } => self.reply(&Outgoing::Published {
                room: &room,
                message_id: id.as_ref(),
                position: published.position,
                duplicate: published.duplicate,
            }),
            Outcome::Presence { room, users, user_count } => {
                self.reply(&Outgoing::Presence { room: &room, users: &users, user_count });
            }
            Outcome::Online { users, user_count } => {
                self.reply(&Outgoing::Online { users: &users, user_count });
            }
            Outcome::History { channel, room, items, position, gap, more } => {
                if let Some(reason) = gap {
                    let channel = channel.public_name();
                    let gap = Outgoing::Gap { channel: &channel, reason, position };
                    let id = self.pending.as_ref().and_then(|pending| pending.id.as_ref());
                    let frame = self.terms.endpoint.frame(&gap, id);
                    self.send(frame);
                }
                self.reply(&Outgoing::History { room: &room, items: &items, position, more });
            }
            Outcome::Failed(failure) => self.fail(failure),
        }
    }

    /// Leaves rooms and joins others, unasked by the client.
    pub(super) fn go(&mut self, Moves { join, leave }: Moves) {
        let State::Admitted(member) = &self.state else { return };
        let (tenant, user) = (member.identity.tenant.clone(), member.entry());
        for room in leave {
            self.effects.push_back(Effect::Leave(Channel::room(&tenant, &room)));
            let frame = self.terms.endpoint.frame(&Outgoing::Removed { room: &room }, None);
            self.send(frame);
        }
        if !join.is_empty() {
            self.effects.push_back(Effect::Start(Operation::Follow { tenant, user, rooms: join }));
        }
    }

    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::Conflict => {
                self.error(ErrorCode::Conflict, "this messageId was used for another message");
            }
            Failure::OutboxFull => {
                self.error(ErrorCode::Unavailable, "too much waits for the application; try again later");
            }
            Failure::Unavailable => self.error(ErrorCode::Unavailable, AWAY),
            Failure::NotReviewed => self.set(Timer::Review, Some(SOON)),
            Failure::Unconfirmed => self.error(ErrorCode::Unconfirmed, UNCONFIRMED),
            Failure::Unsupported(reason) => self.error(ErrorCode::Unsupported, reason),
            Failure::NotAdmitted => {
                if self.is_accepted {
                    self.error(ErrorCode::Unavailable, AWAY);
                }
                self.close(Close::Overload, None);
            }
        }
    }
}
