//! The HTTP service through which backends publish.
//!
//! [`Fanout`] serves `POST /v1/publish`, `/v1/publish/batch` and `/v1/publish/stream`, the calls of administration,
//! their description at `/openapi.json` and a page to try them at `/docs`. A call passes, in this order: a free place among
//! those in flight, the caller's credential, the limits of the body, the shape of the request, the names and sizes in
//! it, the broker. Each of them answers what it refuses with problem details (RFC 9457).

#![forbid(unsafe_code)]

mod admin;
mod api;
mod bulk;
mod call;
mod caller;
mod clean;
mod config;
mod docs;
mod enrich;
mod hook;
mod intake;
mod known;
mod mapping;
mod metrics;
mod openapi;
mod outbox;
mod problem;
mod publisher;
mod rate;
mod refusal;
mod request;
mod response;
mod share;
pub mod webhook;

use std::sync::Arc;

use axum::Router;
use broker::{Broker, Outbox, RevocationReader, Unavailable};
use prometheus::Registry;
use proto::ChannelRules;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use call::Calls;
pub use caller::Callers;
pub use config::{FanoutConfig, OPTIONS};
pub use hook::Hooks;
pub use outbox::{Deliveries, Receivers};

use rate::Rates;
use share::Shares;

/// The HTTP API of one process.
#[derive(Clone)]
pub struct Fanout {
    api: Arc<api::Api>,
}

impl Fanout {
    /// An API that publishes through `broker`, and administers its `outbox`, what `callers` may, each channel by its `rules`, counted in `registry`.
    ///
    /// # Errors
    /// When metrics of the same names are registered already.
    pub fn new(
        config: FanoutConfig,
        broker: Arc<dyn Broker>,
        outbox: Arc<dyn Outbox>,
        callers: Callers,
        rules: ChannelRules,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let api = api::Api {
            in_flight: Semaphore::new(config.max_in_flight),
            shares: Shares::of(config.max_in_flight),
            asking: Semaphore::new(config.max_in_flight.div_ceil(4)),
            publishing: Rates::new(config.publish_rate, request::MAX_ITEMS as u32),
            administering: Rates::new(config.admin_rate, 1),
            publisher: publisher::Publisher::new(broker, rules),
            outbox,
            metrics: metrics::Metrics::register(registry)?,
            hook_metrics: hook::Metrics::register(registry)?,
            callers,
            config,
        };
        Ok(Self { api: Arc::new(api) })
    }

    /// Learns which tokens are revoked already. To be awaited before calls are taken.
    ///
    /// # Errors
    /// When the broker does not answer.
    pub async fn know_revoked(&self) -> Result<(), Unavailable> {
        self.revocations().look(|news| self.api.callers.learn(&news)).await
    }

    /// Learns which tokens are revoked, for as long as the future is polled. Must run beside the routes, unless something
    /// else tells the verifier of the callers.
    pub async fn follow_revocations(&self) {
        self.revocations().follow(|news| self.api.callers.learn(&news)).await;
    }

    fn revocations(&self) -> RevocationReader {
        RevocationReader::new(Arc::clone(self.api.publisher.broker()))
    }

    /// The routes. They have no fallback outside of `/v1`, so that they can be merged with other routes.
    pub fn router(&self) -> Router {
        let (router, description) = routes().split_for_parts();
        let router = router.merge(docs::routes(&description)).merge(self.api.config.webhooks.routes());
        let router = router.merge(self.api.config.calls.routes());
        let router = router.method_not_allowed_fallback(api::no_such_method);
        router.with_state(Arc::clone(&self.api))
    }
}

/// The calls together with their description, so that neither is without the other.
fn routes() -> OpenApiRouter<Arc<api::Api>> {
    let v1 = OpenApiRouter::new()
        .routes(routes!(api::publish_batch))
        .routes(routes!(api::publish_stream))
        .routes(routes!(admin::memberships::join, admin::memberships::leave))
        .routes(routes!(admin::memberships::of_user))
        .routes(routes!(admin::memberships::of_room))
        .routes(routes!(admin::memberships::set))
        .routes(routes!(admin::overview::users))
        .routes(routes!(admin::overview::rooms))
        .routes(routes!(admin::overview::users_in))
        .routes(routes!(admin::overview::stats))
        .routes(routes!(admin::history::history))
        .routes(routes!(admin::letters::dead))
        .routes(routes!(admin::letters::replay))
        .routes(routes!(admin::revocations::revoke))
        .routes(routes!(admin::users::status))
        .routes(routes!(admin::users::sessions, admin::users::disconnect))
        .routes(routes!(admin::users::disconnect_session))
        .routes(routes!(admin::questions::ask))
        .fallback(api::not_found);
    // Outside of the nest, whose paths are taken apart and put together for each call.
    let publish = routes!(api::publish);
    OpenApiRouter::with_openapi(openapi::outline()).routes(publish).nest("/v1", v1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_OPENAPI=1 cargo test -p switchboard-fanout` writes it.
    #[test]
    fn the_committed_description_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let served = docs::text(&routes().into_openapi());
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &served).unwrap();
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "openapi.json is old: run this test with UPDATE_OPENAPI=1");
    }
}
