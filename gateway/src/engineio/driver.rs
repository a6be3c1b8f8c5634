//! The task of a session: moves messages between the transports, the session and the layer above, and decides nothing.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use proto::Close;
use proto::framing::engineio::{PROBE, Packet, SEPARATOR, decode_payload};
use tokio_tungstenite::tungstenite::{self, Error};

use super::engine::{Due, Engine, Probe, Receipt};
use super::frames::Frames;
use super::link::{Answer, Command, Link, Message};
use super::refusal::Refusal;
use super::service::{Ended, Session};
use super::table::Table;
use super::websocket::WebSocket;
use crate::wire::ws_reader;

/// How long a client may take to notice that its session was closed.
const GOODBYE: Duration = Duration::from_secs(3);

/// See the module's documentation.
pub(super) struct Driver<S: Session> {
    table: Arc<Table>,
    link: Arc<Link>,
    engine: Engine,
    session: S,
    /// The transport, unless the session polls.
    socket: Option<Box<WebSocket>>,
    /// A WebSocket that may become the transport.
    candidate: Option<Box<WebSocket>>,
    /// A body that was not taken to its end yet: the client has to take what it is sent first.
    body: Option<Body>,
    state: State,
    noted: Option<Instant>,
}

/// The body of a request; up to `at` it is taken.
struct Body {
    text: String,
    at: usize,
    answer: Answer,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Open,
    /// The session is over, but the client was not told yet.
    Closing {
        until: Instant,
    },
}

/// What the task waits for.
enum Event {
    /// Somebody called: a request, a deadline, a close, a full socket.
    Called,
    /// The socket takes bytes again.
    Writable,
    /// The client gave up its polling request.
    Aborted,
    /// The next packet of the body can be taken.
    Posted,
    /// The session wants the client to be pinged.
    Ping,
    /// The session wants to end.
    Closed(Close),
    /// The candidate said something, or is gone.
    Candidate(Incoming),
    /// The client sent something, or is gone.
    Received(Incoming),
}

type Incoming = Option<Result<tungstenite::Message, Error>>;

/// Why nothing more is taken from the client.
enum Fault {
    /// It is over at once.
    Over(Ended),
    /// The client is told.
    Close(Close),
}

impl<S: Session> Driver<S> {
    /// A session that is open; over a WebSocket or by polling.
    pub(super) fn new(
        table: Arc<Table>,
        link: Arc<Link>,
        engine: Engine,
        session: S,
        socket: Option<Box<WebSocket>>,
    ) -> Self {
        Self {
            table,
            link,
            engine,
            session,
            socket,
            candidate: None,
            body: None,
            state: State::Open,
            noted: None,
        }
    }

    /// Runs the session to its end. By reference, since a future that owns it would hold it twice.
    pub(super) async fn run(&mut self) {
        let ended = loop {
            self.link.uncork();
            self.note_deadline();
            let event = poll_fn(|cx| self.poll_event(cx)).await;
            self.link.cork();
            match self.handle(event, Instant::now()) {
                Ok(()) => {}
                Err(Fault::Over(ended)) => break ended,
                Err(Fault::Close(close)) => {
                    if let Err(ended) = self.begin_close(close) {
                        break ended;
                    }
                }
            }
        };
        self.link.abandon();
        if matches!(self.state, State::Open) {
            self.end(ended);
        }
    }

    fn end(&mut self, ended: Ended) {
        tracing::debug!(reason = ended.label(), "session ended");
        self.session.closed(ended);
    }

    fn note_deadline(&mut self) {
        let deadline = match self.state {
            State::Closing { until } => until,
            State::Open => {
                let engine = self.engine.deadline();
                self.session.deadline().map_or(engine, |session| session.min(engine))
            }
        };
        if self.noted != Some(deadline) {
            self.noted = Some(deadline);
            self.table.agenda().note(&self.link, deadline);
        }
    }

    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Event> {
        // First, because a request that comes after the change of transport has to find it changed. There is little that
        // a candidate can say before it is the transport or refused.
        if let Some(candidate) = &mut self.candidate
            && let Poll::Ready(message) = candidate.poll_message(cx)
        {
            return Poll::Ready(Event::Candidate(message));
        }
        if self.link.was_called(cx.waker()) {
            return Poll::Ready(Event::Called);
        }
        let is_closing = matches!(self.state, State::Closing { .. });
        if !is_closing && let Poll::Ready(close) = self.session.poll(cx) {
            return Poll::Ready(Event::Closed(close));
        }
        if !is_closing && self.engine.may_ping() && self.session.wants_ping() {
            return Poll::Ready(Event::Ping);
        }
        // Nothing is taken from a client that does not take what it is sent.
        let takes = is_closing || (self.session.is_ready() && self.link.has_room());
        match &mut self.socket {
            Some(socket) => {
                if socket.poll_writable(cx).is_ready() {
                    return Poll::Ready(Event::Writable);
                }
                if takes { socket.poll_message(cx).map(Event::Received) } else { Poll::Pending }
            }
            None if takes && self.body.is_some() => Poll::Ready(Event::Posted),
            None => self.link.poll_serve(cx).map(|()| Event::Aborted),
        }
    }

