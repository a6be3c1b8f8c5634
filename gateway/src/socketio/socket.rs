//! A client's connection to a namespace, as the application holds it.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use parking_lot::Mutex;
use proto::Close;
use proto::framing::socketio::{Body, Packet};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use slab::Slab;
use tokio::sync::oneshot;

use super::assembly::Arguments;
use crate::engineio::{Frames, Link, SendError};

/// See the module's documentation. Clones are the same socket.
#[derive(Debug, Clone)]
pub struct Socket(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    link: Arc<Link>,
    namespace: Box<str>,
    id: String,
    awaited: Mutex<Awaited>,
    is_left: AtomicBool,
}

/// The acknowledgements that were asked for. A place is used again when its acknowledgement has come; a generation in the
/// id keeps a late one from being taken for its successor's.
#[derive(Debug)]
struct Awaited {
    places: Slab<(u64, oneshot::Sender<Arguments>)>,
    limit: usize,
    generation: u64,
}

/// How many bits of an acknowledgement id are its generation. Ids have to be exact as numbers of JavaScript (2^53).
const GENERATION_BITS: u32 = 32;

/// Why an event was not sent.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// What was given is not an array, as tuples, arrays and vectors are.
    #[error("an event has to be given as an array")]
    NotAnArray,
    /// Too many acknowledgements are awaited from the client already.
    #[error("too many acknowledgements are awaited from the client")]
    TooManyAwaited,
    /// It was not taken.
    #[error(transparent)]
    Send(#[from] SendError),
}

/// The client has left, or is gone, before it acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client is gone")]
pub struct Unacknowledged;

/// What the client answers to an event.
#[derive(Debug)]
pub struct Acknowledgement(oneshot::Receiver<Arguments>);

impl Socket {
    pub(super) fn new(link: Arc<Link>, namespace: Box<str>, id: String, max_awaited: usize) -> Self {
        let awaited = Mutex::new(Awaited { places: Slab::new(), limit: max_awaited, generation: 0 });
        Self(Arc::new(Shared { link, namespace, id, awaited, is_left: AtomicBool::new(false) }))
    }

    /// The public id, which the client knows too. Not that of the session, which is a secret.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The namespace.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// Sends an event: its name, then its arguments, together as a tuple, an array or a vector.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn emit(&self, event: &impl Serialize, attachments: &[Bytes]) -> Result<(), EmitError> {
        let frames = self::event(&self.0.namespace, None, event, attachments)?;
        self.send(frames)
    }

    /// Sends what was built once for many: see [`event`].
    ///
    /// # Errors
    /// When it was not taken.
    pub fn send(&self, frames: Frames) -> Result<(), EmitError> {
        if self.is_left() {
            return Err(SendError::Closed.into());
        }
        self.0.link.send(frames).map_err(EmitError::Send)
    }

    /// Sends an event and asks for an acknowledgement.
    ///
    /// # Errors
    /// When it cannot be sent.
    pub fn ask(&self, event: &impl Serialize, attachments: &[Bytes]) -> Result<Acknowledgement, EmitError> {
        let (id, answer) = self.0.awaited.lock().add().ok_or(EmitError::TooManyAwaited)?;
        let sent =
            self::event(&self.0.namespace, Some(id), event, attachments).and_then(|frames| self.send(frames));
        if let Err(error) = sent {
            self.0.awaited.lock().take(id);
            return Err(error);
        }
        Ok(Acknowledgement(answer))
    }

    /// Acknowledges the event of that id.
    ///
    /// # Errors
    /// When the arguments are no array.
    pub fn acknowledge(
        &self,
        id: u64,
        arguments: &impl Serialize,
        attachments: &[Bytes],
    ) -> Result<(), EmitError> {
        let arguments = array(arguments)?;
        let body = Body::Ack { id, arguments: &arguments, attachments: attachments.len() };
        let packet = Packet { namespace: &self.0.namespace, body };
        // Bounded by what the client asks: nothing is taken from one that does not take its answers.
        self.0.link.send_control(Frames::with_attachments(&packet.to_text(), attachments));
        Ok(())
    }

    /// Disconnects the client from the namespace. It does not come back by itself.
    pub fn disconnect(&self) {
        if !self.0.is_left.swap(true, Ordering::AcqRel) {
            let packet = Packet { namespace: &self.0.namespace, body: Body::Disconnect };
            self.0.link.send_control(Frames::text(&packet.to_text()));
            self.0.link.wake();
        }
    }

    /// Ends the whole session, with all its namespaces. The client comes back by itself.
    pub fn close(&self, close: Close) {
        self.0.link.close(close);
    }

    /// Whether either side has left.
    pub(super) fn is_left(&self) -> bool {
        self.0.is_left.load(Ordering::Acquire)
    }

    /// The client acknowledged an event.
    pub(super) fn acknowledged(&self, id: u64, arguments: Arguments) {
        // Who asked may have lost interest; and a client may acknowledge what nobody asked.
        let asked = self.0.awaited.lock().take(id);
        if let Some(asked) = asked {
            let _ = asked.send(arguments);
        }
    }

    /// The client has left the namespace: nobody will acknowledge any more.
    pub(super) fn leave(&self) {
        self.0.is_left.store(true, Ordering::Release);
        let mut awaited = self.0.awaited.lock();
        awaited.places = Slab::new();
        awaited.limit = 0;
    }
}

