//! Serves Engine.IO on a path: the table of sessions, and the way from a request to one of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chassis::listener::ConnectionGuard;
use parking_lot::Mutex;
use proto::framing::engineio::{Handshake, Packet};
use tokio_util::task::AbortOnDropHandle;

use super::agenda::Agenda;
use super::config::Config;
use super::cors;
use super::driver::Driver;
use super::engine::Engine;
use super::frames::Frames;
use super::link::{Command, Link};
use super::neighbours::Neighbours;
use super::polling;
use super::query::{Query, Sid, Transport};
use super::refusal::Refusal;
use super::service::{Ended, Service, Session};
use super::websocket::WebSocket;
use crate::wire::ws_handshake::{handshake, switching_protocols};

/// When a client that finds no place should come back, in seconds; spread, so that not all come together.
const COME_BACK: std::ops::RangeInclusive<u64> = 2..=10;

/// Serves a [`Service`] over Engine.IO. The sessions that are open when it is dropped go on without deadlines.
pub struct Server<S: Service> {
    core: Arc<Core<S>>,
    _agenda: AbortOnDropHandle<()>,
}

/// What the sessions have in common.
pub(super) struct Core<S: Service> {
    config: Config,
    service: S,
    /// The nodes that may hold a session that this one does not.
    neighbours: Option<Arc<Neighbours>>,
    /// All sessions by their secret id, which is random: nobody can name one that they were not told.
    table: Mutex<HashMap<u128, Arc<Link>>>,
    agenda: Arc<Agenda>,
}

impl<S: Service> Server<S> {
    /// Must be called within a runtime.
    pub fn new(config: Config, service: S) -> Self {
        Self::among(config, service, None)
    }

    /// The same for one of several nodes, to any of which a client's requests may come.
    pub(crate) fn among(config: Config, service: S, neighbours: Option<Arc<Neighbours>>) -> Self {
        let agenda = Arc::new(Agenda::default());
        let runs = Arc::clone(&agenda);
        let task = tokio::spawn(async move { runs.run().await });
        let core = Arc::new(Core { config, service, neighbours, table: Mutex::default(), agenda });
        Self { core, _agenda: AbortOnDropHandle::new(task) }
    }

    /// The routes. Connections have to be given out as `TokioIo<TcpStream>`.
    pub fn router(&self) -> Router {
        let path = self.core.config.path.trim_end_matches('/');
        let serve = any(async |State(core): State<Arc<Core<S>>>, request: Request| core.serve(request).await);
        Router::new()
            .route(path, serve.clone())
            .route(&format!("{path}/"), serve)
            .with_state(Arc::clone(&self.core))
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.core.table.lock().len()
    }
}

impl<S: Service> Core<S> {
    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn agenda(&self) -> &Agenda {
        &self.agenda
    }

    /// A session is over.
    pub(super) fn forget(&self, id: u128) {
        self.table.lock().remove(&id);
    }

    async fn serve(self: Arc<Self>, request: Request) -> Response {
        let allowed = match cors::allow(request.headers(), &self.config.origins) {
            Ok(allowed) => allowed,
            Err(refusal) => return refusal.into_response(),
        };
        let mut response = if request.method() == Method::OPTIONS {
            cors::preflight(request.headers())
        } else {
            self.answer(request).await.unwrap_or_else(IntoResponse::into_response)
        };
        allowed.mark(response.headers_mut());
        response
    }

    async fn answer(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let query = Query::parse(request.uri().query().unwrap_or(""));
        let transport = query.transport.ok_or(Refusal::UnknownTransport)?;
        let Some(sid) = query.sid else {
            if request.method() != Method::GET {
                return Err(Refusal::BadMethod);
            }
            if !query.is_current_revision {
                return Err(Refusal::UnsupportedRevision);
            }
            return match transport {
                Transport::Polling => self.open_polling(request),
                Transport::WebSocket => self.open_websocket(request),
            };
        };
        let Some(link) = sid.id.and_then(|id| self.table.lock().get(&id).cloned()) else {
            return match (&self.neighbours, sid.node) {
                (Some(neighbours), Some(node)) => neighbours.hand_on(&node, request).await,
                _ => Err(Refusal::UnknownSession),
            };
        };
        match (transport, request.method()) {
            (Transport::WebSocket, &Method::GET) => self.propose_websocket(request, link),
            (Transport::Polling, &Method::GET) => polling::get(&link).await,
            (Transport::Polling, &Method::POST) => polling::post(&link, request, &self.config).await,
            _ => Err(Refusal::BadRequest),
        }
    }

