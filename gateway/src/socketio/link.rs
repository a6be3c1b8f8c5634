//! The shared side of a session: what others may do to it, whatever its transport.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use proto::Close;
use proto::framing::engineio::{Packet, Payload};
use tokio::sync::oneshot;

use super::agenda::{Appointment, Kept};
use super::frames::Frames;
use super::refusal::Refusal;
use super::websocket::WebSocket;
use crate::outbound::{Flush, Outbound, Push};

/// How many requests may wait for a session's task. There are two at a time when a client keeps to the rules.
const MAILBOX: usize = 8;

/// What a request gets: a polling body, or why not.
pub(super) type Answer = oneshot::Sender<Result<String, Refusal>>;

/// What a request wants of a session.
pub(super) enum Command {
    /// What waits, as soon as something does.
    Poll(Answer),
    /// This body taken, and an empty answer.
    Post(String, Answer),
    /// To try this WebSocket.
    Candidate(Box<WebSocket>),
}

/// Why a message was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// Too much waits for the client already.
    #[error("too much waits for the client")]
    Full,
    /// The session is over.
    #[error("the session is over")]
    Closed,
}

/// See the module's documentation.
pub struct Link {
    id: u128,
    limit: usize,
    /// The most that one polling answer should hold.
    max_payload: usize,
    polling: Mutex<Polling>,
    /// Set once the transport is a WebSocket; what was queued before was moved to it.
    websocket: OnceLock<Arc<Outbound>>,
    /// `None` once nobody takes them any more.
    commands: Mutex<Option<VecDeque<Command>>>,
    close: Mutex<Option<Close>>,
    waker: AtomicWaker,
    called: AtomicBool,
    /// The session's task is at work and will flush when it is done.
    corked: AtomicBool,
    /// A polling request's body is being received.
    posting: AtomicBool,
    appointment: Mutex<Appointment>,
}

/// What waits for a client that polls, and the request that waits for it. At most one of them is there.
#[derive(Default)]
struct Polling {
    frames: VecDeque<Frames>,
    bytes: usize,
    poll: Option<Answer>,
    finished: bool,
}

impl Link {
    pub(super) fn new(id: u128, limit: usize, max_payload: usize) -> Self {
        Self {
            id,
            limit,
            max_payload,
            polling: Mutex::default(),
            websocket: OnceLock::new(),
            commands: Mutex::new(Some(VecDeque::new())),
            close: Mutex::new(None),
            waker: AtomicWaker::new(),
            called: AtomicBool::new(false),
            corked: AtomicBool::new(false),
            posting: AtomicBool::new(false),
            appointment: Mutex::default(),
        }
    }

    pub(super) const fn id(&self) -> u128 {
        self.id
    }

