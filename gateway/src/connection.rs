//! One client's connection: moves bytes between the socket, the session and the hub, and decides nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use chassis::listener::ConnectionGuard;
use futures_util::{Stream, future::poll_fn};
use proto::{Close, SessionId};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::endpoint::EndpointId;
use crate::errand::{self, Done};
use crate::following::{Followings, Page};
use crate::metrics;
use crate::node::Node;
use crate::outbound::Outbound;
use crate::peer::{NEVER, Peer, Signal};
use crate::session::{Effect, Operation, Session, Terms, Timer};
use crate::socket::Socket;
use crate::timers::Timers;
use crate::ws_frame;

/// How much is read from a socket at once. What clients send is small, and each connection holds such a buffer.
const READ_BUFFER: usize = 1024;

/// How long a client may take to answer a close.
const GOODBYE: Duration = Duration::from_secs(3);

/// See the module's documentation.
pub(crate) struct Connection {
    node: Arc<Node>,
    terms: Arc<Terms>,
    peer: Arc<Peer>,
    stream: Arc<TcpStream>,
    socket: WebSocketStream<Socket>,
    session: Session,
    errand: Option<Pin<Box<dyn Future<Output = Done> + Send>>>,
    followings: Followings,
    timers: Timers,
    /// Why the connection was closed from here.
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
    /// The client sent something, or is gone.
    Received(Option<Result<Message, Error>>),
}

/// The connection is over; with the reason if one of the two said it.
struct Over(Option<Close>);

impl Connection {
    /// A connection whose handshake is done; `early` was read after it already.
    pub(crate) async fn new(
        node: Arc<Node>,
        terms: Arc<Terms>,
        endpoint: EndpointId,
        stream: TcpStream,
        early: Bytes,
        guard: Option<ConnectionGuard>,
    ) -> Self {
        let stream = Arc::new(stream);
        let outbound = Outbound::new(Arc::clone(&stream), terms.endpoint.queue_bytes);
        let peer = Arc::new(Peer::new(endpoint, outbound, node.pulse.second()));
        node.pulse.watch(&peer);
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            // Control frames go to the outbound queue at once; nothing else is written through tungstenite.
            .write_buffer_size(0)
            .max_write_buffer_size(READ_BUFFER)
            .max_message_size(Some(terms.endpoint.max_message))
            .max_frame_size(Some(terms.endpoint.max_message));
        let socket = Socket::new(Arc::clone(&stream), Arc::clone(&peer), early);
        let socket = WebSocketStream::from_raw_socket(socket, Role::Server, Some(config)).await;
        Self {
            node,
            session: Session::new(Arc::clone(&terms), new_session_id()),
            terms,
            peer,
            stream,
            socket,
            errand: None,
            followings: Followings::new(),
            timers: Timers::new(),
            closing: None,
            _guard: guard,
        }
    }

