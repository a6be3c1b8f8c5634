//! Decides what a client's requests mean: a value without I/O.
//!
//! Requests, outcomes of operations and expired timers go in; effects come out through [`Session::poll`]. A session has at
//! most one operation under way, and is given no further request meanwhile, so that answers keep the order of
//! the requests.

mod operation;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::{IdempotencyKey, Publish, Retention};
use bytes::Bytes;
use chassis::auth::{Identity, TokenError};
use proto::{
    About, Channel, ChannelOptions, ChannelRules, Close, Command, Cursor, ErrorCode, EventName, Invalid,
    MessageId, NodeId, Outgoing, Position, PresenceEntry, Profile, Publication, Request, RequestId, Room,
    Sender, SessionId, SessionInfo, Timestamp,
};
use serde_json::value::RawValue;

use crate::endpoint::{self, Endpoint};
use crate::pulse::HEARTBEAT;
use crate::rate::Bucket;
pub(crate) use operation::{Failure, Operation, Outcome, Purpose};

/// How many users a `presence` request lists.
pub(crate) const LISTED_USERS: usize = 1000;

/// How many publications a `history` request returns at most.
pub(crate) const LONGEST_HISTORY: u32 = 256;

/// What sessions of an endpoint have in common.
#[derive(Debug)]
pub(crate) struct Terms {
    pub(crate) node: NodeId,
    pub(crate) endpoint: Endpoint,
    pub(crate) channels: Arc<ChannelRules>,
}

/// What a session wants done, in this order.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Queue this frame.
    Send(Bytes),
    /// Carry this out and tell the [`Outcome`].
    Start(Operation),
    /// Listen to this channel no more.
    Leave(Channel),
    /// Tell when so much time has passed; `None` for never. Replaces the timer's earlier time.
    Set(Timer, Option<Duration>),
    /// Close, after everything that was queued; with a reason of its own or the catalogue's.
    Close(Close, Option<String>),
}

/// What a client brought along when it connected.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    pub(crate) token: Option<String>,
    /// The places of the channels that every session listens to.
    pub(crate) since: Cursor,
}

/// The things that a connection waits for. There is one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The client has to present a token.
    Authentication,
    /// The token runs out.
    Token,
    /// The client has to catch up.
    Lag,
    /// The client has to answer a close.
    Goodbye,
}

impl Timer {
    pub(crate) const ALL: [Self; 4] = [Self::Authentication, Self::Token, Self::Lag, Self::Goodbye];
    pub(crate) const COUNT: usize = Self::ALL.len();
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session {
    terms: Arc<Terms>,
    id: SessionId,
    state: State,
    bucket: Bucket,
    /// The request under way.
    pending: Pending,
    effects: VecDeque<Effect>,
}

/// What an answer repeats of its request.
#[derive(Debug, Default)]
struct Pending {
    id: Option<RequestId>,
    about: Option<About>,
}

#[derive(Debug)]
enum State {
    /// Until its token is accepted; then it listens from these places on.
    Anonymous(Cursor),
    Admitted(Box<Member>),
    Closed,
}

#[derive(Debug)]
struct Member {
    identity: Identity,
    /// What the application shows of the user.
    profile: Option<Profile>,
    rooms: Vec<Room>,
}

impl Session {
    pub(crate) fn new(terms: Arc<Terms>, id: SessionId) -> Self {
        Self {
            terms,
            id,
            state: State::Anonymous(Cursor::default()),
            bucket: Bucket::new(0, Timestamp(0)),
            pending: Pending::default(),
            effects: VecDeque::new(),
        }
    }

    pub(crate) const fn id(&self) -> &SessionId {
        &self.id
    }

    /// The next effect.
    pub(crate) fn poll(&mut self) -> Option<Effect> {
        let effect = self.effects.pop_front();
        if effect.is_none() {
            // An idle session keeps no queue.
            self.effects = VecDeque::new();
        }
        effect
    }

    /// The connection is open.
    pub(crate) fn opened(&mut self, handshake: Handshake, now: Timestamp) {
        let Handshake { token, since } = handshake;
        self.bucket = Bucket::new(self.terms.endpoint.rate, now);
        self.state = State::Anonymous(since);
        let welcome = Outgoing::Welcome {
            node: self.terms.node.as_str(),
            heartbeat: u64::from(HEARTBEAT) * 1000,
            authenticated: token.is_some(),
            timestamp: now,
        };
        let frame = self.terms.endpoint.frame(&welcome, None);
        self.send(frame);
        match token {
            Some(token) => self.verify(token, Purpose::Authenticate),
            None if !self.terms.endpoint.in_band => self.refuse(Purpose::Authenticate, &TokenError::Missing),
            None => self.set(Timer::Authentication, Some(self.terms.endpoint.auth_timeout)),
        }
    }

