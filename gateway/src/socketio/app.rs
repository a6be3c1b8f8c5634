//! Socket.IO over Engine.IO: which namespaces a client is connected to, and the application behind them.

use std::sync::Arc;
use std::time::Instant;

use axum::http::request;
use proto::Close;
use proto::framing::socketio::{Body, Packet};
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use smallvec::SmallVec;

use super::assembly::{Assembly, Content, Event, Violation, Whole};
use super::socket::Socket;
use crate::engineio::{Config, Ended, Frames, Link, Message, Refusal, Service, Session};

/// The application: decides who may connect to which namespace.
pub trait App: Send + Sync + 'static {
    /// What is kept of the first request of a client, such as a token in its header.
    type Visitor: Send + 'static;
    /// A client's connection to a namespace.
    type Handler: Handler;

    /// A client has come.
    ///
    /// # Errors
    /// When it is not to be let in, whatever the namespace. It comes back by itself, other than after [`NotConnected`].
    fn visit(&self, head: &request::Parts) -> Result<Self::Visitor, Refusal>;

    /// The client wants to be connected to a namespace; `auth` is the object that it authenticates by.
    ///
    /// # Errors
    /// What it is told. It does not come back by itself.
    fn connect(
        &self,
        visitor: &Self::Visitor,
        namespace: &str,
        auth: Option<&RawValue>,
    ) -> Result<Self::Handler, NotConnected>;
}

/// A client's connection to a namespace: belongs to the session's task, and is told everything in order.
pub trait Handler: Send + 'static {
    /// The client knows that it is connected.
    fn connected(&mut self, socket: &Socket);

    /// The client sent an event. One with an id should be acknowledged.
    fn event(&mut self, socket: &Socket, event: Event);

    /// The client has left the namespace, or is gone.
    fn disconnected(&mut self, socket: &Socket, ended: Ended);
}

/// Why a client is not connected to a namespace.
#[derive(Debug, Clone, Serialize)]
pub struct NotConnected {
    /// For people.
    pub message: String,
    /// For programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Box<RawValue>>,
}

impl NotConnected {
    /// There is no such namespace.
    pub fn invalid_namespace() -> Self {
        Self { message: "Invalid namespace".to_owned(), data: None }
    }
}

/// Serves an application.
pub struct SocketIo<A> {
    app: Arc<A>,
    config: Config,
}

impl<A: App> SocketIo<A> {
    /// With the limits of that configuration.
    pub fn new(app: A, config: &Config) -> Self {
        Self { app: Arc::new(app), config: config.clone() }
    }
}

impl<A: App> Service for SocketIo<A> {
    type Session = Client<A>;

    fn open(&self, link: &Arc<Link>, head: &request::Parts) -> Result<Client<A>, Refusal> {
        Ok(Client {
            visitor: self.app.visit(head)?,
            app: Arc::clone(&self.app),
            link: Arc::clone(link),
            assembly: Assembly::new(self.config.max_attachments, self.config.max_payload),
            spaces: SmallVec::new(),
            connect_by: Some(Instant::now() + self.config.connect_timeout),
            max_namespaces: self.config.max_namespaces,
            max_awaited: self.config.max_awaited,
        })
    }
}

/// One client of Socket.IO.
pub struct Client<A: App> {
    visitor: A::Visitor,
    app: Arc<A>,
    link: Arc<Link>,
    assembly: Assembly,
    spaces: SmallVec<[Space<A::Handler>; 1]>,
    /// Until when it has to be connected to a namespace.
    connect_by: Option<Instant>,
    max_namespaces: usize,
    max_awaited: usize,
}

/// A namespace that the client is or was connected to.
struct Space<H> {
    socket: Socket,
    /// `None` once the client was disconnected from here, which it may not know yet.
    handler: Option<H>,
}

#[derive(Serialize)]
struct Connected<'a> {
    sid: &'a str,
}

impl<A: App> Session for Client<A> {
    fn message(&mut self, message: Message<'_>) -> Result<(), Close> {
        let result = match self.assembly.take(message) {
            Ok(Some(whole)) => self.packet(whole),
            Ok(None) => Ok(()),
            Err(violation) => Err(violation),
        };
        result.map_err(|Violation| Close::PolicyViolation)
    }

    fn deadline(&self) -> Option<Instant> {
        self.connect_by
    }

    fn expired(&mut self) -> Result<(), Close> {
        Err(Close::AuthTimeout)
    }

    fn woken(&mut self) {
        for space in &mut self.spaces {
            if space.socket.is_left() {
                space.leave(Ended::Closed(Close::Disconnected));
            }
        }
    }

    fn closed(&mut self, ended: Ended) {
        for mut space in self.spaces.drain(..) {
            space.leave(ended);
        }
    }
}

impl<H: Handler> Space<H> {
    fn leave(&mut self, ended: Ended) {
        self.socket.leave();
        if let Some(mut handler) = self.handler.take() {
            handler.disconnected(&self.socket, ended);
        }
    }
}

impl<A: App> Client<A> {
    fn packet(&mut self, whole: Whole) -> Result<(), Violation> {
        let place = self.spaces.iter().position(|space| space.socket.namespace() == whole.namespace);
        let space = place.and_then(|place| Some((place, self.spaces.get_mut(place)?)));
        match (whole.content, space) {
            (Content::Connect(auth), None) => self.connect(whole.namespace, auth.as_deref()),
            (Content::Connect(auth), Some((place, Space { handler: None, .. }))) => {
                self.spaces.swap_remove(place);
                self.connect(whole.namespace, auth.as_deref())
            }
            // It was disconnected from here while this was on its way.
            (_, Some((_, Space { handler: None, .. }))) => Ok(()),
            (Content::Event(event), Some((_, Space { socket, handler: Some(handler) }))) => {
                handler.event(socket, event);
                Ok(())
            }
            (Content::Ack(id, arguments), Some((_, Space { socket, .. }))) => {
                socket.acknowledged(id, arguments);
                Ok(())
            }
            (Content::Disconnect, Some((place, _))) => {
                self.spaces.swap_remove(place).leave(Ended::Left);
                Ok(())
            }
            (Content::Connect(_), Some(_))
            | (Content::Event(_) | Content::Ack(..) | Content::Disconnect, None) => Err(Violation),
        }
    }

    fn connect(&mut self, namespace: String, auth: Option<&RawValue>) -> Result<(), Violation> {
        if self.spaces.len() >= self.max_namespaces {
            return Err(Violation);
        }
        let mut handler = match self.app.connect(&self.visitor, &namespace, auth) {
            Ok(handler) => handler,
            Err(refused) => {
                self.answer(&namespace, Body::ConnectError(&json(&refused)));
                return Ok(());
            }
        };
        self.connect_by = None;
        let id = format!("{:032x}", rand::random::<u128>());
        self.answer(&namespace, Body::Connect(Some(&json(&Connected { sid: &id }))));
        let socket = Socket::new(Arc::clone(&self.link), namespace.into(), id, self.max_awaited);
        handler.connected(&socket);
        self.spaces.push(Space { socket, handler: Some(handler) });
        Ok(())
    }

    fn answer(&self, namespace: &str, body: Body<'_>) {
        self.link.send_control(Frames::text(&Packet { namespace, body }.to_text()));
    }
}

/// Texts and raw JSON always have a form in JSON.
fn json(value: &impl Serialize) -> Box<RawValue> {
    to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
