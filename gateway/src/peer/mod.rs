//! The shared side of a connection: what others may do to it.

pub(crate) mod milestone;
pub(crate) mod progress;
pub(crate) mod standing;

use std::collections::VecDeque;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use broker::MembershipChange;
use broker::chaos::{Detector, is_off};
use bytes::Bytes;
use chassis::auth::{Revocations, TokenFacts};
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use proto::vocabulary::Audience;
use proto::{Channel, Close, Position, Publication, SessionId, UserId};

use crate::endpoint::EndpointId;
use crate::wire::outbound::{Flush, Outbound, Push};
use crate::wire::ws_frame;
use milestone::Milestone;
use progress::Progress;
use standing::{Event, Standing};

/// What a connection is told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// The node drains: advise the client when to come back, and close.
    Drain {
        /// What the client is advised to wait before it connects again.
        reconnect_after: Duration,
    },
    /// Close.
    Close(Close),
}

/// What became of the memberships of a connection's user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Memberships {
    /// The backend changed them.
    Changed(MembershipChange),
    /// More changed than is told: they have to be looked up.
    Unknown,
    /// They may have changed, for many users at once: they have to be looked up some time soon.
    Missed,
}

/// The shared side of a connection. Its own task holds the rest.
#[derive(Debug)]
pub(crate) struct Peer {
    /// Which of the node's connections it is, counted from the start.
    pub(crate) number: usize,
    /// The session, as this connection began it.
    session: SessionId,
    /// The session that it goes on with instead.
    resumed: OnceLock<Box<SessionId>>,
    /// Where the client stands, if it is told that with each event. Held while an event is queued, so that the order of
    /// events is that of places.
    standing: Mutex<Option<Box<Standing>>>,
    /// How far its device has got in the user's channel, where that is remembered.
    progress: OnceLock<Box<Mutex<Progress>>>,
    /// Who it is, once that is known.
    user: OnceLock<UserId>,
    /// Which wire format it wants.
    pub(crate) endpoint: EndpointId,
    /// The second, on the node's own count, in which it came.
    pub(crate) born: u32,
    /// What waits to be written.
    pub(crate) outbound: Outbound,
    /// The channels that are not fed because the queue was full, and from where to catch up.
    lagging: Mutex<Vec<(Channel, Position)>>,
    signal: Mutex<Option<Signal>>,
    memberships: Mutex<Option<Box<Memberships>>>,
    waker: AtomicWaker,
    /// Something happened that the connection's task has to look at.
    called: AtomicBool,
    /// Whoever took what was queued is gone.
    hung_up: AtomicBool,
    /// The connection waits for its queue to drain, to go on with catching up.
    behind: AtomicBool,
    /// By what the token can be revoked that it goes by.
    token: Mutex<Option<TokenFacts>>,
    /// In a list of those to flush already.
    dirty: AtomicBool,
    /// In the list of those that were given what may wait.
    later: AtomicBool,
    /// The second, on the node's own count, in which something was last read from the client.
    heard: AtomicU32,
    /// The second in which the connection wants to be called; [`NEVER`] for not at all.
    deadline: AtomicU32,
}

/// What ends an event for those who are not told where they stand.
const END: &str = "]";

/// No second at all.
pub(crate) const NEVER: u32 = u32::MAX;

impl AsRef<Outbound> for Peer {
    fn as_ref(&self) -> &Outbound {
        &self.outbound
    }
}

impl Peer {
    pub(crate) fn new(number: usize, endpoint: EndpointId, outbound: Outbound, now: u32) -> Self {
        Self {
            number,
            session: new_session_id(),
            resumed: OnceLock::new(),
            standing: Mutex::new(None),
            progress: OnceLock::new(),
            user: OnceLock::new(),
            endpoint,
            born: now,
            outbound,
            lagging: Mutex::new(Vec::new()),
            signal: Mutex::new(None),
            memberships: Mutex::new(None),
            waker: AtomicWaker::new(),
            called: AtomicBool::new(false),
            behind: AtomicBool::new(false),
            hung_up: AtomicBool::new(false),
            token: Mutex::new(None),
            dirty: AtomicBool::new(false),
            later: AtomicBool::new(false),
            heard: AtomicU32::new(now),
            deadline: AtomicU32::new(NEVER),
        }
    }

    /// The session that it belongs to.
    pub(crate) fn session(&self) -> &SessionId {
        self.resumed.get().map_or(&self.session, |session| session)
    }

    /// What no other connection has, whatever sessions they go on with.
    pub(crate) const fn connection(&self) -> &SessionId {
        &self.session
    }

    /// The client is told from here on where it stands. `resumed` is the session that it goes on with.
    pub(crate) fn stand(&self, standing: Standing, resumed: Option<SessionId>) {
        if let Some(session) = resumed {
            self.resumed.get_or_init(|| Box::new(session));
        }
        *self.standing.lock() = Some(Box::new(standing));
    }