    /// The client asks for something.
    pub(crate) fn request(&mut self, request: Result<Request, Invalid>, now: Timestamp) {
        let Request { id, command } = match request {
            Ok(request) => request,
            Err(invalid) => {
                self.pending = Pending { id: invalid.id, about: None };
                return self.error(invalid.code, &invalid.message);
            }
        };
        self.pending = Pending { id, about: Some(command.about()) };
        if !self.bucket.take(self.terms.endpoint.rate, now) {
            return self.error(ErrorCode::RateLimited, "too many requests; slow down");
        }
        if let Err((code, message)) = self.command(command, now) {
            self.error(code, message);
        }
    }

    fn command(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        match (&self.state, command) {
            (State::Closed, _) => {}
            (_, Command::Ping) => self.reply(&Outgoing::Pong { timestamp: now }),
            (State::Anonymous(_), Command::Auth { token, since }) => {
                self.state = State::Anonymous(since);
                self.verify(token, Purpose::Authenticate);
            }
            (State::Anonymous(_), _) => return Err((ErrorCode::NotAuthenticated, "authenticate first")),
            (State::Admitted(_), Command::Refresh { token }) => self.verify(token, Purpose::Refresh),
            (State::Admitted(_), Command::Auth { .. }) => {
                return Err((ErrorCode::AlreadyAuthenticated, "use refresh to replace the token"));
            }
            (State::Admitted(_), Command::Leave { room }) => self.leave(&room)?,
            (State::Admitted(_), command) => self.start(command, now)?,
        }
        Ok(())
    }

    fn leave(&mut self, room: &Room) -> Result<(), Refusal> {
        let State::Admitted(member) = &mut self.state else { return Ok(()) };
        let channel = member.leave(room)?;
        self.effects.push_back(Effect::Leave(channel));
        self.reply(&Outgoing::Left { room });
        Ok(())
    }

    /// Starts the operation that a member's command needs.
    fn start(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        let State::Admitted(member) = &mut self.state else { return Ok(()) };
        let operation = match command {
            Command::Join { room, since } => member.join(&self.terms, room, since)?,
            Command::Publish { room, event, data, message_id, ephemeral } => {
                let message = Message { event, data, id: message_id, ephemeral };
                member.publish(&self.terms, &self.id, &room, message, now)?
            }
            Command::Presence { room } => {
                let (channel, options) = member.readable(&self.terms, &room)?;
                if !options.presence {
                    return Err((ErrorCode::Forbidden, "presence is off in this room"));
                }
                Operation::Presence { room, channel }
            }
            Command::History { room, since, limit } => {
                let (channel, _) = member.readable(&self.terms, &room)?;
                let limit = limit.unwrap_or(LONGEST_HISTORY).clamp(1, LONGEST_HISTORY);
                Operation::History { room, channel, since, limit }
            }
            Command::Auth { .. } | Command::Refresh { .. } | Command::Leave { .. } | Command::Ping => {
                return Ok(());
            }
        };
        self.effects.push_back(Effect::Start(operation));
        Ok(())
    }

    /// An operation ended.
    pub(crate) fn finished(&mut self, outcome: Outcome, now: Timestamp) {
        if matches!(self.state, State::Closed) {
            return;
        }
        match outcome {
            Outcome::Verified(purpose, Ok(identity)) => match purpose {
                Purpose::Authenticate => self.admit(*identity, now),
                Purpose::Refresh => self.refresh(*identity, now),
            },
            Outcome::Verified(purpose, Err(error)) => self.refuse(purpose, &error),
            Outcome::Admitted(positions) => {
                let State::Admitted(member) = &self.state else { return };
                let session = member.info(&self.id);
                let positions: Vec<_> =
                    positions.iter().map(|(channel, at)| (channel.public_name(), *at)).collect();
                self.reply(&Outgoing::AuthSuccess { session: &session, positions: &positions });
            }
            Outcome::Joined { room, position, recovered, user_count } => {
                let State::Admitted(member) = &mut self.state else { return };
                let keeps = self.terms.channels.of(&member.channel(&room)).history_size > 0;
                member.rooms.push(room.clone());
                let position = keeps.then_some(position);
                self.reply(&Outgoing::Joined { room: &room, position, recovered, user_count });
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
            Outcome::History { channel, room, items, position, gap, more } => {
                if let Some(reason) = gap {
                    let channel = channel.public_name();
                    let gap = Outgoing::Gap { channel: &channel, reason, position };
                    let frame = self.terms.endpoint.frame(&gap, self.pending.id.as_ref());
                    self.send(frame);
                }
                self.reply(&Outgoing::History { room: &room, items: &items, position, more });
            }
            Outcome::Failed(failure) => self.fail(failure),
        }
    }

    /// A timer ran out.
    pub(crate) fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::Authentication => self.close(Close::AuthTimeout, None),
            Timer::Token => self.close(Close::TokenExpired, None),
            Timer::Lag => self.close(Close::Slow, None),
            Timer::Goodbye => {}
        }
    }

