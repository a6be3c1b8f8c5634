//! Sessions over Socket.IO: a client of the layers `engineio` and `socketio` is one connection of this node, whatever its transport.
//!
//! A packet becomes a request of the session, and what the session and the hub have to say are packets that wait in the
//! queue of the layer, from where they are polled or written. Everything runs in the task of the Engine.IO session.

mod pipe;

use std::borrow::Cow;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::http::request;
use bytes::Bytes;
use proto::framing::Framing;
use proto::framing::socketio::{Body, Events, Packet, as_texts};
use proto::{Close, Cursor, DeviceId, SessionId};
use serde::Deserialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::connection::{Connection, Incoming};
use crate::endpoint::Endpoint;
use crate::engineio::neighbours::Neighbours;
use crate::engineio::{Config, Ended, Frames, Link, Message, Refusal, Server, Service, Session};
use crate::peer::Peer;
use crate::session::{Handshake, Resume};
use crate::socketio::assembly::{Assembly, Content, Event, Violation};
use crate::socketio::{Arguments, NotConnected};
use crate::transport::door::Door;
use crate::wire::outbound::Outbound;
use pipe::{End, Pipe};

/// How long a client that is not connected to the namespace, or no more, may keep its transport.
const LINGER: Duration = Duration::from_secs(5);

/// Serves an endpoint.
pub(crate) fn server(door: Door, neighbours: Option<Arc<Neighbours>>) -> Server<Door> {
    Server::among(config(&door.terms.endpoint), door, neighbours)
}

fn config(endpoint: &Endpoint) -> Config {
    Config {
        path: endpoint.path.clone(),
        origins: endpoint.origins.clone(),
        max_payload: endpoint.max_message,
        queue_bytes: endpoint.queue_bytes,
        ..Config::default()
    }
}

/// One client.
pub(crate) struct Client {
    door: Door,
    link: Arc<Link>,
    peer: Arc<Peer>,
    assembly: Assembly,
    /// What the first request carried, for clients that send no token later.
    token: Option<String>,
    state: State,
}

enum State {
    /// It is not connected to the namespace yet, or not any more.
    Apart {
        until: Instant,
        may_connect: bool,
    },
    Connected(Box<Connection<Pipe>>),
}

/// What a client says of itself when it connects to the namespace. Other fields belong to the application.
#[derive(Default, Deserialize)]
struct Auth<'a> {
    #[serde(borrow)]
    token: Option<Cow<'a, str>>,
    /// The session that it wants to go on with.
    #[serde(borrow)]
    pid: Option<Cow<'a, str>>,
    /// The last thing that it was told of where it is.
    #[serde(borrow)]
    offset: Option<Cow<'a, str>>,
    /// Which of the user's devices it is.
    #[serde(borrow)]
    device: Option<Cow<'a, str>>,
}

impl Service for Door {
    type Session = Client;

    fn open(&self, link: &Arc<Link>, head: &request::Parts) -> Result<Client, Refusal> {
        if let Some(wait) = self.node.drain.refusal() {
            return Err(Refusal::Unavailable(wait));
        }
        let endpoint = &self.terms.endpoint;
        let config = config(endpoint);
        let peer = Arc::new(self.peer(Outbound::to_taker(endpoint.queue_bytes)));
        link.use_queue(Arc::clone(&peer) as _);
        Ok(Client {
            door: self.clone(),
            link: Arc::clone(link),
            peer,
            assembly: Assembly::new(config.max_attachments, config.max_payload),
            // One that cannot be read is there, and no good.
            token: self.carried(head).unwrap_or_else(|_| Some(String::new())),
            state: State::Apart { until: Instant::now() + endpoint.auth_timeout, may_connect: true },
        })
    }
}

impl Session for Client {
    fn message(&mut self, message: Message<'_>) -> Result<(), Close> {
        const WRONG: Close = Close::PolicyViolation;
        let Some(whole) = self.assembly.take(message).map_err(|Violation| WRONG)? else { return Ok(()) };
        let Framing::SocketIo(events) = &self.door.terms.endpoint.framing else {
            return Err(Close::Internal);
        };
        let events = Arc::clone(events);
        let is_known = whole.namespace == events.namespace();
        match (whole.content, &mut self.state) {
            (Content::Connect(_), _) if !is_known => self.refuse(&whole.namespace),
            (_, _) if !is_known => return Err(WRONG),
            (Content::Connect(auth), State::Apart { may_connect: true, .. }) => self.connect(auth.as_deref()),
            (Content::Event(event), State::Connected(connection)) => {
                connection.transport().give(Incoming::Request(decode(&events, &event)));
            }
            (Content::Disconnect, State::Connected(connection)) => connection.transport().leave(),
            (Content::Ack(id, arguments), State::Connected(_)) => self.answered(id, &arguments),
            // It was on its way when the connection ended.
            (Content::Ack(..), _) => {}
            (Content::Event(_) | Content::Disconnect, State::Apart { may_connect: false, .. }) => {}
            (Content::Connect(_) | Content::Event(_) | Content::Disconnect, _) => return Err(WRONG),
        }
        Ok(())
    }

