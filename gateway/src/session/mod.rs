//! Decides what a client's requests mean: a value without I/O.
//!
//! Requests, outcomes of operations and expired timers go in; effects come out through [`Session::poll`]. A session has at
//! most one operation under way, and is given no further request meanwhile, so that answers keep the order of
//! the requests.

mod admission;
mod member;
mod operation;
mod outcome;
pub(crate) mod rate;
mod rooms;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use broker::MembershipChange;
use bytes::Bytes;
use chassis::auth::{TokenError, TokenFacts};
use proto::{
    About, Channel, ChannelRules, Close, Command, Cursor, DeviceId, ErrorCode, Invalid, NodeId, Outgoing,
    Request, RequestId, Room, SessionId, Timestamp,
};

use crate::endpoint::Endpoint;
use member::{Member, Message};
pub(crate) use operation::{Arrived, Failure, Keep, Operation, Outcome, Purpose, Resumed};
use rate::Bucket;

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
    /// Tell the client that it is connected, where it waits for that.
    Accept,
    /// Tell it that it is not.
    Refuse(ErrorCode, String),
    /// Close, after everything that was queued; with a reason of its own or the catalogue's.
    Close(Close, Option<String>),
}

/// What a client brought along when it connected.
#[derive(Debug, Default)]
pub(crate) struct Handshake {
    pub(crate) token: Option<String>,
    /// The places of the channels that every session listens to.
    pub(crate) since: Cursor,
    /// The session that it wants to go on with.
    pub(crate) resume: Option<Resume>,
    /// Which of the user's devices it says to be.
    pub(crate) device: Option<DeviceId>,
}

/// What a client has of an earlier connection.
#[derive(Debug)]
pub(crate) struct Resume {
    /// By which the session is found.
    pub(crate) key: SessionId,
    /// Where the client was told to be, if it was.
    pub(crate) told: Option<String>,
}

/// The things that a connection waits for. There is one of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timer {
    /// The client has to present a token.
    Authentication,
    /// The token runs out.
    Token,
    /// What nodes tell each other of the user has to be looked up again.
    Review,
    /// How far the client's device has got has to be told again, to be remembered.
    Device,
    /// The client has to catch up.
    Lag,
    /// The client has to answer a close.
    Goodbye,
}

impl Timer {
    pub(crate) const ALL: [Self; 6] =
        [Self::Authentication, Self::Token, Self::Review, Self::Device, Self::Lag, Self::Goodbye];
    pub(crate) const COUNT: usize = Self::ALL.len();
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Session {
    terms: Arc<Terms>,
    id: SessionId,
    /// What the session was before it went on with another one: names the connection among the user's.
    connection: SessionId,
    state: State,
    bucket: Bucket,
    /// Whether the client knows that it is connected.
    is_accepted: bool,
    /// The session that the client wants to go on with, until it is decided whether it does.
    resume: Option<Box<Resume>>,
    /// Which of the user's devices the client says to be, until it is admitted.
    device: Option<DeviceId>,
    /// The request under way, if there is one.
    pending: Option<Box<Pending>>,
    effects: VecDeque<Effect>,
}

/// What an answer repeats of its request.
#[derive(Debug)]
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

impl Session {
    pub(crate) fn new(terms: Arc<Terms>, id: SessionId) -> Self {
        Self {
            terms,
            connection: id.clone(),
            id,
            state: State::Anonymous(Cursor::default()),
            bucket: Bucket::new(0, Timestamp(0)),
            is_accepted: false,
            resume: None,
            device: None,
            pending: None,
            effects: VecDeque::new(),
        }
    }

    pub(crate) const fn id(&self) -> &SessionId {
        &self.id
    }

    /// By what its token can be revoked, once it has one that was found good.
    pub(crate) const fn token(&self) -> Option<TokenFacts> {
        match &self.state {
            State::Admitted(member) => Some(member.identity.token),
            State::Anonymous(_) | State::Closed => None,
        }
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
        let Handshake { token, since, resume, device } = handshake;
        (self.resume, self.device) = (resume.map(Box::new), device);
        self.bucket = Bucket::new(self.terms.endpoint.rate, now);
        self.state = State::Anonymous(since);
        let token = match token {
            // Such a client is connected only when its token is found good.
            Some(token) if self.terms.endpoint.protocol.accepts_clients() => {
                return self.verify(token, Purpose::Authenticate);
            }
            None if self.terms.endpoint.protocol.accepts_clients() && !self.terms.endpoint.in_band => None,
            token => {
                self.accept(token.is_some(), now);
                token
            }
        };
        match token {
            Some(token) => self.verify(token, Purpose::Authenticate),
            None if !self.terms.endpoint.in_band => self.refuse(Purpose::Authenticate, &TokenError::Missing),
            None => self.set(Timer::Authentication, Some(self.terms.endpoint.auth_timeout)),
        }
    }

