//! One connection, from `accept` to its end or its upgrade.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::header::{CONNECTION, HeaderValue};
use axum::http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{ConnectionGuard, Counters, ListenerConfig, Tls};
use crate::lifecycle::{Lifecycle, Phase};
use crate::problem;

/// What the connections of a listener have in common.
pub(super) struct Connections {
    http: http1::Builder,
    router: Router,
    config: ListenerConfig,
    counters: Counters,
    life: Option<Lifecycle>,
    /// No new requests.
    stop: CancellationToken,
    /// No mercy.
    cut: CancellationToken,
}

impl Connections {
    /// `lasting` connections may carry several requests, until that `life` nears its end.
    pub(super) fn new(
        router: Router,
        config: ListenerConfig,
        lasting: bool,
        life: Option<&Lifecycle>,
        counters: &Counters,
        stop: &CancellationToken,
        cut: &CancellationToken,
    ) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            // The first head has a shorter time, see `drive`. hyper counts from the end of the last answer.
            .header_read_timeout(config.idle_timeout)
            .max_buf_size(config.buffer_size())
            .keep_alive(lasting);
        let (counters, stop, cut) = (counters.clone(), stop.clone(), cut.clone());
        Self { http, router, config, counters, life: life.cloned(), stop, cut }
    }

    /// Serves a connection, through TLS if there is to be any.
    pub(super) async fn take(self: Arc<Self>, tls: Option<Tls>, stream: TcpStream, guard: ConnectionGuard) {
        let Some(tls) = tls else { return self.drive(stream, guard).await };
        let accepted = tokio::select! {
            () = self.stop.cancelled() => return,
            accepted = tls.accept(stream, self.config.header_timeout) => accepted,
        };
        if let Some(stream) = accepted {
            self.drive(stream, guard).await;
        }
    }

    /// Serves a connection until it ends, is upgraded, breaks a rule, or everything stops.
    pub(super) async fn drive(self: Arc<Self>, stream: TcpStream, guard: ConnectionGuard) {
        // Looking at the first byte without taking it costs no buffer: until a connection speaks, hyper is not set up.
        let mut byte = [0];
        let first = tokio::select! {
            () = self.stop.cancelled() => return,
            first = timeout(self.config.silence_timeout, stream.peek(&mut byte)) => first,
        };
        match first {
            Ok(Ok(1..)) => {}
            // It left, or broke. Probes of load balancers do that all day.
            Ok(Ok(0) | Err(_)) => return,
            Err(_) => return self.counters.silent(),
        }

        let (this, guarded) = (&*self, &guard);
        let answers = service_fn(move |request| this.answer(request, guarded));
        let connection = self.http.serve_connection(TokioIo::new(stream), answers).with_upgrades();
        let mut connection = pin!(connection);
        let mut first_head = pin!(sleep(self.config.header_timeout));
        let mut is_waiting_for_head = true;
        let mut is_stopping = false;
        let ended = loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => break ended,
                () = first_head.as_mut(), if is_waiting_for_head => {
                    is_waiting_for_head = false;
                    if !guard.has_asked() {
                        return self.counters.slow();
                    }
                }
                () = self.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = self.cut.cancelled(), if is_stopping => return,
            }
        };
        match ended {
            Err(error) if error.is_timeout() => self.counters.slow(),
            Err(error) if error.is_parse() => self.counters.malformed(),
            // A peer that vanished is routine.
            Ok(()) | Err(_) => {}
        }
    }

    /// Has the router answer a request, which has the place of its connection with it.
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        guard: &ConnectionGuard,
    ) -> Result<Response<Body>, Infallible> {
        guard.set_asked();
        request.extensions_mut().insert(guard.clone());
        // A router is always ready, and its clone is a pointer.
        let response = tower::Service::call(&mut self.router.clone(), request).await?;
        let mut response = problem::translate(response);
        let is_leaving = self.life.as_ref().is_some_and(|life| life.phase() >= Phase::Leaving);
        if is_leaving && response.status() != StatusCode::SWITCHING_PROTOCOLS {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        Ok(response)
    }
}
