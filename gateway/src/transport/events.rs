//! Sessions over server-sent events: for clients that only listen, and networks that let nothing else through.
//!
//! `GET /events?rooms=a,b` joins these rooms; `Last-Event-ID`, or `?since=` with the same text, resumes them and the
//! user's own channel.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use axum::http::{HeaderName, Response};
use bytes::Bytes;
use chassis::listener::ConnectionGuard;
use chassis::problem::Problem;
use futures_util::Stream;
use proto::{Channel, Command, Cursor, ErrorCode, Room};
use serde::Deserialize;

use super::door::Door;
use crate::connection::{Connection, Incoming, Transport};
use crate::node::Node;
use crate::peer::Peer;
use crate::session::Handshake;
use crate::wire::event_stream::{self, MEDIA_TYPE};
use crate::wire::outbound::Outbound;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// What stands in the query.
#[derive(Deserialize)]
struct Wanted {
    /// Rooms, separated by commas.
    #[serde(default)]
    rooms: String,
    since: Option<String>,
}

impl Door {
    /// Answers with a stream of events. What is wrong is told by the status: a browser gives up then, as it should.
    pub(crate) async fn stream(self, request: Request) -> Result<Response<Body>, Problem> {
        self.admit(request.headers())?;
        let carried = self.credential(&request)?;
        let token = carried.credential.map(Cow::into_owned);
        let identity = self.identify(token.as_deref()).await?;
        let invalid = |message: String| Problem::new(ErrorCode::InvalidMessage).detail(message);
        let Query(wanted) =
            Query::<Wanted>::try_from_uri(request.uri()).map_err(|error| invalid(error.to_string()))?;
        let since = match request.headers().get(LAST_EVENT_ID) {
            Some(value) => Some(value.to_str().map_err(|_| Problem::new(ErrorCode::InvalidPosition))?),
            None => wanted.since.as_deref(),
        };
        let since: Cursor = since.map_or(Ok(Cursor::default()), str::parse).map_err(|error| {
            Problem::new(ErrorCode::InvalidPosition).detail(format!("Last-Event-ID or since {error}"))
        })?;

        let mut joins = VecDeque::new();
        for name in wanted.rooms.split(',').filter(|name| !name.is_empty()) {
            let room = Room::new(name).map_err(|error| {
                Problem::new(ErrorCode::InvalidName).detail(format!("rooms: {name:?} {error}"))
            })?;
            let channel = Channel::room(&identity.tenant, &room);
            if !identity.may_join(&room, self.terms.channels.of(&channel)) {
                return Err(Problem::new(ErrorCode::Forbidden)
                    .detail(format!("the token does not allow to join the room {room}")));
            }
            joins.push_back(Command::Join { room, since: since.get(&channel.public_name()) });
        }
        if joins.len() > self.terms.endpoint.max_rooms {
            return Err(Problem::new(ErrorCode::LimitReached).detail("too many rooms for one stream"));
        }

        let outbound = Outbound::to_taker(self.terms.endpoint.queue_bytes);
        let peer = Arc::new(self.peer(outbound));
        let stream = EventStream {
            node: Arc::clone(&self.node),
            peer: Arc::clone(&peer),
            cursor: Cursor::default(),
            taken: VecDeque::new(),
        };
        let guard = request.extensions().get::<ConnectionGuard>().cloned();
        let transport = Listening { joins, peer: Arc::clone(&peer) };
        let mut connection = Connection::new(self.node, self.terms, peer, transport, guard);
        connection.begin(Handshake { token, since, resume: None, device: None });
        tokio::spawn(async move { connection.run().await });

        let mut response = Response::new(Body::from_stream(stream));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // nginx would hold events back otherwise.
        headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
        Ok(response)
    }
}

/// The session's side: it asks for its rooms, then only listens.
struct Listening {
    joins: VecDeque<Command>,
    peer: Arc<Peer>,
}

impl Transport for Listening {
    fn poll_writable(&mut self, _cx: &mut Context<'_>) -> Poll<()> {
        // What is to be taken is never refused for want of room.
        Poll::Pending
    }

    fn poll_incoming(&mut self, _cx: &mut Context<'_>) -> Poll<Incoming> {
        if self.peer.has_hung_up() {
            return Poll::Ready(Incoming::Gone);
        }
        // Whoever hangs up calls the connection, so there is nobody to wake it here.
        match self.joins.pop_front() {
            Some(command) => Poll::Ready(Incoming::Request(Ok(proto::Request { id: None, command }))),
            None => Poll::Pending,
        }
    }
}

/// The response's side: takes what is queued, and says with each event where the client stands in all channels.
struct EventStream {
    node: Arc<Node>,
    peer: Arc<Peer>,
    cursor: Cursor,
    taken: VecDeque<Bytes>,
}

impl Stream for EventStream {
    type Item = Result<Bytes, Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(event) = self.taken.pop_front() {
                let (moved, rest) = event_stream::split_id(event);
                let Some(moved) = moved else { return Poll::Ready(Some(Ok(rest))) };
                self.cursor.merge(moved);
                self.taken.push_front(rest);
                return Poll::Ready(Some(Ok(event_stream::id_line(&self.cursor))));
            }
            // The body is asked for more when the socket took what there was: a sign of life.
            self.peer.hear(self.node.pulse.second());
            match ready!(self.peer.poll_take(cx)) {
                Some(taken) => self.taken = taken,
                None => return Poll::Ready(None),
            }
        }
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        self.peer.hang_up();
    }
}