    /// Looks at where the client stands, or changes it; `None` if nobody keeps that.
    pub(crate) fn standing<T>(&self, look: impl FnOnce(&mut Standing) -> T) -> Option<T> {
        self.standing.lock().as_deref_mut().map(look)
    }

    /// Follows from here on how far the client's device gets.
    pub(crate) fn track(&self, progress: Progress) {
        self.progress.get_or_init(|| Box::new(Mutex::new(progress)));
    }

    /// Looks at how far the client's device has got, or changes it; `None` if nobody remembers that.
    pub(crate) fn progress<T>(&self, look: impl FnOnce(&mut Progress) -> T) -> Option<T> {
        self.progress.get().map(|progress| look(&mut progress.lock()))
    }

    /// Everything of a channel up to here is queued, or is not for this client.
    pub(crate) fn pass(&self, channel: &Channel, to: Position) {
        if self.progress(|progress| progress.sent(channel, to)) == Some(true) {
            self.call();
        }
    }

    /// Notes who it is. A session never becomes another user's.
    pub(crate) fn set_user(&self, user: &UserId) {
        self.user.get_or_init(|| user.clone());
    }

    /// Who it is, once that is known.
    pub(crate) fn user(&self) -> Option<&UserId> {
        self.user.get()
    }

    /// Whether it is among those whom a publication is meant for.
    pub(crate) fn is_for(&self, audience: Audience, publication: &Publication) -> bool {
        let from = publication.from.as_ref();
        match audience {
            Audience::Everyone => true,
            Audience::OtherSessions => {
                from.and_then(|sender| sender.session.as_ref()) != Some(self.session())
            }
            Audience::OtherUsers => from.is_none_or(|sender| self.user.get() != Some(&sender.user)),
        }
    }

    /// Queues a publication of a channel, which brings the client from one position to another. When there is no room,
    /// the channel lags and must not be fed any more: the connection catches up from the stream by itself. Answers
    /// whether feeding may go on.
    pub(crate) fn feed(&self, from: Position, to: &Milestone<'_>, frame: Bytes) -> bool {
        match self.push(frame, Some(to)) {
            Push::Queued => true,
            Push::Closed => false,
            Push::Full if is_off(Detector::Overflow) => true,
            Push::Full => {
                self.lag(to.channel, from);
                false
            }
        }
    }

    /// Queues a frame that brings the client to a position, or nowhere, if there is room for it.
    pub(crate) fn push(&self, frame: Bytes, to: Option<&Milestone<'_>>) -> Push {
        let pushed = self.push_with_place(frame, to);
        if let (Push::Queued, Some(to)) = (pushed, to) {
            self.pass(to.channel, to.position);
        }
        pushed
    }

    fn push_with_place(&self, frame: Bytes, to: Option<&Milestone<'_>>) -> Push {
        if !ws_frame::is_begin_of_text(&frame) {
            return self.outbound.push(frame);
        }
        let mut standing = self.standing.lock();
        let Some(standing) = standing.as_deref_mut() else {
            let [begin, after] = ws_frame::split_begin(&frame);
            return self.outbound.push_all([begin, ws_frame::rest_of_text(END), after]);
        };
        let pushed = match standing.event(&frame, to) {
            Event::Whole(frame) => self.outbound.push(frame),
            Event::Parts(frames) => self.outbound.push_all(frames),
        };
        if let (Push::Queued, Some(to)) = (pushed, to) {
            standing.moved(to);
        }
        pushed
    }

    /// Queues a frame that is not a publication: a reply, or a gap, after which the client stands elsewhere.
    pub(crate) fn tell(&self, frame: Bytes, to: Option<&Milestone<'_>>) {
        self.tell_with_place(frame, to);
        if let Some(to) = to {
            self.pass(to.channel, to.position);
        }
    }

    fn tell_with_place(&self, frame: Bytes, to: Option<&Milestone<'_>>) {
        if !ws_frame::is_begin_of_text(&frame) {
            return self.outbound.push_control(frame);
        }
        let mut standing = self.standing.lock();
        let Some(standing) = standing.as_deref_mut() else {
            let [begin, after] = ws_frame::split_begin(&frame);
            return self.outbound.push_control_all([begin, ws_frame::rest_of_text(END), after]);
        };
        match standing.event(&frame, to) {
            Event::Whole(frame) => self.outbound.push_control(frame),
            Event::Parts(frames) => self.outbound.push_control_all(frames),
        }
        if let Some(to) = to {
            standing.moved(to);
        }
    }

    /// Makes a channel lag from `at` on: it must not be fed any more, and the connection catches up from the stream.
    pub(crate) fn lag(&self, channel: &Channel, at: Position) {
        self.lagging.lock().push((channel.clone(), at));
        self.call();
    }

    /// Queues a frame that is lost when there is no room: an ephemeral publication.
    pub(crate) fn offer(&self, frame: Bytes) -> bool {
        self.push(frame, None) == Push::Queued
    }