impl Awaited {
    fn add(&mut self) -> Option<(u64, oneshot::Receiver<Arguments>)> {
        if self.places.len() >= self.limit {
            self.places.retain(|_, (_, asked)| !asked.is_closed());
        }
        if self.places.len() >= self.limit {
            return None;
        }
        self.generation = (self.generation + 1) % (1 << GENERATION_BITS);
        let (asked, answer) = oneshot::channel();
        let place = u64::try_from(self.places.insert((self.generation, asked))).ok()?;
        Some(((place << GENERATION_BITS) | self.generation, answer))
    }

    fn take(&mut self, id: u64) -> Option<oneshot::Sender<Arguments>> {
        let place = usize::try_from(id >> GENERATION_BITS).ok()?;
        let (generation, _) = self.places.get(place)?;
        if *generation != id % (1 << GENERATION_BITS) {
            return None;
        }
        self.places.try_remove(place).map(|(_, asked)| asked)
    }
}

impl Future for Acknowledgement {
    type Output = Result<Arguments, Unacknowledged>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map_err(|_| Unacknowledged)
    }
}

/// Builds an event once, to be sent to any number of sockets of a namespace; with an id, it asks for an
/// acknowledgement.
///
/// # Errors
/// When the event is no array.
pub fn event(
    namespace: &str,
    id: Option<u64>,
    event: &impl Serialize,
    attachments: &[Bytes],
) -> Result<Frames, EmitError> {
    let arguments = array(event)?;
    let body = Body::Event { id, arguments: &arguments, attachments: attachments.len() };
    Ok(Frames::with_attachments(&Packet { namespace, body }.to_text(), attachments))
}

fn array(value: &impl Serialize) -> Result<Box<RawValue>, EmitError> {
    let json = to_raw_value(value).map_err(|_| EmitError::NotAnArray)?;
    if json.get().starts_with('[') { Ok(json) } else { Err(EmitError::NotAnArray) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn socket(max_awaited: usize) -> Socket {
        let link = Arc::new(Link::new(1, 1_000, 1_000));
        Socket::new(link, "/".into(), "id".to_owned(), max_awaited)
    }

    fn arguments() -> Arguments {
        let mut assembly = super::super::assembly::Assembly::new(0, 0);
        let whole = assembly.take(crate::engineio::Message::Text("30[true]")).unwrap().unwrap();
        let super::super::assembly::Content::Ack(_, arguments) = whole.content else { panic!("{whole:?}") };
        arguments
    }

    #[tokio::test]
    async fn an_answer_reaches_who_asked_and_counts_once() {
        let socket = socket(2);
        let first = socket.ask(&("a",), &[]).unwrap();
        socket.acknowledged(1, arguments());
        assert_eq!(first.await.unwrap().items()[0].get(), "true");
        let second = socket.ask(&("b",), &[]).unwrap();
        // The first one's answer again, and one that nobody asked for.
        socket.acknowledged(1, arguments());
        socket.acknowledged(u64::MAX, arguments());
        socket.leave();
        assert_eq!(second.await.unwrap_err(), Unacknowledged);
    }

    #[test]
    fn awaited_answers_are_bounded_and_those_given_up_make_room() {
        let socket = socket(2);
        let first = socket.ask(&("a",), &[]).unwrap();
        let _second = socket.ask(&("b",), &[]).unwrap();
        assert!(matches!(socket.ask(&("c",), &[]), Err(EmitError::TooManyAwaited)));
        drop(first);
        assert!(socket.ask(&("c",), &[]).is_ok());
    }

    #[test]
    fn an_event_is_an_array() {
        let socket = socket(0);
        assert!(matches!(socket.emit(&"a", &[]), Err(EmitError::NotAnArray)));
        assert!(socket.emit(&("a", 1), &[]).is_ok());
    }
}