    /// Lets the client know that it is connected, and where.
    fn accept(&mut self, authenticated: bool, now: Timestamp) {
        self.is_accepted = true;
        if self.terms.endpoint.protocol.accepts_clients() {
            self.effects.push_back(Effect::Accept);
        }
        let welcome = Outgoing::Welcome {
            node: self.terms.node.as_str(),
            heartbeat: u64::try_from(self.terms.endpoint.heartbeat.as_millis()).unwrap_or(u64::MAX),
            authenticated,
            timestamp: now,
        };
        let frame = self.terms.endpoint.frame(&welcome, None);
        self.send(frame);
    }

    /// The client asks for something. `user_may` tells whether its user has not sent too much with other sessions.
    pub(crate) fn request(&mut self, request: Result<Request, Invalid>, user_may: bool, now: Timestamp) {
        let (pending, request) = match request {
            Ok(Request { id, command }) => (Pending { id, about: Some(command.about()) }, Ok(command)),
            Err(invalid) => (Pending { id: invalid.id, about: None }, Err((invalid.code, invalid.message))),
        };
        self.pending = Some(Box::new(pending));
        // What cannot be understood counts as well.
        if !self.bucket.take(self.terms.endpoint.rate, now) || !user_may {
            return self.error(ErrorCode::RateLimited, "too many requests; slow down");
        }
        let command = match request {
            Ok(command) => command,
            Err((code, message)) => return self.error(code, &message),
        };
        if let Err((code, message)) = self.command(command, now) {
            self.error(code, message);
        }
    }

    fn command(&mut self, command: Command, now: Timestamp) -> Result<(), Refusal> {
        match (&self.state, command) {
            (State::Closed, _) => {}
            (_, Command::Ping) => self.reply(&Outgoing::Pong { timestamp: now }),
            // There is one, and it is none.
            (State::Anonymous(_), Command::Auth { token, .. }) if token.is_empty() => {
                self.refuse(Purpose::Authenticate, &TokenError::Malformed);
            }
            (State::Anonymous(_), Command::Auth { token, since, device }) => {
                self.state = State::Anonymous(since);
                self.device = device.or(self.device.take());
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
            Command::Publish { room, event, data, binary, message_id, ephemeral } => {
                let message = Message { event, data, binary, id: message_id, ephemeral };
                member.publish(&self.terms, &self.id, &room, message, now)?
            }
            Command::Presence { room } => {
                let (channel, options) = member.readable(&self.terms, &room)?;
                if !options.presence {
                    return Err((ErrorCode::Forbidden, "presence is off in this room"));
                }
                Operation::Presence { room, channel }
            }
            Command::Online => {
                let channel = Channel::everyone(&member.identity.tenant);
                if !self.terms.channels.of(&channel).presence {
                    return Err((ErrorCode::Forbidden, "who is online is not told here"));
                }
                Operation::Online { channel }
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

    /// The backend put the user into rooms or took them out of some. No operation may be under way.
    pub(crate) fn follow_memberships(&mut self, change: MembershipChange) {
        let State::Admitted(member) = &mut self.state else { return };
        let moves = member.rooms.change_memberships(change);
        self.go(moves);
    }

    /// It may have been missed what nodes tell each other of the user. No operation may be under way.
    pub(crate) fn review(&mut self) {
        let State::Admitted(member) = &self.state else { return };
        let (tenant, user) = (member.identity.tenant.clone(), member.identity.user.clone());
        let place = self.place(member);
        self.effects.push_back(Effect::Start(Operation::Review { tenant, user, place }));
    }

    /// A timer ran out.
    pub(crate) fn expired(&mut self, timer: Timer) {
        match timer {
            Timer::Authentication => self.close(Close::AuthTimeout, None),
            Timer::Token => self.close(Close::TokenExpired, None),
            Timer::Lag => self.close(Close::Slow, None),
            Timer::Review | Timer::Device | Timer::Goodbye => {}
        }
    }

    /// The node drains.
    pub(crate) fn drain(&mut self, reconnect_after: Duration) {
        let reconnect_after = u64::try_from(reconnect_after.as_millis()).unwrap_or(u64::MAX);
        let frame = self.terms.endpoint.frame(&Outgoing::Draining { reconnect_after }, None);
        if self.is_accepted && !matches!(self.state, State::Closed) {
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

    /// Answers the request under way.
    fn reply(&mut self, outgoing: &Outgoing<'_>) {
        let pending = self.pending.take();
        let id = pending.as_ref().and_then(|pending| pending.id.as_ref());
        let frame = self.terms.endpoint.frame(outgoing, id);
        self.send(frame);
    }

    /// Sends a frame, if there is one: an application need not have words for everything.
    fn send(&mut self, frame: Option<Bytes>) {
        self.effects.extend(frame.map(Effect::Send));
    }

    /// Answers it with an error.
    fn error(&mut self, code: ErrorCode, message: &str) {
        let about = self.pending.as_mut().and_then(|pending| pending.about.take());
        self.reply(&Outgoing::Error { code, message, about: about.as_ref() });
    }

    fn set(&mut self, timer: Timer, after: Option<Duration>) {
        self.effects.push_back(Effect::Set(timer, after));
    }
}

/// An error to answer with, in words for a person.
type Refusal = (ErrorCode, &'static str);
