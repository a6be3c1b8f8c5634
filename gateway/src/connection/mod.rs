//! One client's connection: moves frames between its transport, its session and the hub, and decides nothing.

pub(crate) mod continuation;
mod errand;
pub(crate) mod following;
mod timers;
mod transport;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use broker::{Place, Unavailable};
use chassis::listener::ConnectionGuard;
use proto::{Close, ErrorCode, Invalid, Kind, Request, Timestamp};

use crate::clock;
use crate::node::Node;
use crate::peer::progress::Ask;
use crate::peer::{Memberships, NEVER, Peer, Signal};
use crate::session::rate::SharedRate;
use crate::session::{Effect, Handshake, Operation, Outcome, Purpose, Session, Terms, Timer};
use errand::Done;
use following::{Arrival, Followings, Page};
use timers::Timers;
pub(crate) use transport::{Incoming, Transport};

/// How long a client may take to answer a close.
const GOODBYE: Duration = Duration::from_secs(3);

/// Over how long the connections of a node look up memberships after an interruption.
const MISSED_WITHIN: Duration = Duration::from_secs(10);

/// See the module's documentation.
pub(crate) struct Connection<T> {
    node: Arc<Node>,
    terms: Arc<Terms>,
    peer: Arc<Peer>,
    transport: T,
    session: Session,
    errand: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    followings: Followings,
    timers: Timers,
    /// Its place among the sessions of its user, to be given up.
    place: Option<Box<Place>>,
    /// How much its user may send, over all sessions on this node; once it sends.
    shared_rate: Option<Arc<SharedRate>>,
    had_invalid: bool,
    /// Why the connection ends.
    closing: Option<Close>,
    /// Its place among the connections that the process may hold.
    _guard: Option<ConnectionGuard>,
}

/// What a connection waits for.
enum Event {
    /// Somebody called: a signal, a deadline, a full queue.
    Called,
    /// The socket takes bytes again.
    Writable,
    /// An operation ended.
    Finished(Box<Done>),
    /// A page of a stream was read.
    Read(Page),
    /// The client did something.
    Incoming(Incoming),
}

/// The connection is over.
struct Over;

impl<T: Transport> Connection<T> {
    /// A connection whose client is told things through `peer`.
    pub(crate) fn new(
        node: Arc<Node>,
        terms: Arc<Terms>,
        peer: Arc<Peer>,
        transport: T,
        guard: Option<ConnectionGuard>,
    ) -> Self {
        node.pulse.watch(&peer);
        Self {
            node,
            session: Session::new(Arc::clone(&terms), peer.session().clone()),
            terms,
            peer,
            transport,
            errand: None,
            followings: Followings::new(),
            timers: Timers::new(),
            place: None,
            shared_rate: None,
            had_invalid: false,
            closing: None,
            _guard: guard,
        }
    }

    /// Runs a connection that has [begun](Self::begin) to its end. By reference, since a future that owns it would hold it
    /// twice.
    pub(crate) async fn run(&mut self) {
        poll_fn(|cx| self.poll_run(cx)).await;
        self.end();
        self.peer.outbound.abandon();
    }

    /// The connection is there. To be followed by [`run`](Self::run), or by [`poll_run`](Self::poll_run), and
    /// [`end`](Self::end) when that is ready.
    pub(crate) fn begin(&mut self, handshake: Handshake) {
        self.node.metrics.connections.inc();
        self.node.metrics.opened.inc();
        self.session.opened(handshake, clock::now());
    }