    fn handle(&mut self, event: Event, now: Instant) -> Result<(), Fault> {
        match event {
            Event::Called => self.called(now),
            Event::Writable => {
                if let Some(socket) = &self.socket {
                    socket.outbound().resume();
                }
                Ok(())
            }
            Event::Aborted => Err(Fault::Over(Ended::Gone)),
            Event::Posted => self.post(now),
            Event::Ping => {
                self.engine.ping(self.table.config(), now);
                self.ping();
                Ok(())
            }
            Event::Closed(_) if self.link.outbound().is_broken() => Err(Fault::Over(Ended::Gone)),
            Event::Closed(close) => Err(Fault::Close(close)),
            Event::Candidate(message) => {
                self.candidate_said(message, now);
                Ok(())
            }
            Event::Received(message) => self.received(message, now),
        }
    }

    fn called(&mut self, now: Instant) -> Result<(), Fault> {
        self.expire(now)?;
        if self.socket.as_ref().is_some_and(|socket| socket.outbound().is_broken()) {
            return Err(Fault::Over(Ended::Gone));
        }
        if let Some(close) = self.link.take_close() {
            return Err(Fault::Close(close));
        }
        if matches!(self.state, State::Open) {
            self.session.woken();
        }
        while let Some(command) = self.link.take_command() {
            match command {
                Command::Poll(answer) => self.poll(answer)?,
                // A client has one at a time on its way.
                Command::Post(text, answer) => self.begin_post(text, answer),
                Command::Candidate(socket) => self.propose(socket, now),
            }
        }
        Ok(())
    }

    fn expire(&mut self, now: Instant) -> Result<(), Fault> {
        if let State::Closing { until } = self.state {
            return if until <= now { Err(Fault::Over(Ended::Gone)) } else { Ok(()) };
        }
        while let Some(due) = self.engine.expired(self.table.config(), now) {
            match due {
                Due::Ping => self.ping(),
                Due::Dead => return Err(Fault::Over(Ended::Silent)),
                Due::Noop => _ = self.link.answer_poll(&Packet::Noop),
                Due::CandidateTooSlow => self.refuse_candidate(),
            }
        }
        match self.session.deadline() {
            Some(deadline) if deadline <= now => self.session.expired().map_err(Fault::Close),
            _ => Ok(()),
        }
    }

    /// Pings the client, behind all that it was sent.
    fn ping(&mut self) {
        self.link.send_control(Frames::packet(&Packet::Ping("")));
        self.session.pinged();
    }

    /// A request waits for something to be sent.
    fn poll(&mut self, answer: Answer) -> Result<(), Fault> {
        if self.socket.is_some() {
            refuse(answer, Refusal::BadRequest);
            return Ok(());
        }
        if let Err(second) = self.link.poll(answer) {
            // Which of the two would get what comes next, nobody can tell.
            self.link.answer_poll(&Packet::Close);
            refuse(second, Refusal::BadRequest);
            return Err(Fault::Over(Ended::Closed(Close::PolicyViolation)));
        }
        self.finish_polling()
    }

    /// A body came.
    fn begin_post(&mut self, text: String, answer: Answer) {
        match self.state {
            State::Open if self.socket.is_some() || self.body.is_some() => {
                refuse(answer, Refusal::BadRequest);
            }
            State::Open => self.body = Some(Body { text, at: 0, answer }),
            State::Closing { .. } => refuse(answer, Refusal::UnknownSession),
        }
    }

