//! A session whose token was accepted: what it may do, and the operations that its commands need.

use broker::{IdempotencyKey, Publish, Retention};
use chassis::auth::Identity;
use proto::{
    Access, BinaryPlaces, Channel, ChannelOptions, ErrorCode, EventName, MessageId, Position, PresenceEntry,
    Profile, Publication, Room, Sender, SessionId, SessionInfo, Timestamp,
};
use serde_json::value::RawValue;

use super::operation::Operation;
use super::rooms::{Moves, Rooms};
use super::{Refusal, Terms};

/// See the module's documentation.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) identity: Identity,
    /// What the application shows of the user.
    profile: Option<Profile>,
    pub(super) rooms: Rooms,
}

/// What a client publishes.
pub(super) struct Message {
    pub(super) event: EventName,
    pub(super) data: Box<RawValue>,
    pub(super) binary: BinaryPlaces,
    pub(super) id: Option<MessageId>,
    pub(super) ephemeral: bool,
}

impl Member {
    /// A member who is in no room yet, and whose endpoint puts it into these.
    pub(super) fn new(identity: Identity, profile: Option<Profile>, assigned: Vec<Room>) -> Self {
        Self { identity, profile, rooms: Rooms::new(assigned) }
    }

    pub(super) fn channel(&self, room: &Room) -> Channel {
        Channel::room(&self.identity.tenant, room)
    }

    /// Whether it may be in a room.
    pub(super) fn may_join(&self, terms: &Terms, room: &Room) -> bool {
        let options = terms.channels.of(&self.channel(room));
        self.rooms.is_given(room) || self.identity.may_join(room, options)
    }

    /// As others in a room see the user.
    pub(super) fn entry(&self) -> PresenceEntry {
        PresenceEntry {
            user: self.identity.user.clone(),
            name: self.identity.name.clone(),
            profile: self.profile.clone(),
        }
    }

    pub(super) fn info(&self, id: &SessionId) -> SessionInfo {
        SessionInfo {
            session: id.clone(),
            user: self.identity.user.clone(),
            name: self.identity.name.clone(),
            profile: self.profile.clone(),
            expires_at: self.identity.expires_at,
        }
    }

    /// Joining a room again replaces the first time: the client may have lost its place.
    pub(super) fn join(
        &mut self,
        terms: &Terms,
        room: Room,
        since: Option<Position>,
    ) -> Result<Operation, Refusal> {
        let channel = self.channel(&room);
        let options = terms.channels.of(&channel);
        let is_given = self.rooms.is_given(&room);
        if !is_given && !self.identity.may_join(&room, options) {
            return Err((ErrorCode::Forbidden, "the token does not allow to join this room"));
        }
        self.rooms.leave(&room);
        if !is_given && self.rooms.asked() >= terms.endpoint.max_rooms {
            return Err((ErrorCode::LimitReached, "in too many rooms; leave one first"));
        }
        let presence = options.presence.then(|| self.entry());
        Ok(Operation::Join { room, channel, since, presence })
    }

    pub(super) fn leave(&mut self, room: &Room) -> Result<Channel, Refusal> {
        if self.rooms.leave(room) { Ok(self.channel(room)) } else { Err(NOT_JOINED) }
    }

    /// Takes another token of the same user, and leaves the rooms that it no longer allows.
    pub(super) fn refresh(
        &mut self,
        terms: &Terms,
        identity: Identity,
        profile: Option<Profile>,
        assigned: Vec<Room>,
    ) -> Moves {
        (self.identity, self.profile) = (identity, profile);
        let mut moves = self.rooms.assign(assigned);
        let tenant = &self.identity.tenant;
        moves.leave.extend(
            self.rooms.take_out(|room| {
                self.identity.may_join(room, terms.channels.of(&Channel::room(tenant, room)))
            }),
        );
        moves
    }

    pub(super) fn publish(
        &self,
        terms: &Terms,
        session: &SessionId,
        room: &Room,
        message: Message,
        now: Timestamp,
    ) -> Result<Operation, Refusal> {
        let channel = self.channel(room);
        let options = terms.channels.of(&channel);
        let joined = self.rooms.is_in(room);
        if !self.identity.may_publish(room, options, joined) {
            return Err(match options.publish {
                Access::Members => NOT_JOINED,
                _ => (ErrorCode::Forbidden, "the token does not allow to publish in this room"),
            });
        }
        if message.binary.size(&message.data) > options.max_message {
            return Err((ErrorCode::TooLarge, "data is larger than this room takes"));
        }
        let user = &self.identity.user;
        let idempotency = message.id.as_ref().map(|id| IdempotencyKey::new(&format!("user:{user}"), id));
        let from = Sender {
            user: user.clone(),
            name: self.identity.name.clone(),
            profile: self.profile.clone(),
            session: Some(session.clone()),
        };
        let publication = Publication {
            event: message.event,
            data: message.data,
            binary: message.binary,
            id: message.id,
            from: Some(from),
            timestamp: now,
        };
        let retention = if message.ephemeral { None } else { Retention::of(options) };
        Ok(Operation::Publish {
            room: room.clone(),
            channel,
            publish: Box::new(Publish {
                publication,
                retention,
                idempotency,
                outbox: options.outbox.then_some(options.outbox_size),
            }),
        })
    }

    /// Who may join a room may also look into it.
    pub(super) fn readable<'a>(
        &self,
        terms: &'a Terms,
        room: &Room,
    ) -> Result<(Channel, &'a ChannelOptions), Refusal> {
        let channel = self.channel(room);
        let options = terms.channels.of(&channel);
        if self.rooms.is_in(room) || self.rooms.is_given(room) || self.identity.may_join(room, options) {
            Ok((channel, options))
        } else {
            Err((ErrorCode::Forbidden, "the token does not allow to look into this room"))
        }
    }
}

const NOT_JOINED: Refusal = (ErrorCode::NotJoined, "join the room first");
