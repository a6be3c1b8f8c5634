//! The HTTP service through which backends publish.
//!
//! [`Fanout`] serves `POST /v1/publish` and `POST /v1/publish/batch`. A call passes, in this order: a free place among
//! those in flight, the caller's credential, the limits of the body, the shape of the request, the names and sizes in
//! it, the broker. Each of them answers what it refuses with problem details (RFC 9457).

#![forbid(unsafe_code)]

mod api;
mod caller;
mod config;
mod intake;
mod metrics;
mod problem;
mod publisher;
mod refusal;
mod request;
mod response;

use std::sync::Arc;

use axum::Router;
use axum::routing::post;
use broker::Broker;
use prometheus::Registry;
use proto::ChannelRules;
use tokio::sync::Semaphore;

pub use caller::{Caller, Callers};
pub use config::FanoutConfig;
pub use refusal::Refusal;

/// The HTTP API of one process.
#[derive(Clone)]
pub struct Fanout {
    api: Arc<api::Api>,
}

impl Fanout {
    /// An API that publishes through `broker` what `callers` may, counted in `registry`.
    ///
    /// # Errors
    /// When metrics of the same names are registered already.
    pub fn new(
        config: FanoutConfig,
        broker: Arc<dyn Broker>,
        callers: Arc<dyn Callers>,
        rules: ChannelRules,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let api = api::Api {
            in_flight: Semaphore::new(config.max_in_flight),
            publisher: publisher::Publisher::new(broker, rules),
            metrics: metrics::Metrics::register(registry)?,
            callers,
            config,
        };
        Ok(Self { api: Arc::new(api) })
    }

    /// The routes. They have no fallback outside of `/v1`, so that they can be merged with other routes.
    pub fn router(&self) -> Router {
        let v1 = Router::new()
            .route("/publish", post(api::publish))
            .route("/publish/batch", post(api::publish_batch))
            .method_not_allowed_fallback(api::no_such_method)
            .fallback(api::not_found)
            .with_state(Arc::clone(&self.api));
        Router::new().nest("/v1", v1)
    }
}
