//! The endpoints of operations: what orchestrators, scrapers and people ask a process about itself.
//!
//! | path | answers | who asks |
//! | --- | --- | --- |
//! | `/livez` | 200 as long as the process can answer at all; never looks at Redis, whose outage must not restart a fleet | the orchestrator |
//! | `/readyz` | 200 while new connections are welcome, else 503 and why | the load balancer |
//! | `/health` | each component's health as JSON; 503 if one of them is down | people, alerts |
//! | `/status` | version, node, role, phase, uptime, and what components add | people |
//! | `/metrics` | Prometheus' text format | the scraper |
//!
//! Checks do no I/O: a component keeps an eye on itself, and is only asked what it last saw. So a flood of probes
//! costs nothing elsewhere, and an outage does not make them hang.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use prometheus::{IntGauge, Opts, Registry, TextEncoder};
use proto::{ErrorCode, NodeId};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::lifecycle::{Lifecycle, Phase};
use crate::problem::Problem;

/// How a component does. Greater is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Health {
    /// As it should.
    Ok,
    /// It works, but not all of it or not for all.
    Degraded,
    /// It does not work.
    Down,
}

/// What a check answers: the health and a few words for people, which must hold no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How it does.
    pub status: Health,
    /// Why, if there is something to say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Report {
    /// All is well.
    pub const fn ok() -> Self {
        Self { status: Health::Ok, detail: None }
    }

    /// It works in part.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: Health::Degraded, detail: Some(detail.into()) }
    }

    /// It does not work.
    pub fn down(detail: impl Into<String>) -> Self {
        Self { status: Health::Down, detail: Some(detail.into()) }
    }
}

type Check = Box<dyn Fn() -> Report + Send + Sync>;
type Condition = Box<dyn Fn() -> bool + Send + Sync>;
type Detail = Box<dyn Fn() -> Value + Send + Sync>;

/// What the endpoints tell of. Put together at start, then made a router.
pub struct Operations {
    role: &'static str,
    node: NodeId,
    started: Instant,
    lifecycle: Lifecycle,
    registry: Registry,
    checks: BTreeMap<&'static str, Check>,
    conditions: BTreeMap<&'static str, Condition>,
    details: BTreeMap<&'static str, Detail>,
    signs: BTreeMap<&'static str, Detail>,
}

impl Operations {
    /// The endpoints of a process with nothing in it, and the metrics of the process itself. Fails when those are
    /// registered already.
    pub fn new(
        role: &'static str,
        node: NodeId,
        lifecycle: Lifecycle,
        registry: Registry,
    ) -> Result<Self, prometheus::Error> {
        let info = Opts::new("switchboard_build_info", "Always 1; the labels tell what is running")
            .const_label("version", version())
            .const_label("role", role);
        let info = IntGauge::with_opts(info)?;
        info.set(1);
        registry.register(Box::new(info))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(prometheus::process_collector::ProcessCollector::for_self()))?;
        Ok(Self {
            role,
            node,
            started: Instant::now(),
            lifecycle,
            registry,
            checks: BTreeMap::new(),
            conditions: BTreeMap::new(),
            details: BTreeMap::new(),
            signs: BTreeMap::new(),
        })
    }

    /// Adds a component to `/health`. The check is called on every request and must not wait for anything.
    #[must_use]
    pub fn check(
        mut self,
        component: &'static str,
        check: impl Fn() -> Report + Send + Sync + 'static,
    ) -> Self {
        self.checks.insert(component, Box::new(check));
        self
    }

    /// Adds a condition to `/readyz`, with the word that is told while it does not hold. For what another node
    /// would do better, such as taking one more connection; not for an outage that all nodes share.
    #[must_use]
    pub fn ready_while(
        mut self,
        otherwise: &'static str,
        condition: impl Fn() -> bool + Send + Sync + 'static,
    ) -> Self {
        self.conditions.insert(otherwise, Box::new(condition));
        self
    }

    /// Adds a field to `/status`. Must hold no secret.
    #[must_use]
    pub fn detail(mut self, field: &'static str, value: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.details.insert(field, Box::new(value));
        self
    }

    /// Adds a field to `/health`, which does not change how the process is. Must hold no secret.
    #[must_use]
    pub fn sign(mut self, field: &'static str, value: impl Fn() -> Value + Send + Sync + 'static) -> Self {
        self.signs.insert(field, Box::new(value));
        self
    }

    /// The endpoints.
    pub fn router(self) -> Router {
        Router::new()
            .route("/livez", get(async || answer(StatusCode::OK, json!({ "status": "alive" }))))
            .route("/readyz", get(async |State(all): State<Arc<Self>>| all.ready()))
            .route("/health", get(async |State(all): State<Arc<Self>>| all.health()))
            .route("/status", get(async |State(all): State<Arc<Self>>| all.status()))
            .route("/metrics", get(async |State(all): State<Arc<Self>>| all.metrics()))
            .with_state(Arc::new(self))
    }

    fn ready(&self) -> Response {
        let phase = self.lifecycle.phase();
        let obstacle = if phase == Phase::Serving {
            self.conditions.iter().find(|(_, holds)| !holds()).map(|(otherwise, _)| *otherwise)
        } else {
            Some(phase.as_str())
        };
        match obstacle {
            None => answer(StatusCode::OK, json!({ "status": "ready" })),
            Some(reason) => {
                answer(StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "unready", "reason": reason }))
            }
        }
    }

    fn health(&self) -> Response {
        let components: BTreeMap<_, _> = self.checks.iter().map(|(name, check)| (*name, check())).collect();
        let status = components.values().map(|report| report.status).max().unwrap_or(Health::Ok);
        let code = match status {
            Health::Ok | Health::Degraded => StatusCode::OK,
            Health::Down => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut fields =
            self.signs.iter().map(|(field, value)| ((*field).to_owned(), value())).collect::<Map<_, _>>();
        // After the signs, so that none of them can take the place of these.
        fields.insert("status".to_owned(), json!(status));
        fields.insert("components".to_owned(), json!(components));
        answer(code, Value::Object(fields))
    }

    fn status(&self) -> Response {
        let mut fields = Map::new();
        for (field, value) in &self.details {
            fields.insert((*field).to_owned(), value());
        }
        // After the details, so that none of them can take the place of these.
        fields.insert("version".to_owned(), version().into());
        fields.insert("role".to_owned(), self.role.into());
        fields.insert("node".to_owned(), self.node.as_str().into());
        fields.insert("phase".to_owned(), self.lifecycle.phase().as_str().into());
        fields.insert("uptimeSeconds".to_owned(), self.started.elapsed().as_secs().into());
        answer(StatusCode::OK, Value::Object(fields))
    }

    fn metrics(&self) -> Response {
        match TextEncoder::new().encode_to_string(&self.registry.gather()) {
            Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
            Err(error) => {
                tracing::error!(%error, "the metrics cannot be written");
                Problem::new(ErrorCode::Internal).detail("the metrics cannot be written").into_response()
            }
        }
    }
}

