//! Serves Engine.IO on a path: the way from a request to one of its sessions.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::Method;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use chassis::listener::ConnectionGuard;
use proto::framing::engineio::{Handshake, Packet};
use tokio_util::task::AbortOnDropHandle;

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
use super::table::Table;
use super::websocket::WebSocket;
use crate::wire::ws_handshake::{handshake, switching_protocols};

/// Serves a [`Service`] over Engine.IO. The sessions that are open when it is dropped go on without deadlines.
pub struct Server<S: Service> {
    core: Arc<Core<S>>,
    _agenda: AbortOnDropHandle<()>,
}

/// What requests need.
struct Core<S: Service> {
    service: S,
    /// The nodes that may hold a session that this one does not.
    neighbours: Option<Arc<Neighbours>>,
    table: Arc<Table>,
}

impl<S: Service> Server<S> {
    /// Must be called within a runtime.
    pub fn new(config: Config, service: S) -> Self {
        Self::among(config, service, None)
    }

    /// The same for one of several nodes, to any of which a client's requests may come.
    pub(crate) fn among(config: Config, service: S, neighbours: Option<Arc<Neighbours>>) -> Self {
        let table = Arc::new(Table::new(config));
        let agenda = Arc::clone(table.agenda());
        let task = tokio::spawn(async move { agenda.run().await });
        let core = Arc::new(Core { service, neighbours, table });
        Self { core, _agenda: AbortOnDropHandle::new(task) }
    }

    /// The routes. Connections have to be given out as `TokioIo<TcpStream>`.
    pub fn router(&self) -> Router {
        let path = self.core.table.config().path.trim_end_matches('/');
        let serve = any(async |State(core): State<Arc<Core<S>>>, request: Request| core.serve(request).await);
        Router::new()
            .route(path, serve.clone())
            .route(&format!("{path}/"), serve)
            .with_state(Arc::clone(&self.core))
    }

    /// How many sessions there are.
    pub fn sessions(&self) -> usize {
        self.core.table.len()
    }
}

impl<S: Service> Core<S> {
    async fn serve(self: Arc<Self>, request: Request) -> Response {
        let allowed = match cors::allow(request.headers(), &self.table.config().origins) {
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
        let Some(link) = sid.id.and_then(|id| self.table.find(id)) else {
            return match (&self.neighbours, sid.node) {
                (Some(neighbours), Some(node)) => neighbours.hand_on(&node, request).await,
                _ => Err(Refusal::UnknownSession),
            };
        };
        match (transport, request.method()) {
            (Transport::WebSocket, &Method::GET) => self.propose_websocket(request, link),
            (Transport::Polling, &Method::GET) => polling::get(&link).await,
            (Transport::Polling, &Method::POST) => polling::post(&link, request, self.table.config()).await,
            _ => Err(Refusal::BadRequest),
        }
    }

    fn open_polling(self: Arc<Self>, request: Request) -> Result<Response, Refusal> {
        let (head, _) = request.into_parts();
        let link = self.table.add()?;
        // The handshake is the answer to this request; what the session sends at once waits for the next one.
        let session = match self.service.open(&link, &head) {
            Ok(session) => session,
            Err(refusal) => {
                self.table.forget(link.id());
                return Err(refusal);
            }
        };
        let handshake = self.handshake(link.id(), &["websocket"]);
        let engine = Engine::new(false, self.table.config(), Instant::now());
        let mut driver = Driver::new(Arc::clone(&self.table), link, engine, session, None);
        tokio::spawn(async move { driver.run().await });
        Ok(polling::text(Packet::Open(&handshake).to_text()))
    }

    fn open_websocket(self: Arc<Self>, mut request: Request) -> Result<Response, Refusal> {
        let accept = handshake(request.headers()).map_err(|_| Refusal::BadRequest)?;
        let upgrade = hyper::upgrade::on(&mut request);
        let (head, _) = request.into_parts();
        let guard = head.extensions.get::<ConnectionGuard>().cloned();
        let link = self.table.add()?;
        let mut session = match self.service.open(&link, &head) {
            Ok(session) => session,
            Err(refusal) => {
                self.table.forget(link.id());
                return Err(refusal);
            }
        };
        tokio::spawn(async move {
            let Some(mut socket) = WebSocket::open(upgrade, self.table.config().max_payload, guard).await
            else {
                session.closed(Ended::Gone);
                link.abandon();
                return self.table.forget(link.id());
            };
            let handshake = self.handshake(link.id(), &[]);
            socket.write(Frames::packet(&Packet::Open(&handshake)));
            link.switch(&mut socket);
            let engine = Engine::new(true, self.table.config(), Instant::now());
            let mut driver =
                Driver::new(Arc::clone(&self.table), link, engine, session, Some(Box::new(socket)));
            // A task of its own, for as long as the client stays: this one is larger by what it took to come here.
            tokio::spawn(async move { driver.run().await });
        });
        Ok(switching_protocols(accept))
    }

    fn propose_websocket(&self, mut request: Request, link: Arc<Link>) -> Result<Response, Refusal> {
        let accept = handshake(request.headers()).map_err(|_| Refusal::BadRequest)?;
        let guard = request.extensions().get::<ConnectionGuard>().cloned();
        let upgrade = hyper::upgrade::on(&mut request);
        let max_payload = self.table.config().max_payload;
        tokio::spawn(async move {
            if let Some(socket) = WebSocket::open(upgrade, max_payload, guard).await {
                // Not taken: the socket is dropped, which closes it.
                let _ = link.command(Command::Candidate(Box::new(socket)));
            }
        });
        Ok(switching_protocols(accept))
    }

    fn handshake(&self, id: u128, upgrades: &[&str]) -> String {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let config = self.table.config();
        let handshake = Handshake {
            sid: Sid::write(id, self.neighbours.as_ref().and_then(|neighbours| neighbours.tag())),
            upgrades: upgrades.iter().map(ToString::to_string).collect(),
            ping_interval: millis(config.ping_interval),
            ping_timeout: millis(config.ping_timeout),
            max_payload: config.max_payload,
        };
        // Texts and numbers always have a form in JSON.
        serde_json::to_string(&handshake).unwrap_or_default()
    }
}
