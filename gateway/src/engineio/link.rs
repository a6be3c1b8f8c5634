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

use super::appointment::{Appointment, Kept};
use super::frames::Frames;
use super::refusal::Refusal;
use super::websocket::WebSocket;
use crate::wire::outbound::{Flush, Outbound, Push, SharedOutbound};
use crate::wire::ws_frame;

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
    /// How many bytes may wait for the client, unless the session brings a queue of its own.
    limit: usize,
    /// The most that one polling answer should hold.
    max_payload: usize,
    /// What waits for the client; taken by those who poll, written to a WebSocket.
    queue: OnceLock<SharedOutbound>,
    /// The polling request that waits for something.
    poll: Mutex<Option<Answer>>,
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

impl Link {
    pub(crate) fn new(id: u128, limit: usize, max_payload: usize) -> Self {
        Self {
            id,
            limit,
            max_payload,
            queue: OnceLock::new(),
            poll: Mutex::default(),
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

    /// Gives the session a queue that others hold as well, in place of its own; to be done before anything is sent.
    pub(crate) fn use_queue(&self, queue: SharedOutbound) {
        // There is one session, which does this once if at all.
        let _ = self.queue.set(queue);
    }

    pub(super) fn queue(&self) -> &SharedOutbound {
        self.queue.get_or_init(|| Arc::new(Outbound::to_taker(self.limit)))
    }

    pub(super) fn outbound(&self) -> &Outbound {
        (**self.queue()).as_ref()
    }

    /// Sends a message, from any thread.
    ///
    /// # Errors
    /// When it was not taken.
    pub fn send(&self, frames: Frames) -> Result<(), SendError> {
        let pushed = self.outbound().push(frames.into_bytes());
        self.flush_unless_corked();
        match pushed {
            Push::Queued => Ok(()),
            Push::Full => Err(SendError::Full),
            Push::Closed => Err(SendError::Closed),
        }
    }

    /// Sends what is bounded by what the client itself does: an answer, a ping. It passes the limit.
    pub(crate) fn send_control(&self, frames: Frames) {
        self.outbound().push_control(frames.into_bytes());
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
        self.outbound().has_room()
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

    /// Writes to the WebSocket, or wakes the task, which answers the request that waits.
    fn flush(&self) {
        if self.outbound().flush() != Flush::Done {
            self.call();
        }
    }

    /// Takes a request that waits for something; gives it back when there is one already.
    pub(super) fn poll(&self, answer: Answer) -> Result<(), Answer> {
        let mut poll = self.poll.lock();
        if poll.is_some() {
            return Err(answer);
        }
        *poll = Some(answer);
        Ok(())
    }

    /// Answers the request that waits with what there is, if there is something. Answers whether the client is still
    /// there: it may have given up the request.
    pub(super) fn serve_poll(&self) -> bool {
        let outbound = self.outbound();
        let mut poll = self.poll.lock();
        if outbound.waiting() == 0 {
            return true;
        }
        poll.take().is_none_or(|poll| poll.send(Ok(take_payload(outbound, self.max_payload))).is_ok())
    }

    /// The same, and wakes the task when there is more to do. Ready when the client gave up the request.
    pub(super) fn poll_serve(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.outbound().wake_taker(cx.waker());
        if !self.serve_poll() {
            return Poll::Ready(());
        }
        match &mut *self.poll.lock() {
            Some(poll) => poll.poll_closed(cx),
            None => Poll::Pending,
        }
    }

    /// Answers the request that waits with this packet alone. Answers whether there was one.
    pub(super) fn answer_poll(&self, packet: &Packet<'_>) -> bool {
        let poll = self.poll.lock().take();
        poll.is_some_and(|poll| poll.send(Ok(packet.to_text())).is_ok())
    }

    /// Whether nothing waits to be polled.
    pub(super) fn is_drained(&self) -> bool {
        self.outbound().waiting() == 0
    }

    /// Changes the transport: what waits goes to the WebSocket, in order, before anything that is sent later.
    pub(super) fn switch(&self, socket: &mut WebSocket) {
        socket.carry(self.queue());
        // A client has none when it asks for the change, so this one came after it and overtook it.
        if let Some(poll) = self.poll.lock().take() {
            let _ = poll.send(Err(Refusal::BadRequest));
        }
    }

    /// Takes nothing more; `last` is still sent.
    pub(super) fn finish(&self, last: Frames) {
        self.outbound().push_last(last.into_bytes());
    }

    /// Drops everything that waits, requests included.
    pub(super) fn abandon(&self) {
        self.outbound().abandon();
        drop(self.poll.lock().take());
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

/// Takes as much as one answer should hold, and at least one group: its parts stay together. The end of the session has an
/// answer of its own, since clients act on it before they act on the messages that came with it.
fn take_payload(outbound: &Outbound, limit: usize) -> String {
    let mut bytes = 0;
    let mut before = Part::Whole;
    let end = Frames::packet(&Packet::Close).into_bytes();
    let taken = outbound.take_while(|frame| {
        // What begins a message is followed by its rest, and that by what belongs to it.
        let belongs = match before {
            Part::Whole => false,
            Part::Begin => true,
            Part::Rest => ws_frame::is_binary(frame),
        };
        let fits = bytes + frame.len() <= limit && *frame != end;
        let is_wanted = bytes == 0 || belongs || fits;
        before = match before {
            Part::Begin => Part::Rest,
            _ if ws_frame::is_begin_of_text(frame) => Part::Begin,
            _ => Part::Whole,
        };
        bytes += frame.len();
        is_wanted
    });
    let mut payload = Payload::default();
    let mut taken = taken.into_iter();
    while let Some(mut frames) = taken.next() {
        if ws_frame::is_begin_of_text(&frames)
            && let Some(rest) = taken.next()
        {
            frames = [frames, rest].concat().into();
        }
        Frames::from_bytes(frames).add_to(&mut payload);
    }
    payload.into_string()
}

/// What a frame is to the one after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    /// A message, or several.
    Whole,
    /// The beginning of a message.
    Begin,
    /// The rest of a message.
    Rest,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// The packets of one polling answer after the other.
    fn answers(outbound: &Outbound, limit: usize) -> Vec<Vec<String>> {
        let mut answers = Vec::new();
        while outbound.waiting() > 0 {
            let body = take_payload(outbound, limit);
            answers.push(body.split('\u{1e}').map(str::to_owned).collect());
        }
        answers
    }

    #[test]
    fn an_answer_never_parts_an_event_from_what_belongs_to_it() {
        let outbound = Outbound::to_taker(1_000);
        let parts =
            || [ws_frame::begin_of_text("451-[1"), ws_frame::rest_of_text("]"), ws_frame::binary(&[1; 30])];
        let pair = || [ws_frame::begin_of_text("42[2"), ws_frame::rest_of_text("]"), Bytes::new()];
        outbound.push_all(parts());
        outbound.push_all(pair());
        outbound.push_all(parts());
        outbound.push_control(Frames::with_attachments("51-[3]", &[Bytes::from_static(&[2])]).into_bytes());
        let binary = format!("b{}", "AQEB".repeat(10));
        let parted = answers(&outbound, 10);
        let expected =
            [vec!["451-[1]", &binary], vec!["42[2]"], vec!["451-[1]", &binary], vec!["451-[3]", "bAg=="]];
        assert_eq!(parted, expected);
        outbound.push_all(parts());
        outbound.push_all(pair());
        assert_eq!(answers(&outbound, 1_000), [["451-[1]", &binary, "42[2]"]]);
    }
}