    fn is_ready(&self) -> bool {
        match &self.state {
            State::Connected(connection) => connection.takes_more(),
            State::Apart { .. } => true,
        }
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Close> {
        let State::Connected(connection) = &mut self.state else { return Poll::Pending };
        if connection.poll_run(cx).is_pending() {
            return Poll::Pending;
        }
        let end = connection.transport().end();
        self.part();
        match end {
            Some(End::Refused | End::Left) => Poll::Pending,
            Some(End::Closed(close)) => Poll::Ready(close),
            None => Poll::Ready(Close::Normal),
        }
    }

    fn wants_ping(&mut self) -> bool {
        match &mut self.state {
            State::Connected(connection) => connection.transport().asks(),
            State::Apart { .. } => false,
        }
    }

    fn pinged(&mut self) {
        if let State::Connected(connection) = &mut self.state {
            connection.transport().asked();
        }
    }

    fn ponged(&mut self) {
        if let State::Connected(connection) = &mut self.state {
            connection.transport().answer();
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Apart { until, .. } => Some(until),
            State::Connected(_) => None,
        }
    }

    fn expired(&mut self) -> Result<(), Close> {
        match self.state {
            State::Apart { may_connect: true, .. } => Err(Close::AuthTimeout),
            State::Apart { may_connect: false, .. } => Err(Close::Normal),
            State::Connected(_) => Ok(()),
        }
    }

    fn closed(&mut self, _: Ended) {
        self.part();
    }
}

impl Client {
    fn connect(&mut self, auth: Option<&RawValue>) {
        let auth = auth.and_then(|auth| serde_json::from_str(auth.get()).ok());
        let Auth { token, pid, offset, device } = auth.unwrap_or_default();
        let token = token.map(Cow::into_owned).or_else(|| self.token.take());
        let Door { node, terms, .. } = self.door.clone();
        let pipe = Pipe::new(self.namespace().into());
        let mut connection = Box::new(Connection::new(node, terms, Arc::clone(&self.peer), pipe, None));
        let key = pid.and_then(|pid| SessionId::new(&*pid).ok());
        let resume = key.map(|key| Resume { key, told: offset.map(Cow::into_owned) });
        // What is no name is the application's own.
        let device = device.and_then(|device| DeviceId::new(device).ok());
        connection.begin(Handshake { token, since: Cursor::default(), resume, device });
        self.state = State::Connected(connection);
    }

    /// The client acknowledges an event, perhaps one that asked for it.
    fn answered(&self, id: u64, arguments: &Arguments) {
        self.door.node.inquiries.answered(&self.peer, id, |limit| {
            let (json, attachments) = (arguments.whole(), arguments.attachments());
            let size = json.get().len() + attachments.iter().map(Bytes::len).sum::<usize>();
            (size <= limit).then(|| as_texts(json, attachments))
        });
    }

    /// The connection is over. The transport may outlive it a little, for the client to end it.
    fn part(&mut self) {
        let apart = State::Apart { until: Instant::now() + LINGER, may_connect: false };
        if let State::Connected(mut connection) = std::mem::replace(&mut self.state, apart) {
            connection.end();
            self.door.node.inquiries.leave(&self.peer);
        }
    }

    fn namespace(&self) -> &str {
        match &self.door.terms.endpoint.framing {
            Framing::SocketIo(events) => events.namespace(),
            _ => proto::framing::socketio::MAIN,
        }
    }

    fn refuse(&self, namespace: &str) {
        let refusal = to_raw_value(&NotConnected::invalid_namespace());
        let refusal = refusal.unwrap_or_else(|_| RawValue::NULL.to_owned());
        let packet = Packet { namespace, body: Body::ConnectError(&refusal) };
        self.link.send_control(Frames::text(&packet.to_text()));
    }
}

/// Makes a request of an event.
fn decode(events: &Events, event: &Event) -> Result<proto::Request, proto::Invalid> {
    match event.attachments() {
        [] => events.decode_event(event.whole(), event.id()),
        attachments => events.decode_binary(event.whole(), attachments, event.id()),
    }
}