    fn open_polling(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let (head, _) = request.into_parts();
        let link = self.new_link()?;
        // The handshake is the answer to this request; what the session sends at once waits for the next one.
        let session = match self.service.open(&link, &head) {
            Ok(session) => session,
            Err(refusal) => {
                self.forget(link.id());
                return Err(refusal);
            }
        };
        let handshake = self.handshake(link.id(), &["websocket"]);
        let engine = Engine::new(false, &self.config, Instant::now());
        let mut driver = Driver::new(self, link, engine, session, None);
        tokio::spawn(async move { driver.run().await });
        Ok(polling::text(Packet::Open(&handshake).to_text()))
    }

    fn open_websocket(self: Arc<Self>, mut request: Request) -> Result<Response, Refusal> {
        let accept = handshake(request.headers()).map_err(|_| Refusal::BadRequest)?;
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        let guard = head.extensions.get::<ConnectionGuard>().cloned();
        let link = self.new_link()?;
        let mut session = match self.service.open(&link, &head) {
            Ok(session) => session,
            Err(refusal) => {
                self.forget(link.id());
                return Err(refusal);
            }
        };
        tokio::spawn(async move {
            let Some(mut socket) = WebSocket::open(upgrade, self.config.max_payload, guard).await else {
                session.closed(Ended::Gone);
                link.abandon();
                return self.forget(link.id());
            };
            let handshake = self.handshake(link.id(), &[]);
            socket.write(Frames::packet(&Packet::Open(&handshake)));
            link.switch(&mut socket);
            let engine = Engine::new(true, &self.config, Instant::now());
            let mut driver = Driver::new(self, link, engine, session, Some(Box::new(socket)));
            // A task of its own, for as long as the client stays: this one is larger by what it took to come here.
            tokio::spawn(async move { driver.run().await });
        });
        Ok(switching_protocols(accept))
    }

    fn propose_websocket(&self, mut request: Request, link: Arc<Link>) -> Result<Response, Refusal> {
        let accept = handshake(request.headers()).map_err(|_| Refusal::BadRequest)?;
        let guard = request.extensions().get::<ConnectionGuard>().cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        let max_payload = self.config.max_payload;
        tokio::spawn(async move {
            if let Some(socket) = WebSocket::open(upgrade, max_payload, guard).await {
                // Not taken: the socket is dropped, which closes it.
                let _ = link.command(Command::Candidate(Box::new(socket)));
            }
        });
        Ok(switching_protocols(accept))
    }

    fn new_link(&self) -> Result<Arc<Link>, Refusal> {
        let mut table = self.table.lock();
        if table.len() >= self.config.max_sessions {
            return Err(Refusal::Unavailable(Duration::from_secs(rand::random_range(COME_BACK))));
        }
        loop {
            let id = rand::random();
            if let std::collections::hash_map::Entry::Vacant(place) = table.entry(id) {
                let link = Arc::new(Link::new(id, self.config.queue_bytes, self.config.max_payload));
                return Ok(Arc::clone(place.insert(link)));
            }
        }
    }

    fn handshake(&self, id: u128, upgrades: &[&str]) -> String {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let handshake = Handshake {
            sid: Sid::write(id, self.neighbours.as_ref().and_then(|neighbours| neighbours.tag())),
            upgrades: upgrades.iter().map(ToString::to_string).collect(),
            ping_interval: millis(self.config.ping_interval),
            ping_timeout: millis(self.config.ping_timeout),
            max_payload: self.config.max_payload,
        };
        // Texts and numbers always have a form in JSON.
        serde_json::to_string(&handshake).unwrap_or_default()
    }
}
