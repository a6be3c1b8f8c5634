//! The listeners of a process.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use super::CommonConfig;
use crate::lifecycle::Lifecycle;
use crate::listener::{Capacity, Listener, ListenerConfig, ListenerMetrics, Tls};
use crate::ops::Operations;
use crate::problem::with_problems;

/// Probes, a few scrapers and some people.
const OPS_CONNECTIONS: usize = 64;

/// The listeners, bound and not yet served.
pub struct Server {
    main: Listener,
    address: SocketAddr,
    ops: Option<(Listener, SocketAddr)>,
    operations: Router,
    lifecycle: Lifecycle,
    tls: Option<Tls>,
}

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The address cannot be had.
    #[error("cannot listen on {address} (option {option})")]
    Address {
        /// The key of the option.
        option: &'static str,
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The listeners' metrics exist already.
    #[error("cannot count connections")]
    Metrics(#[from] prometheus::Error),
}

impl Server {
    pub(super) fn bind(
        common: &CommonConfig,
        operations: Operations,
        registry: &Registry,
        lifecycle: &Lifecycle,
    ) -> Result<Self, BindError> {
        let metrics = ListenerMetrics::register(registry)?;
        let capacity = Capacity::new(common.listener.max_connections, metrics.of("main"));
        let (main, address) = bind("listen", common.listen, common.listener, capacity.clone())?;
        let main = main.with_tls(common.tls.clone()).for_life(lifecycle.clone());
        let operations = operations.ready_while("full", move || capacity.free() > 0).router();
        let (main, ops) = match common.ops_listen {
            None => (main.when_full(operations.clone()), None),
            Some(address) => {
                let config = ListenerConfig { max_connections: OPS_CONNECTIONS, ..common.listener };
                let capacity = Capacity::new(OPS_CONNECTIONS, metrics.of("ops"));
                (main, Some(bind("ops_listen", address, config, capacity)?))
            }
        };
        let (lifecycle, tls) = (lifecycle.clone(), common.tls.clone());
        Ok(Self { main, address, ops, operations, lifecycle, tls })
    }

    /// Where it serves; tells the port that the system chose.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where the operations endpoints are.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.as_ref().map_or(self.address, |(_, address)| *address)
    }

    /// Serves until the process drains and all that it holds has ended: the requests in flight, and `drained`, by
    /// which the program tells that its upgraded connections are gone. What is left when the life ends is cut off.
    /// A listener of their own lets the operations endpoints answer to the last.
    pub async fn serve(self, router: Router, drained: impl Future<Output = ()>) {
        let ended = self.lifecycle.ended();
        tracing::info!(address = %self.address, operations = %self.ops_address(), "listening");
        let all_done = CancellationToken::new();
        let _done_when_dropped = all_done.clone().drop_guard();
        let router = match self.ops {
            None => router.merge(self.operations),
            Some((ops, _)) => {
                tokio::spawn(ops.serve(with_problems(self.operations), all_done.clone(), Duration::ZERO));
                router
            }
        };
        let work = async {
            tokio::join!(self.main.serve(router, self.lifecycle.closed(), Duration::MAX), drained);
            if let Some(tls) = &self.tls {
                tls.finish().await;
            }
        };
        tokio::select! {
            () = work => {}
            () = ended.cancelled() => tracing::warn!("the time is over; what is left is cut off"),
        }
    }
}

fn bind(
    option: &'static str,
    address: SocketAddr,
    config: ListenerConfig,
    capacity: Capacity,
) -> Result<(Listener, SocketAddr), BindError> {
    let wrong = |source| BindError::Address { option, address, source };
    let listener = Listener::bind(address, config, capacity).map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    Ok((listener, address))
}
