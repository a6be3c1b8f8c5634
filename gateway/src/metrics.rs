//! What the gateway counts. Handles are looked up once; labels are few and fixed.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry, core::Collector,
};
use proto::{Close, GapReason, Timestamp};

use crate::clock::now;

/// The gateway's metrics. Cheap to clone: every handle is shared.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// Connections that are open.
    pub(crate) connections: IntGauge,
    /// Connections that were opened.
    pub(crate) opened: IntCounter,
    closed: IntCounterVec,
    /// Channels that this node listens to.
    pub(crate) channels: IntGauge,
    /// Publications given to connections.
    pub(crate) messages_sent: IntCounter,
    /// Frames received from clients.
    pub(crate) messages_received: IntCounter,
    /// Bytes written to connections that have ended.
    pub(crate) bytes_sent: IntCounter,
    /// Times a full queue made a channel of a connection lag.
    pub(crate) lagged: IntCounter,
    /// Channels whose subscription was interrupted.
    pub(crate) interrupted: IntCounter,
    gaps: IntCounterVec,
    auth_failures: IntCounterVec,
    resumes: IntCounterVec,
    latency: Histogram,
}

impl Metrics {
    /// Creates the metrics and registers them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let latency = HistogramOpts::new(
            "gateway_delivery_latency_seconds",
            "From the publisher's clock to the hand-over to the sockets of this node.",
        )
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
        let metrics = Self {
            connections: gauge(registry, "gateway_connections", "Open connections.")?,
            opened: counter(registry, "gateway_connections_opened_total", "Connections opened.")?,
            closed: counters(
                registry,
                "gateway_connections_closed_total",
                "Connections ended, by the reason of the catalogue; gone: the peer vanished.",
                "reason",
            )?,
            channels: gauge(registry, "gateway_channels", "Channels this node listens to.")?,
            messages_sent: counter(
                registry,
                "gateway_messages_sent_total",
                "Publications given to connections.",
            )?,
            messages_received: counter(registry, "gateway_messages_received_total", "Frames from clients.")?,
            bytes_sent: counter(registry, "gateway_bytes_sent_total", "Bytes written to ended connections.")?,
            lagged: counter(
                registry,
                "gateway_slow_consumers_total",
                "Times a full queue made a channel of a connection lag.",
            )?,
            interrupted: counter(
                registry,
                "gateway_subscriptions_interrupted_total",
                "Channels whose subscription was interrupted.",
            )?,
            gaps: counters(registry, "gateway_gaps_told_total", "Gaps found in channels.", "reason")?,
            auth_failures: counters(registry, "gateway_auth_failures_total", "Tokens refused.", "reason")?,
            resumes: counters(registry, "gateway_resumes_total", "Joins with a position.", "recovered")?,
            latency: register(registry, Histogram::with_opts(latency)?)?,
        };
        for close in Close::ALL {
            metrics.closed.with_label_values(&[close.label()]);
        }
        Ok(metrics)
    }

    /// Counts the end of a connection; `None` when the peer vanished.
    pub(crate) fn count_close(&self, close: Option<Close>, bytes: u64) {
        self.connections.dec();
        self.bytes_sent.inc_by(bytes);
        self.closed.with_label_values(&[close.map_or("gone", Close::label)]).inc();
    }

    /// Counts a gap.
    pub(crate) fn count_gap(&self, reason: GapReason) {
        let label = match reason {
            GapReason::Trimmed => "trimmed",
            GapReason::Reset => "reset",
            GapReason::Fork => "fork",
        };
        self.gaps.with_label_values(&[label]).inc();
    }

    /// Counts a refused token, by the word of its error code.
    pub(crate) fn count_auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[reason]).inc();
    }

    /// Counts a join that brought a position.
    pub(crate) fn count_resume(&self, recovered: bool) {
        self.resumes.with_label_values(&[if recovered { "true" } else { "false" }]).inc();
    }

    /// Observes how long a publication was on its way. Clocks of two machines differ: never below zero.
    pub(crate) fn observe_latency(&self, published: Timestamp) {
        self.latency.observe(now().0.saturating_sub(published.0) as f64 / 1000.0);
    }
}

fn register<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: C,
) -> Result<C, prometheus::Error> {
    registry.register(Box::new(collector.clone()))?;
    Ok(collector)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    register(registry, IntCounter::new(name, help)?)
}

fn gauge(registry: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    register(registry, IntGauge::new(name, help)?)
}

fn counters(
    registry: &Registry,
    name: &str,
    help: &str,
    label: &str,
) -> Result<IntCounterVec, prometheus::Error> {
    register(registry, IntCounterVec::new(Opts::new(name, help), &[label])?)
}
