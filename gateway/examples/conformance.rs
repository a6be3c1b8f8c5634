//! Serves the small applications that the official test suites of Engine.IO and Socket.IO talk to, on port 3000 or the
//! one given.
//!
//! The suites are in the repository of the reference implementation, under `docs/engine.io-protocol/v4-test-suite` and
//! `docs/socket.io-protocol/v5-test-suite`. Start this, then `npm test` there.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::request;
use chassis::listener::{Capacity, Listener, ListenerConfig, ListenerMetrics};
use prometheus::Registry;
use proto::Close;
use serde_json::value::RawValue;
use switchboard_gateway::engineio::{
    Config, Ended, Frames, Link, Message, Refusal, Server, Service, Session,
};
use switchboard_gateway::socketio::{App, Event, Handler, NotConnected, Socket, SocketIo};
use tokio_util::sync::CancellationToken;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port = std::env::args().nth(1).map_or(Ok(3000), |port| port.parse())?;
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let config = ListenerConfig::default();
    let metrics = ListenerMetrics::register(&Registry::new())?;
    let listener =
        Listener::bind(address, config, Capacity::new(config.max_connections, metrics.of("main")))?;

    let timing = Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(1),
        ..Config::default()
    };
    let engine = Server::new(Config { path: "/engine.io".to_owned(), ..timing.clone() }, EchoService);
    let socket = Server::new(timing.clone(), SocketIo::new(Suite, &timing));
    let router = engine.router().merge(socket.router());
    listener.serve(router, CancellationToken::new(), Duration::ZERO).await;
    Ok(())
}

/// Engine.IO: what comes in goes out.
struct EchoService;

struct Echo(Arc<Link>);

impl Service for EchoService {
    type Session = Echo;

    fn open(&self, link: &Arc<Link>, _: &request::Parts) -> Result<Echo, Refusal> {
        Ok(Echo(Arc::clone(link)))
    }
}

impl Session for Echo {
    fn message(&mut self, message: Message<'_>) -> Result<(), Close> {
        let echo = match message {
            Message::Text(text) => Frames::text(text),
            Message::Binary(bytes) => Frames::binary(&bytes),
        };
        self.0.send(echo).map_err(|_| Close::Slow)
    }

    fn closed(&mut self, _: Ended) {}
}

/// Socket.IO: two namespaces, which tell the client what it authenticated by.
struct Suite;

struct Suit {
    auth: Option<Box<RawValue>>,
}

impl App for Suite {
    type Visitor = ();
    type Handler = Suit;

    fn visit(&self, _: &request::Parts) -> Result<(), Refusal> {
        Ok(())
    }

    fn connect(&self, (): &(), namespace: &str, auth: Option<&RawValue>) -> Result<Suit, NotConnected> {
        match namespace {
            "/" | "/custom" => Ok(Suit { auth: auth.map(ToOwned::to_owned) }),
            _ => Err(NotConnected::invalid_namespace()),
        }
    }
}

impl Handler for Suit {
    fn connected(&mut self, socket: &Socket) {
        let (socket, auth) = (socket.clone(), self.auth.take());
        tokio::spawn(async move {
            // The suite listens for one message at a time, and misses the second of two that come in one segment.
            tokio::time::sleep(Duration::from_millis(10)).await;
            // Who is gone needs to be told nothing.
            let _ = match auth {
                Some(auth) => socket.emit(&("auth", auth), &[]),
                None => socket.emit(&("auth", serde_json::Map::new()), &[]),
            };
        });
    }

    fn event(&mut self, socket: &Socket, event: Event) {
        let mut arguments = event.arguments();
        let _ = match (event.name().as_ref(), event.id()) {
            ("message", _) => match serde_json::value::to_raw_value("message-back") {
                Ok(name) => {
                    arguments.insert(0, &name);
                    socket.emit(&arguments, event.attachments())
                }
                Err(_) => Ok(()),
            },
            ("message-with-ack", Some(id)) => socket.acknowledge(id, &arguments, event.attachments()),
            _ => Ok(()),
        };
    }

    fn disconnected(&mut self, _: &Socket, _: Ended) {}
}