    /// The node drains.
    pub(crate) fn drain(&mut self, reconnect_after: Duration) {
        let reconnect_after = u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX);
        let frame = self.terms.endpoint.frame(&Outgoing::Draining { reconnect_after }, None);
        if !matches!(self.state, State::Closed) {
            self.send(frame);
        }
        self.close(Close::Restart, None);
    }

    /// Ends the session.
    pub(crate) fn close(&mut self, close: Close, reason: Option<String>) {
        if !matches!(self.state, State::Closed) {
            self.state = State::Closed;
            self.effects.push_back(Effect::Close(close, reason));
        }
    }

    /// What the endpoint's vocabulary shows of a user. Without a usable one the session goes on without it.
    fn profile(&self, identity: &Identity) -> Option<Profile> {
        let claims = serde_json::to_string(&identity.claims).unwrap_or_default();
        match self.terms.endpoint.framing.profile(&claims) {
            Ok(profile) => profile,
            Err(error) => {
                tracing::warn!(%error, path = self.terms.endpoint.path, "a user's claims make no profile");
                None
            }
        }
    }

    fn verify(&mut self, token: String, purpose: Purpose) {
        self.effects.push_back(Effect::Start(Operation::Verify { token, purpose }));
    }

    fn admit(&mut self, mut identity: Identity, now: Timestamp) {
        // A connection that may live for days keeps what is needed later, not the whole token.
        let profile = self.profile(&identity);
        identity.claims.clear();
        let channels = [Channel::user(&identity.tenant, &identity.user), Channel::everyone(&identity.tenant)];
        self.set(Timer::Authentication, None);
        self.set(Timer::Token, Some(remaining(&identity, now)));
        let since = match &self.state {
            State::Anonymous(cursor) => channels.each_ref().map(|channel| cursor.get(&channel.public_name())),
            State::Admitted(_) | State::Closed => [None; 2],
        };
        self.state = State::Admitted(Box::new(Member { identity, profile, rooms: Vec::new() }));
        self.effects.push_back(Effect::Start(Operation::Admit { channels, since }));
    }

    fn refresh(&mut self, mut identity: Identity, now: Timestamp) {
        let State::Admitted(member) = &mut self.state else { return };
        if !member.identity.may_become(&identity) {
            return self.error(ErrorCode::Forbidden, "the new token is of another user");
        }
        identity.claims.clear();
        member.identity = identity;
        let (session, left) = (remaining(&member.identity, now), member.leave_unlisted(&self.terms));
        let info = member.info(&self.id);
        self.set(Timer::Token, Some(session));
        self.reply(&Outgoing::AuthSuccess { session: &info, positions: &[] });
        for (room, channel) in left {
            self.effects.push_back(Effect::Leave(channel));
            let frame = self.terms.endpoint.frame(&Outgoing::Left { room: &room }, None);
            self.send(frame);
        }
    }

    /// A token was not accepted. A session that has a good one keeps it.
    fn refuse(&mut self, purpose: Purpose, error: &TokenError) {
        let message = error.to_string();
        self.error(error.code(), &message);
        match (purpose, error.code()) {
            (Purpose::Refresh, _) => {}
            (Purpose::Authenticate, ErrorCode::Unavailable) => self.close(Close::Overload, Some(message)),
            (Purpose::Authenticate, code) => {
                let close = match (self.terms.endpoint.refusal, code) {
                    (endpoint::Refusal::PolicyViolation, _) => Close::PolicyViolation,
                    (endpoint::Refusal::ByReason, ErrorCode::TokenExpired) => Close::TokenExpired,
                    (endpoint::Refusal::ByReason, _) => Close::Unauthorized,
                };
                self.close(close, Some(message));
            }
        }
    }

    fn fail(&mut self, failure: Failure) {
        match failure {
            Failure::Conflict => {
                self.error(ErrorCode::Conflict, "this messageId was used for another message");
            }
            Failure::Unavailable => self.error(ErrorCode::Unavailable, AWAY),
            Failure::NotAdmitted => {
                self.error(ErrorCode::Unavailable, AWAY);
                self.close(Close::Overload, None);
            }
        }
    }

    /// Answers the request under way.
    fn reply(&mut self, outgoing: &Outgoing<'_>) {
        let pending = std::mem::take(&mut self.pending);
        let frame = self.terms.endpoint.frame(outgoing, pending.id.as_ref());
        self.send(frame);
    }

    /// Sends a frame, if there is one: an application need not have words for everything.
    fn send(&mut self, frame: Option<Bytes>) {
        self.effects.extend(frame.map(Effect::Send));
    }

    /// Answers it with an error.
    fn error(&mut self, code: ErrorCode, message: &str) {
        let about = self.pending.about.take();
        self.reply(&Outgoing::Error { code, message, about: about.as_ref() });
    }

    fn set(&mut self, timer: Timer, after: Option<Duration>) {
        self.effects.push_back(Effect::Set(timer, after));
    }
}

