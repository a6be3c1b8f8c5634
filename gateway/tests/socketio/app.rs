//! A server, and an application that shows what the layer does.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::header::AUTHORIZATION;
use axum::http::request;
use chassis::listener::{Capacity, Listener, ListenerConfig, ListenerMetrics};
use prometheus::Registry;
use proto::Close;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use switchboard_gateway::engineio::{Config, Ended, Refusal, Server};
use switchboard_gateway::socketio::{App, Event, Handler, NotConnected, Socket, SocketIo};
use tokio_util::sync::CancellationToken;

/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Node {
    pub server: Arc<Server<SocketIo<TestApp>>>,
    pub address: SocketAddr,
    stop: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Node {
    pub fn start(config: Config) -> Self {
        let app = SocketIo::new(TestApp, &config);
        let server = Arc::new(Server::new(config, app));
        let config = ListenerConfig::default();
        let metrics = ListenerMetrics::register(&Registry::new()).unwrap();
        let capacity = Capacity::new(config.max_connections, metrics.of("main"));
        let listener = Listener::bind("127.0.0.1:0".parse().unwrap(), config, capacity).unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        tokio::spawn(listener.serve(server.router(), stop.clone(), Duration::from_secs(1)));
        Self { server, address, stop }
    }

    /// Waits until there are so many sessions.
    pub async fn has_sessions(&self, count: usize) {
        let deadline = Instant::now() + PATIENCE;
        while self.server.sessions() != count {
            assert!(Instant::now() < deadline, "{} sessions, not {count}", self.server.sessions());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub struct TestApp;

/// Tells the client what is known of it, then does what its events say.
pub struct TestHandler {
    welcome: Box<RawValue>,
}

impl App for TestApp {
    /// The header that a client may authenticate by.
    type Visitor = Option<String>;
    type Handler = TestHandler;

    fn visit(&self, head: &request::Parts) -> Result<Option<String>, Refusal> {
        let header = head.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        Ok(header.map(str::to_owned))
    }

    fn connect(
        &self,
        header: &Option<String>,
        namespace: &str,
        auth: Option<&RawValue>,
    ) -> Result<TestHandler, NotConnected> {
        if !["/", "/custom"].contains(&namespace) {
            return Err(NotConnected::invalid_namespace());
        }
        if auth.is_some_and(|auth| auth.get().contains("bad")) {
            let data = to_raw_value(&json!({ "code": "bad_token" })).unwrap();
            return Err(NotConnected { message: "not authorized".to_owned(), data: Some(data) });
        }
        Ok(TestHandler { welcome: to_raw_value(&json!({ "auth": auth, "header": header })).unwrap() })
    }
}

impl Handler for TestHandler {
    fn connected(&mut self, socket: &Socket) {
        socket.emit(&("welcome", &self.welcome), &[]).unwrap();
    }

    fn event(&mut self, socket: &Socket, event: Event) {
        match (event.name().as_ref(), event.id()) {
            ("echo", None) => {
                let name = to_raw_value("echo").unwrap();
                let mut arguments = event.arguments();
                arguments.insert(0, &name);
                socket.emit(&arguments, event.attachments()).unwrap();
            }
            ("echo", Some(id)) => socket.acknowledge(id, &event.arguments(), event.attachments()).unwrap(),
            ("burst", _) => {
                let count: u32 = serde_json::from_str(event.arguments()[0].get()).unwrap();
                for number in 0..count {
                    socket.emit(&("tick", number), &[]).unwrap();
                }
            }
            ("ask", _) => {
                let (socket, answer) = (socket.clone(), socket.ask(&("question", 6, 7), &[]).unwrap());
                tokio::spawn(async move {
                    let answer = answer.await.unwrap();
                    socket.emit(&("answered", answer.items()), answer.attachments()).unwrap();
                });
            }
            ("kick", _) => socket.disconnect(),
            ("cut", _) => socket.close(Close::Restart),
            (other, _) => panic!("an event {other}"),
        }
    }

    fn disconnected(&mut self, _: &Socket, _: Ended) {}
}