    /// Goes on as far as it goes without waiting. Ready when the connection is over.
    pub(crate) fn poll_run(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            self.carry_out();
            self.peer.write();
            // After the write, which may have made room.
            self.catch_up();
            let Poll::Ready(event) = self.poll_event(cx) else {
                self.peer.outbound.rest();
                return Poll::Pending;
            };
            if let Err(Over) = self.handle(event) {
                return Poll::Ready(());
            }
        }
    }

    /// The connection is over, for whatever reason.
    pub(crate) fn end(&mut self) {
        self.node.keeper.end(&self.peer, self.closing);
        if let Some(reached) = self.peer.progress(|progress| progress.reached()).flatten() {
            self.node.devices.end(reached);
        }
        self.node.metrics.count_close(self.closing, self.peer.outbound.written());
        let (session, reason) = (self.session.id().as_str(), self.closing.map_or("gone", Close::label));
        match self.peer.user() {
            Some(user) => tracing::info!(session, user = user.as_str(), reason, "disconnected"),
            None => tracing::debug!(session, reason, "disconnected"),
        }
        if let Some(place) = self.place.take() {
            tokio::spawn(give_up(Arc::clone(&self.node), place));
        }
    }

    pub(crate) const fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Whether more is taken from the client. Requests are answered one after the other, and none is taken from a client
    /// that does not take the answers.
    pub(crate) fn takes_more(&self) -> bool {
        self.errand.is_none() && (self.closing.is_some() || self.peer.outbound.has_room())
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.peer.was_called(cx.waker()) {
            return Poll::Ready(Event::Called);
        }
        if self.peer.outbound.is_blocked() && self.transport.poll_writable(cx).is_ready() {
            return Poll::Ready(Event::Writable);
        }
        if let Some(errand) = &mut self.errand
            && let Poll::Ready(done) = errand.as_mut().poll(cx)
        {
            self.errand = None;
            return Poll::Ready(Event::Finished(Box::new(done)));
        }
        if let Poll::Ready(page) = self.followings.poll_page(cx) {
            return Poll::Ready(Event::Read(page));
        }
        if self.takes_more() {
            return self.transport.poll_incoming(cx).map(Event::Incoming);
        }
        Poll::Pending
    }

    fn handle(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Called => self.called()?,
            Event::Writable => _ = self.peer.outbound.resume(),
            Event::Finished(done) => self.finished(*done),
            Event::Read(page) => {
                self.followings.take_page(page, &self.terms.endpoint, &self.peer);
                // The client has taken what it had before: it makes progress.
                self.set(Timer::Lag, None);
            }
            Event::Incoming(incoming) => self.incoming(incoming)?,
        }
        Ok(())
    }

    fn called(&mut self) -> Result<(), Over> {
        if self.peer.outbound.is_broken() {
            return Err(Over);
        }
        self.followings.lag(self.peer.take_lagging());
        match self.peer.take_signal() {
            Some(Signal::Drain { reconnect_after }) => self.session.drain(reconnect_after),
            Some(Signal::Close(close)) => self.session.close(close, None),
            None => {}
        }
        while let Some(timer) = self.timers.expire(self.node.pulse.second()) {
            match timer {
                Timer::Goodbye => return Err(Over),
                Timer::Review => self.peer.change_memberships(Memberships::Unknown),
                Timer::Device => self.remember_device(),
                _ => self.session.expired(timer),
            }
        }
        self.peer.set_deadline(self.timers.next());
        self.ask();
        self.follow_memberships();
        Ok(())
    }

    /// Asks the client for what it has, if that is to be known and is not known yet.
    fn ask(&mut self) {
        if self.closing.is_some() {
            return;
        }
        match self.peer.progress(|progress| progress.ask(self.node.pulse.second())) {
            Some(Ask::Now(number)) => self.transport.ask(&self.peer, number),
            Some(Ask::Soon) => self.node.pulse.call_soon(&self.peer),
            Some(Ask::Not) | None => {}
        }
    }

    /// The client has what it was sent before this question.
    fn answered(&mut self, number: u32) {
        if let Some(reached) = self.peer.progress(|progress| progress.answered(number)).flatten() {
            self.node.devices.note(reached);
        }
        self.ask();
    }

    /// Has it remembered for longer how far the client's device has got, now and while it is connected.
    fn remember_device(&mut self) {
        let known = self.peer.progress(|progress| (progress.reached(), progress.life()));
        let Some((reached, life)) = known else { return };
        reached.into_iter().for_each(|reached| self.node.devices.note(reached));
        self.set(Timer::Device, Some(life / 4));
    }

    /// Lets the node know by what the session's token can be revoked, and ends the session if that was done while the token
    /// was looked at.
    fn present_token(&mut self) {
        let Some(token) = self.session.token() else { return };
        self.peer.set_token(token);
        if self.node.verifier.revocations().cover(&token) {
            self.session.close(Close::Revoked, None);
        }
    }

    /// Lets the session follow its user's memberships, as soon as no operation is under way.
    fn follow_memberships(&mut self) {
        if self.errand.is_some() || self.closing.is_some() {
            return;
        }
        match self.peer.take_memberships() {
            Some(Memberships::Changed(change)) => self.session.follow_memberships(change),
            Some(Memberships::Unknown) => self.session.review(),
            // Not all connections of a node at once.
            Some(Memberships::Missed) => {
                let wait = self.peer.number as u64 % MISSED_WITHIN.as_secs();
                self.set(Timer::Review, Some(Duration::from_secs(wait)));
            }
            None => {}
        }
    }

    fn finished(&mut self, done: Done) {
        let Done { outcome, arrivals } = done;
        if let Outcome::Verified(_, Err(error)) = &outcome {
            self.node.metrics.count_auth_failure(error.code().as_str());
        }
        if let Outcome::Verified(Purpose::Authenticate, Ok(identity)) = &outcome {
            self.peer.set_user(&identity.user);
        }
        if let (Outcome::Admitted { .. }, Some(user)) = (&outcome, self.peer.user()) {
            tracing::info!(session = self.session.id().as_str(), user = user.as_str(), "connected");
        }
        // The answer to a join stands before what it brings; but a client that comes back gets what it missed first.
        let is_admitted = matches!(&outcome, Outcome::Admitted { .. });
        let is_back = matches!(&outcome, Outcome::Admitted { resumed: Some(_), .. });
        let is_verified = matches!(&outcome, Outcome::Verified(_, Ok(_)));
        if is_back {
            self.arrive(arrivals);
            self.session.finished(outcome, clock::now());
            self.carry_out();
        } else {
            self.session.finished(outcome, clock::now());
            if is_verified {
                self.present_token();
            }
            self.carry_out();
            self.arrive(arrivals);
        }
        if is_admitted {
            self.remember_device();
            self.ask();
        }
        self.follow_memberships();
    }

    fn arrive(&mut self, arrivals: Vec<Arrival>) {
        if self.closing.is_none() {
            for arrival in arrivals {
                self.followings.add(arrival, &self.terms.endpoint, &self.peer);
            }
        }
    }

    fn incoming(&mut self, incoming: Incoming) -> Result<(), Over> {
        self.peer.hear(self.node.pulse.second());
        match incoming {
            Incoming::Gone => return Err(Over),
            Incoming::Answer(number) => self.answered(number),
            _ if self.closing.is_some() => {}
            Incoming::Text(text) => self.request(self.terms.endpoint.decode(&text)),
            Incoming::Request(request) => self.request(request),
            Incoming::Violation(close) => self.session.close(close, None),
            Incoming::Goodbye => {
                self.closing = Some(Close::Normal);
                self.errand = None;
                self.followings.clear();
            }
            Incoming::SignOfLife => {}
        }
        Ok(())
    }

    fn request(&mut self, request: Result<Request, Invalid>) {
        self.node.metrics.messages_received.inc();
        if let Err(Invalid { code, message, .. }) = &request {
            self.note_invalid(*code, message);
        }
        let now = clock::now();
        let user_may = self.user_may(now);
        self.session.request(request, user_may, now);
    }

    /// Notes a frame that was not understood, without what is in it, and at a level that is seen just once a connection.
    fn note_invalid(&mut self, code: ErrorCode, problem: &str) {
        let (session, code) = (self.session.id().as_str(), code.as_str());
        if std::mem::replace(&mut self.had_invalid, true) {
            tracing::debug!(session, code, problem, "another frame was not understood");
        } else {
            tracing::info!(session, code, problem, "a frame was not understood");
        }
    }

    /// Whether all sessions of the user together are within their rate.
    fn user_may(&mut self, now: Timestamp) -> bool {
        let rate = self.terms.endpoint.user_rate;
        if rate == 0 {
            return true;
        }
        if self.shared_rate.is_none() {
            // Whoever has none of their own yet has no user either.
            let own = self.followings.of_kind(Kind::User);
            self.shared_rate = own.map(|channel| self.node.rates.of(channel, rate, now));
        }
        self.shared_rate.as_ref().is_none_or(|shared| shared.take(rate, now))
    }

    /// Carries out what the session wants.
    fn carry_out(&mut self) {
        while let Some(effect) = self.session.poll() {
            match effect {
                Effect::Send(frame) => self.peer.tell(frame, None),
                Effect::Start(operation) => self.start(operation),
                Effect::Leave(channel) => {
                    self.followings.remove(&channel);
                    self.node.keeper.leave(&self.peer, &channel);
                }
                Effect::Set(timer, after) => self.set(timer, after),
                Effect::Accept => self.transport.accept(&self.peer),
                Effect::Refuse(code, message) => {
                    self.closing = Some(Close::Unauthorized);
                    self.transport.refuse(&self.peer, code, &message);
                }
                Effect::Close(close, reason) => self.close(close, reason.as_deref()),
            }
        }
    }

    fn start(&mut self, operation: Operation) {
        let previous = match &operation {
            Operation::Join { channel, .. } => self.followings.remove(channel),
            Operation::Admit { place: Some(place), .. } => {
                self.place = Some(Box::new(place.clone()));
                None
            }
            _ => None,
        };
        let (node, terms, peer) = (Arc::clone(&self.node), Arc::clone(&self.terms), Arc::clone(&self.peer));
        self.errand = Some(Box::pin(errand::run(node, terms, peer, operation, previous)));
    }

    /// Says goodbye: what is queued still goes out, then the client has a moment to answer.
    fn close(&mut self, close: Close, reason: Option<&str>) {
        if self.closing.is_none() {
            self.closing = Some(close);
            self.errand = None;
            self.followings.clear();
            let second = self.node.pulse.second();
            if let Some(number) = self.peer.progress(|progress| progress.ask_last(second)).flatten() {
                self.transport.ask(&self.peer, number);
            }
            self.transport.close(&self.peer, &self.terms.endpoint, close, reason);
            self.set(Timer::Goodbye, Some(GOODBYE));
        }
    }

    fn catch_up(&mut self) {
        if self.closing.is_some() {
            return;
        }
        self.peer.set_behind(self.followings.is_behind());
        self.followings.advance(&self.node, &self.peer);
        match (self.followings.is_behind(), self.timers.is_set(Timer::Lag)) {
            (true, false) => self.set(Timer::Lag, Some(self.terms.endpoint.max_lag)),
            (false, true) => self.set(Timer::Lag, None),
            (true, true) | (false, false) => {}
        }
    }

    fn set(&mut self, timer: Timer, after: Option<Duration>) {
        let second = after.map_or(NEVER, |after| {
            let seconds = u32::try_from(after.as_millis().div_ceil(1000)).unwrap_or(NEVER);
            self.node.pulse.second().saturating_add(seconds)
        });
        self.timers.set(timer, second);
        self.peer.set_deadline(self.timers.next());
    }
}

/// What is not given up here goes as the oldest.
async fn give_up(node: Arc<Node>, place: Box<Place>) {
    if let Err(Unavailable(reason)) = node.broker.waive(&place).await {
        tracing::debug!(reason, "the place of a session was not given up");
    }
}