const AWAY: &str = "cannot be done right now; try again";

/// An error to answer with, in words for a person.
type Refusal = (ErrorCode, &'static str);

struct Message {
    event: EventName,
    data: Box<RawValue>,
    id: Option<MessageId>,
    ephemeral: bool,
}

impl Member {
    fn channel(&self, room: &Room) -> Channel {
        Channel::room(&self.identity.tenant, room)
    }

    fn has_joined(&self, room: &Room) -> bool {
        self.rooms.contains(room)
    }

    fn info(&self, id: &SessionId) -> SessionInfo {
        SessionInfo {
            session: id.clone(),
            user: self.identity.user.clone(),
            name: self.identity.name.clone(),
            profile: self.profile.clone(),
            expires_at: self.identity.expires_at,
        }
    }

    /// Joining a room again replaces the first time: the client may have lost its place.
    fn join(&mut self, terms: &Terms, room: Room, since: Option<Position>) -> Result<Operation, Refusal> {
        let channel = self.channel(&room);
        let options = terms.channels.of(&channel);
        if !self.identity.may_join(&room, options) {
            return Err((ErrorCode::Forbidden, "the token does not allow to join this room"));
        }
        self.rooms.retain(|joined| *joined != room);
        if self.rooms.len() >= terms.endpoint.max_rooms {
            return Err((ErrorCode::LimitReached, "in too many rooms; leave one first"));
        }
        let presence = options.presence.then(|| PresenceEntry {
            user: self.identity.user.clone(),
            name: self.identity.name.clone(),
            profile: self.profile.clone(),
        });
        Ok(Operation::Join { room, channel, since, presence })
    }

    fn leave(&mut self, room: &Room) -> Result<Channel, Refusal> {
        let at = self.rooms.iter().position(|joined| joined == room).ok_or(NOT_JOINED)?;
        self.rooms.swap_remove(at);
        Ok(self.channel(room))
    }

    /// Leaves the rooms that a new token no longer allows.
    fn leave_unlisted(&mut self, terms: &Terms) -> Vec<(Room, Channel)> {
        let rooms = std::mem::take(&mut self.rooms);
        let mut left = Vec::new();
        for room in rooms {
            let channel = self.channel(&room);
            if self.identity.may_join(&room, terms.channels.of(&channel)) {
                self.rooms.push(room);
            } else {
                left.push((room, channel));
            }
        }
        left
    }

    fn publish(
        &self,
        terms: &Terms,
        session: &SessionId,
        room: &Room,
        message: Message,
        now: Timestamp,
    ) -> Result<Operation, Refusal> {
        let channel = self.channel(room);
        let options = terms.channels.of(&channel);
        let joined = self.has_joined(room);
        if !self.identity.may_publish(room, options, joined) {
            return Err(match options.publish {
                proto::Access::Members => NOT_JOINED,
                _ => (ErrorCode::Forbidden, "the token does not allow to publish in this room"),
            });
        }
        if message.data.get().len() > options.max_message {
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
            id: message.id,
            from: Some(from),
            timestamp: now,
        };
        let retention = if message.ephemeral { None } else { retention(options) };
        Ok(Operation::Publish {
            room: room.clone(),
            channel,
            publish: Publish { publication, retention, idempotency },
        })
    }

    /// Who may join a room may also look into it.
    fn readable<'a>(&self, terms: &'a Terms, room: &Room) -> Result<(Channel, &'a ChannelOptions), Refusal> {
        let channel = self.channel(room);
        let options = terms.channels.of(&channel);
        if self.has_joined(room) || self.identity.may_join(room, options) {
            Ok((channel, options))
        } else {
            Err((ErrorCode::Forbidden, "the token does not allow to look into this room"))
        }
    }
}

const NOT_JOINED: Refusal = (ErrorCode::NotJoined, "join the room first");

fn retention(options: &ChannelOptions) -> Option<Retention> {
    (options.history_size > 0).then_some(Retention { size: options.history_size, age: options.history_age })
}

fn remaining(identity: &Identity, now: Timestamp) -> Duration {
    Duration::from_millis((identity.expires_at.saturating_mul(1000)).saturating_sub(now.0))
}