    /// Runs the connection to its end. `token` came with the handshake.
    pub(crate) async fn run(mut self, token: Option<String>) {
        self.node.metrics.connections.inc();
        self.node.metrics.opened.inc();
        self.session.opened(token, metrics::now());
        let Over(close) = loop {
            self.carry_out();
            self.peer.write();
            // After the write, which may have made room.
            self.catch_up();
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            if let Err(over) = self.handle(event) {
                break over;
            }
        };
        self.node.metrics.count_close(close, self.peer.outbound.written());
        tracing::debug!(
            session = self.session.id().as_str(),
            reason = close.map_or("gone", Close::label),
            "connection closed"
        );
        self.peer.outbound.abandon();
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        if self.peer.was_called(cx.waker()) {
            return Poll::Ready(Event::Called);
        }
        if self.peer.outbound.is_blocked() && self.stream.poll_write_ready(cx).is_ready() {
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
        // Requests are answered one after the other, and none is taken from a client that does not take the answers.
        if self.errand.is_none() && (self.closing.is_some() || self.peer.outbound.has_room()) {
            return Pin::new(&mut self.socket).poll_next(cx).map(Event::Received);
        }
        Poll::Pending
    }

    fn handle(&mut self, event: Event) -> Result<(), Over> {
        match event {
            Event::Called => self.called()?,
            Event::Writable => _ = self.peer.outbound.resume(),
            Event::Finished(done) => self.finished(*done),
            Event::Read(page) => {
                self.followings.take_page(page, self.terms.endpoint.framing, &self.peer);
                // The client has taken what it had before: it makes progress.
                self.set(Timer::Lag, None);
            }
            Event::Received(message) => self.received(message)?,
        }
        Ok(())
    }

    fn called(&mut self) -> Result<(), Over> {
        if self.peer.outbound.is_broken() {
            return Err(Over(self.closing));
        }
        self.followings.lag(self.peer.take_lagging());
        match self.peer.take_signal() {
            Some(Signal::Drain { reconnect_after }) => self.session.drain(reconnect_after),
            Some(Signal::Close(close)) => self.session.close(close, None),
            None => {}
        }
        while let Some(timer) = self.timers.expire(self.node.pulse.second()) {
            if timer == Timer::Goodbye {
                return Err(Over(self.closing));
            }
            self.session.expired(timer);
        }
        self.peer.set_deadline(self.timers.next());
        Ok(())
    }

    fn finished(&mut self, done: Done) {
        let Done { outcome, arrivals } = done;
        if let crate::session::Outcome::Verified(_, Err(error)) = &outcome {
            self.node.metrics.count_auth_failure(error.code().as_str());
        }
        self.session.finished(outcome, metrics::now());
        // The answer to a join stands before what it brings.
        self.carry_out();
        if self.closing.is_none() {
            for arrival in arrivals {
                self.followings.add(arrival, self.terms.endpoint.framing, &self.peer);
            }
        }
    }

    fn received(&mut self, message: Option<Result<Message, Error>>) -> Result<(), Over> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return self.broken(&error),
            None => return Err(Over(self.closing)),
        };
        self.peer.hear(self.node.pulse.second());
        match message {
            _ if self.closing.is_some() => {}
            Message::Text(text) => {
                self.node.metrics.messages_received.inc();
                let request = self.terms.endpoint.framing.decode(&text);
                self.session.request(request, metrics::now());
            }
            Message::Binary(_) => self.session.close(Close::UnsupportedData, None),
            // The answer is queued already; the stream ends when it is written.
            Message::Close(_) => self.closing = Some(Close::Normal),
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
        }
        Ok(())
    }

    /// A frame that could not be read ends the connection, with the code of its fault.
    fn broken(&mut self, error: &Error) -> Result<(), Over> {
        let close = match error {
            Error::Capacity(CapacityError::MessageTooLong { .. }) => Close::TooBig,
            Error::Utf8(_) => Close::InvalidPayload,
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return Err(Over(self.closing)),
            Error::Protocol(_) | Error::Capacity(_) => Close::ProtocolError,
            _ => return Err(Over(self.closing)),
        };
        if self.closing.is_some() {
            return Err(Over(self.closing));
        }
        self.session.close(close, None);
        Ok(())
    }

    /// Carries out what the session wants.
    fn carry_out(&mut self) {
        while let Some(effect) = self.session.poll() {
            match effect {
                Effect::Send(frame) => self.peer.outbound.push_control(frame),
                Effect::Start(operation) => self.start(operation),
                Effect::Leave(channel) => _ = self.followings.remove(&channel),
                Effect::Set(timer, after) => self.set(timer, after),
                Effect::Close(close, reason) => self.close(close, reason.as_deref()),
            }
        }
    }

    fn start(&mut self, operation: Operation) {
        let previous = match &operation {
            Operation::Join { channel, .. } => self.followings.remove(channel),
            _ => None,
        };
        self.errand = Some(Box::pin(errand::run(Arc::clone(&self.node), operation, previous)));
    }

    /// Says goodbye: what is queued still goes out, then the client has a moment to answer.
    fn close(&mut self, close: Close, reason: Option<&str>) {
        if self.closing.is_none() {
            self.closing = Some(close);
            self.errand = None;
            self.followings.clear();
            self.peer.outbound.push_last(ws_frame::close(close, reason));
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

/// A session's id: 128 random bits, so that it can be neither guessed nor given out twice.
fn new_session_id() -> SessionId {
    loop {
        if let Ok(id) = SessionId::new(format!("{:032x}", rand::random::<u128>())) {
            return id;
        }
    }
}