    /// Sends a message, from any thread.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn send(&self, frames: Frames) -> Result<(), SendError> {
        let pushed = self.push(frames, true);
        self.flush_unless_corked();
        match pushed {
            Push::Queued => Ok(()),
            Push::Full => Err(SendError::Full),
            Push::Closed => Err(SendError::Closed),
        }
    }

    /// Sends what is bounded by what the client itself does: an answer, a ping. It passes the limit.
    pub(super) fn send_control(&self, frames: Frames) {
        self.push(frames, false);
        self.flush_unless_corked();
    }

    /// Ends the session from here, after what was sent.
    pub fn close(&self, close: Close) {
        self.close.lock().get_or_insert(close);
        self.call();
    }

    /// Has [`Session::woken`](super::Session::woken) called by the session's task.
    pub fn wake(&self) {
        self.call();
    }

    /// Whether the session takes more: the client takes what it is sent.
    pub(super) fn has_room(&self) -> bool {
        match self.websocket.get() {
            Some(outbound) => outbound.has_room(),
            None => self.polling.lock().bytes < self.limit,
        }
    }

    fn push(&self, frames: Frames, is_limited: bool) -> Push {
        let to = |outbound: &Outbound, frames: Frames| {
            if is_limited {
                return outbound.push(frames.into_bytes());
            }
            outbound.push_control(frames.into_bytes());
            Push::Queued
        };
        if let Some(outbound) = self.websocket.get() {
            return to(outbound, frames);
        }
        let mut polling = self.polling.lock();
        // The transport may have changed in between, which happens under this lock.
        if let Some(outbound) = self.websocket.get() {
            return to(outbound, frames);
        }
        if polling.finished {
            return Push::Closed;
        }
        if is_limited && polling.bytes > 0 && polling.bytes + frames.len() > self.limit {
            return Push::Full;
        }
        polling.push(frames);
        Push::Queued
    }

    fn flush_unless_corked(&self) {
        if !self.corked.load(Ordering::SeqCst) {
            self.flush();
        }
    }

    /// Holds back what is sent until the session's task has handled an event.
    pub(super) fn cork(&self) {
        self.corked.store(true, Ordering::SeqCst);
    }

    pub(super) fn uncork(&self) {
        self.corked.store(false, Ordering::SeqCst);
        self.flush();
    }

    /// Writes to the WebSocket, or answers the request that waits.
    fn flush(&self) {
        match self.websocket.get() {
            Some(outbound) => {
                if outbound.flush() != Flush::Done {
                    self.call();
                }
            }
            None => {
                let mut polling = self.polling.lock();
                if !polling.frames.is_empty()
                    && let Some(poll) = polling.poll.take()
                {
                    let body = polling.take_payload(self.max_payload);
                    // Whoever asked may be gone: the session's task finds out by the request that is no more.
                    if poll.send(Ok(body)).is_err() {
                        drop(polling);
                        self.close(Close::Normal);
                    }
                }
            }
        }
    }

    /// Takes a request that waits for something; gives it back when there is one already.
    pub(super) fn poll(&self, answer: Answer) -> Result<(), Answer> {
        let mut polling = self.polling.lock();
        if polling.poll.is_some() {
            return Err(answer);
        }
        polling.poll = Some(answer);
        Ok(())
    }

    /// Answers the request that waits with this packet alone. Answers whether there was one.
    pub(super) fn answer_poll(&self, packet: &Packet<'_>) -> bool {
        let poll = self.polling.lock().poll.take();
        poll.is_some_and(|poll| poll.send(Ok(packet.to_text())).is_ok())
    }

    /// Ready when the client gave up the request that waits.
    pub(super) fn poll_aborted(&self, cx: &mut Context<'_>) -> Poll<()> {
        match &mut self.polling.lock().poll {
            Some(poll) => poll.poll_closed(cx),
            None => Poll::Pending,
        }
    }

    /// Whether nothing waits to be polled.
    pub(super) fn is_drained(&self) -> bool {
        self.polling.lock().frames.is_empty()
    }

    /// Changes the transport: what waits goes to the WebSocket, in order, before anything that is sent later.
    pub(super) fn switch(&self, outbound: &Arc<Outbound>) {
        let mut polling = self.polling.lock();
        for frames in std::mem::take(&mut polling.frames) {
            outbound.push_control(frames.into_bytes());
        }
        polling.bytes = 0;
        // There is one change at most.
        let _ = self.websocket.set(Arc::clone(outbound));
        if let Some(poll) = polling.poll.take() {
            // The client must not have one any more.
            let _ = poll.send(Ok(Packet::Noop.to_text()));
        }
    }

    /// Takes nothing more; `last` is still sent.
    pub(super) fn finish(&self, last: Option<Frames>) {
        let mut polling = self.polling.lock();
        if let Some(last) = last
            && !polling.finished
        {
            polling.push(last);
        }
        polling.finished = true;
    }

    /// Drops everything that waits, requests included.
    pub(super) fn abandon(&self) {
        if let Some(outbound) = self.websocket.get() {
            outbound.abandon();
        }
        *self.polling.lock() = Polling { finished: true, ..Polling::default() };
        let refused = self.commands.lock().take();
        drop(refused);
    }

    /// Hands a request to the session's task.
    pub(super) fn command(&self, command: Command) -> Result<(), Refusal> {
        match self.commands.lock().as_mut() {
            None => return Err(Refusal::UnknownSession),
            Some(commands) if commands.len() >= MAILBOX => return Err(Refusal::BadRequest),
            Some(commands) => commands.push_back(command),
        }
        self.call();
        Ok(())
    }

    pub(super) fn take_command(&self) -> Option<Command> {
        let mut commands = self.commands.lock();
        let command = commands.as_mut()?.pop_front();
        if command.is_none() {
            // Most sessions are WebSockets, to which no request comes.
            *commands = Some(VecDeque::new());
        }
        command
    }

    pub(super) fn take_close(&self) -> Option<Close> {
        self.close.lock().take()
    }

    /// Marks that a body is being received; false when another one is.
    pub(super) fn begin_post(&self) -> bool {
        !self.posting.swap(true, Ordering::AcqRel)
    }

    pub(super) fn end_post(&self) {
        self.posting.store(false, Ordering::Release);
    }

    /// Makes the session's task look at what happened.
    pub(super) fn call(&self) {
        self.called.store(true, Ordering::Release);
        self.waker.wake();
    }

    /// Whether the task was called since it last asked; wakes it at the next call.
    pub(super) fn was_called(&self, waker: &Waker) -> bool {
        self.waker.register(waker);
        self.called.swap(false, Ordering::AcqRel)
    }

    pub(super) const fn appointment(&self) -> &Mutex<Appointment> {
        &self.appointment
    }

    /// An entry of the agenda has come up: answers to when it is to be moved, if it is still needed.
    pub(super) fn keep_appointment(&self, at: Instant, now: Instant) -> Option<Instant> {
        let kept = self.appointment.lock().keep(at, now);
        match kept {
            Kept::Moved(later) => Some(later),
            Kept::Overtaken => None,
            Kept::Due => {
                self.call();
                None
            }
        }
    }
}

impl Polling {
    fn push(&mut self, frames: Frames) {
        self.bytes += frames.len();
        self.frames.push_back(frames);
    }

    /// Takes as much as one answer should hold, and at least one group: its parts stay together.
    fn take_payload(&mut self, limit: usize) -> String {
        let mut payload = Payload::default();
        while let Some(next) = self.frames.front()
            && (payload.is_empty() || payload.len() + next.len() <= limit)
        {
            if let Some(frames) = self.frames.pop_front() {
                self.bytes -= frames.len();
                frames.add_to(&mut payload);
            }
        }
        payload.into_string()
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The id lets anyone take part in the session.
        formatter.debug_struct("Link").finish_non_exhaustive()
    }
}

/// A binary or text message of a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message<'a> {
    /// Text.
    Text(&'a str),
    /// Bytes.
    Binary(Bytes),
}