    /// Takes the next packet of the body.
    fn post(&mut self, now: Instant) -> Result<(), Fault> {
        let Some(mut body) = self.body.take() else { return Ok(()) };
        let rest = body.text.get(body.at..).unwrap_or("");
        let text = rest.split(SEPARATOR).next().unwrap_or("");
        let end = body.at + text.len();
        let is_last = end >= body.text.len();
        let result = match decode_payload(text).next() {
            Some(Ok(packet)) => self.packet(packet, now),
            Some(Err(_)) | None => Err(Fault::Over(Ended::Closed(Close::InvalidPayload))),
        };
        match result {
            Ok(()) if is_last => accept(body.answer),
            Ok(()) => {
                body.at = end + SEPARATOR.len_utf8();
                self.body = Some(body);
            }
            Err(Fault::Over(Ended::Left)) => {
                accept(body.answer);
                return self.leave_polling(now);
            }
            Err(fault) => {
                refuse(body.answer, Refusal::BadRequest);
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The client ended the session with a request; another one may wait, or be on its way.
    fn leave_polling(&mut self, now: Instant) -> Result<(), Fault> {
        if self.link.answer_poll(&Packet::Noop) {
            return Err(Fault::Over(Ended::Left));
        }
        self.end(Ended::Left);
        self.link.finish(Frames::packet(&Packet::Noop));
        self.state = State::Closing { until: now + GOODBYE };
        Ok(())
    }

    /// A packet came by the transport of the session.
    fn packet(&mut self, packet: Packet<'_>, now: Instant) -> Result<(), Fault> {
        let message = match self.engine.received(packet, self.table.config(), now) {
            Receipt::Nothing => return Ok(()),
            Receipt::Pong => {
                self.session.ponged();
                return Ok(());
            }
            Receipt::Text(text) => Message::Text(text),
            Receipt::Binary(bytes) => Message::Binary(bytes),
            Receipt::Close => return Err(Fault::Over(Ended::Left)),
            Receipt::Violation => return Err(Fault::Close(Close::PolicyViolation)),
        };
        self.session.message(message).map_err(Fault::Close)
    }

    fn received(&mut self, message: Incoming, now: Instant) -> Result<(), Fault> {
        let message = match message {
            Some(Ok(message)) => message,
            Some(Err(error)) => return Err(broken(&error)),
            None => return Err(Fault::Over(Ended::Gone)),
        };
        if matches!(self.state, State::Closing { .. }) {
            return Ok(());
        }
        // A deadline that has passed counts, even when the agenda is late.
        self.expire(now)?;
        match message {
            tungstenite::Message::Text(text) => {
                let packet = Packet::decode(&text).map_err(|_| Fault::Close(Close::InvalidPayload))?;
                match self.packet(packet, now) {
                    Err(Fault::Over(Ended::Left)) => {
                        self.end(Ended::Left);
                        self.begin_goodbye(Close::Normal);
                        Ok(())
                    }
                    result => result,
                }
            }
            tungstenite::Message::Binary(bytes) => self.packet(Packet::Binary(bytes), now),
            // Answered already, or nothing to us; the stream ends by itself.
            _ => Ok(()),
        }
    }

    fn propose(&mut self, socket: Box<WebSocket>, now: Instant) {
        if matches!(self.state, State::Open) && self.engine.propose(self.table.config(), now) {
            self.candidate = Some(socket);
        } else {
            socket.close(Close::PolicyViolation);
        }
    }

    fn candidate_said(&mut self, message: Incoming, now: Instant) {
        let text = match message {
            Some(Ok(tungstenite::Message::Text(text))) => Some(text),
            Some(Ok(tungstenite::Message::Ping(_) | tungstenite::Message::Pong(_))) => return,
            _ => None,
        };
        let packet = text.as_deref().and_then(|text| Packet::decode(text).ok());
        match packet.map_or(Probe::Refuse, |packet| self.engine.probed(&packet, now)) {
            Probe::Answer => {
                if let Some(candidate) = &self.candidate {
                    candidate.write(Frames::packet(&Packet::Pong(PROBE)));
                }
            }
            Probe::Switch => {
                if let Some(mut socket) = self.candidate.take() {
                    self.link.switch(&mut socket);
                    self.socket = Some(socket);
                }
            }
            Probe::Refuse => {
                self.engine.give_up_candidate();
                self.refuse_candidate();
            }
        }
    }

    fn refuse_candidate(&mut self) {
        if let Some(candidate) = self.candidate.take() {
            candidate.close(Close::PolicyViolation);
        }
    }

    /// Ends the session from here. Errs when there is nobody to be told.
    fn begin_close(&mut self, close: Close) -> Result<(), Ended> {
        let ended = Ended::Closed(close);
        if matches!(self.state, State::Closing { .. }) {
            return Ok(());
        }
        self.end(ended);
        self.begin_goodbye(close);
        // There may be requests left to be answered.
        self.link.call();
        match self.finish_polling() {
            Err(Fault::Over(ended)) => Err(ended),
            Ok(()) | Err(Fault::Close(_)) => Ok(()),
        }
    }

    fn begin_goodbye(&mut self, close: Close) {
        if let Some(body) = self.body.take() {
            refuse(body.answer, Refusal::UnknownSession);
        }
        self.refuse_candidate();
        match &self.socket {
            Some(socket) => socket.close(close),
            None => self.link.finish(Frames::packet(&Packet::Close)),
        }
        self.state = State::Closing { until: Instant::now() + GOODBYE };
    }

    /// Once a session that polls is closed, it is over when the client has what was left.
    fn finish_polling(&mut self) -> Result<(), Fault> {
        if matches!(self.state, State::Closing { .. }) && self.socket.is_none() {
            self.link.serve_poll();
            if self.link.is_drained() {
                return Err(Fault::Over(Ended::Gone));
            }
        }
        Ok(())
    }
}

impl<S: Session> Drop for Driver<S> {
    fn drop(&mut self) {
        self.table.forget(self.link.id());
    }
}

/// A frame that could not be read ends the connection, with the code of its fault.
fn broken(error: &Error) -> Fault {
    ws_reader::fault(error).map_or(Fault::Over(Ended::Gone), Fault::Close)
}

fn accept(answer: Answer) {
    // Whoever asked may be gone.
    let _ = answer.send(Ok(String::new()));
}

fn refuse(answer: Answer, refusal: Refusal) {
    let _ = answer.send(Err(refusal));
}