/// The version of everything in this workspace.
pub const fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

fn answer(code: StatusCode, body: Value) -> Response {
    (code, [(header::CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Duration;

    use axum::body::Body;
    use axum::http::Request;
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;

    fn operations(lifecycle: &Lifecycle) -> Operations {
        let node = "node-1".parse::<NodeId>().unwrap();
        Operations::new("gateway", node, lifecycle.clone(), Registry::new()).unwrap()
    }

    async fn text(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn ask(router: &Router, path: &str) -> (u16, Value) {
        let (status, text) = text(router, path).await;
        (status, serde_json::from_str(&text).unwrap())
    }

    #[tokio::test]
    async fn a_process_is_ready_from_its_start_until_it_leaves_and_alive_all_the_time() {
        let life = Lifecycle::new();
        let router = operations(&life).router();
        let unready = |reason: &str| (503, json!({ "status": "unready", "reason": reason }));
        assert_eq!(ask(&router, "/readyz").await, unready("starting"));
        life.serve();
        assert_eq!(ask(&router, "/readyz").await, (200, json!({ "status": "ready" })));
        life.leave();
        assert_eq!(ask(&router, "/readyz").await, unready("leaving"));
        life.drain(Duration::from_secs(1));
        assert_eq!(ask(&router, "/readyz").await, unready("draining"));
        assert_eq!(ask(&router, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn a_full_node_is_not_ready() {
        let life = Lifecycle::new();
        life.serve();
        let has_places = Arc::new(AtomicBool::new(false));
        let condition = Arc::clone(&has_places);
        let router =
            operations(&life).ready_while("full", move || condition.load(Ordering::Relaxed)).router();
        assert_eq!(ask(&router, "/readyz").await, (503, json!({ "status": "unready", "reason": "full" })));
        has_places.store(true, Ordering::Relaxed);
        assert_eq!(ask(&router, "/readyz").await.0, 200);
    }

    #[tokio::test]
    async fn health_is_that_of_the_worst_component_and_does_not_change_readiness() {
        let life = Lifecycle::new();
        life.serve();
        let degraded = operations(&life)
            .check("keys", || Report::degraded("the key set is a day old"))
            .check("other", Report::ok);
        assert_eq!(ask(&degraded.router(), "/health").await.0, 200);
        let router = operations(&life)
            .check("redis", || Report::down("not connected for 3s"))
            .check("keys", Report::ok)
            .router();
        assert_eq!(
            ask(&router, "/health").await,
            (
                503,
                json!({ "status": "down", "components": {
                    "keys": { "status": "ok" },
                    "redis": { "status": "down", "detail": "not connected for 3s" },
                } })
            )
        );
        assert_eq!(ask(&router, "/readyz").await.0, 200);
        assert_eq!(ask(&router, "/livez").await.0, 200);
    }

    #[tokio::test]
    async fn health_carries_signs_that_change_nothing() {
        let router = operations(&Lifecycle::new()).sign("connections", || json!(3)).router();
        let health = json!({ "status": "ok", "components": {}, "connections": 3 });
        assert_eq!(ask(&router, "/health").await, (200, health));
    }

    #[tokio::test]
    async fn status_tells_what_is_running() {
        let router = operations(&Lifecycle::new()).detail("rooms", || json!(3)).router();
        let (_, status) = ask(&router, "/status").await;
        assert_eq!(status["role"], "gateway");
        assert_eq!(status["node"], "node-1");
        assert_eq!(status["phase"], "starting");
        assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
        assert_eq!(status["rooms"], 3);
        assert!(status["uptimeSeconds"].is_u64());
    }

    #[tokio::test]
    async fn metrics_are_those_of_the_registry_and_of_the_process() {
        let (status, text) = text(&operations(&Lifecycle::new()).router(), "/metrics").await;
        assert_eq!(status, 200);
        assert!(text.contains("switchboard_build_info{role=\"gateway\",version=\""), "{text}");
        #[cfg(target_os = "linux")]
        assert!(text.contains("process_resident_memory_bytes"), "{text}");
    }
}