    /// Something cannot be delivered, and there are no words to tell it. A client that would take its next connection for the
    /// same session has to begin a new one.
    pub(crate) fn lose(&self) {
        if self.standing(Standing::give_up).is_some() {
            self.signal(Signal::Close(Close::Restart));
        }
    }

    /// Marks the peer as one to be flushed; answers whether it was not marked yet.
    pub(crate) fn mark_dirty(&self) -> bool {
        !self.dirty.swap(true, Ordering::AcqRel)
    }

    /// Marks the peer as one that was given what may wait; answers whether it was not marked yet.
    pub(crate) fn mark_later(&self) -> bool {
        !self.later.swap(true, Ordering::AcqRel)
    }

    /// Writes what could wait, if it is still there. Such things are seldom enough for the queue to be given back.
    pub(crate) fn flush_later(&self) {
        self.later.store(false, Ordering::Release);
        self.flush();
        self.outbound.rest();
    }

    /// Writes what waits, in the caller's thread. What is left is for the connection's task.
    pub(crate) fn flush(&self) {
        if self.write() != Flush::Done || self.behind.load(Ordering::Acquire) {
            self.call();
        }
    }

    /// The same for the connection's task itself, which needs no call.
    pub(crate) fn write(&self) -> Flush {
        self.dirty.store(false, Ordering::Release);
        self.outbound.flush()
    }

    /// Asks for a sign of life.
    pub(crate) fn ping(&self, frames: impl Iterator<Item = Bytes>) {
        frames.for_each(|frame| self.outbound.push_control(frame));
        self.flush();
    }

    /// Tells the connection something; of two signals the later one counts.
    pub(crate) fn signal(&self, signal: Signal) {
        *self.signal.lock() = Some(signal);
        self.call();
    }

    /// Tells the session what became of its user's memberships.
    pub(crate) fn change_memberships(&self, news: Memberships) {
        {
            let mut pending = self.memberships.lock();
            let sum = match (pending.as_deref(), news) {
                (None, news) => news,
                (Some(Memberships::Missed), Memberships::Missed) => Memberships::Missed,
                // Two at once are too seldom to be worth adding up.
                (Some(_), _) => Memberships::Unknown,
            };
            *pending = Some(Box::new(sum));
        }
        self.call();
    }

    pub(crate) fn take_memberships(&self) -> Option<Memberships> {
        self.memberships.lock().take().map(|news| *news)
    }

    /// Notes by which token it goes from now on.
    pub(crate) fn set_token(&self, token: TokenFacts) {
        *self.token.lock() = Some(token);
    }

    /// Ends the connection if its token was revoked.
    pub(crate) fn heed(&self, revocations: &Revocations) {
        let token = *self.token.lock();
        if token.is_some_and(|token| revocations.cover(&token)) {
            self.signal(Signal::Close(Close::Revoked));
        }
    }

    /// Takes what waits, for a transport that pulls; `None` once nothing comes any more.
    pub(crate) fn poll_take(&self, cx: &mut Context<'_>) -> Poll<Option<VecDeque<Bytes>>> {
        let taken = self.outbound.poll_take(cx);
        if taken.is_ready() && self.behind.load(Ordering::Acquire) {
            self.call();
        }
        taken
    }

    /// Makes the connection's task look at its signals, deadlines and lagging channels.
    pub(crate) fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the connection was called since the last time it asked; wakes it at the next call.
    pub(crate) fn was_called(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.called.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn take_signal(&self) -> Option<Signal> {
        self.signal.lock().take()
    }

    pub(crate) fn take_lagging(&self) -> Vec<(Channel, Position)> {
        std::mem::take(&mut *self.lagging.lock())
    }

    /// Tells the connection that nobody takes its frames any more.
    pub(crate) fn hang_up(&self) {
        self.hung_up.store(true, Ordering::Release);
        self.call();
    }

    pub(crate) fn has_hung_up(&self) -> bool {
        self.hung_up.load(Ordering::Acquire)
    }

    /// Asks to be called also when somebody else's flush has drained the queue.
    pub(crate) fn set_behind(&self, behind: bool) {
        self.behind.store(behind, Ordering::Release);
    }

    pub(crate) fn hear(&self, now: u32) {
        self.heard.store(now, Ordering::Relaxed);
    }

    pub(crate) fn last_heard(&self) -> u32 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Asks to be called in that second, soon after it.
    pub(crate) fn set_deadline(&self, second: u32) {
        self.deadline.store(second, Ordering::Relaxed);
    }

    pub(crate) fn deadline(&self) -> u32 {
        self.deadline.load(Ordering::Relaxed)
    }
}

/// A session's id: 128 random bits, so that it can be neither guessed nor given out twice.
pub(crate) fn new_session_id() -> SessionId {
    loop {
        if let Ok(id) = SessionId::new(format!("{:032x}", rand::random::<u128>())) {
            return id;
        }
    }
}
