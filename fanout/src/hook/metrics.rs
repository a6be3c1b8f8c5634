//! What is counted about webhooks. Their names come from the configuration, so the labels are bounded.

use std::time::Duration;

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of all webhooks.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    duration: HistogramVec,
    in_flight: IntGaugeVec,
    enrichments: IntCounterVec,
}

impl Metrics {
    /// Registers everything; fails when something of the same name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let requests =
            Opts::new("fanout_webhook_requests_total", "Webhooks that came in, by what became of them");
        let duration = HistogramOpts::new(
            "fanout_webhook_duration_seconds",
            "Time from the head of a webhook to its answer",
        )
        .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0]);
        let in_flight = Opts::new("fanout_webhook_inflight", "Webhooks being read, waiting or worked on");
        let enrichments = Opts::new(
            "fanout_webhook_enrichments_total",
            "Questions to the application about webhooks, by how they ended",
        );
        let metrics = Self {
            requests: IntCounterVec::new(requests, &["webhook", "result"])?,
            duration: HistogramVec::new(duration, &["webhook"])?,
            in_flight: IntGaugeVec::new(in_flight, &["webhook"])?,
            enrichments: IntCounterVec::new(enrichments, &["webhook", "result"])?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.enrichments.clone()))?;
        Ok(metrics)
    }

    /// Counts a webhook as being there for as long as what is returned lives, also when the provider goes away.
    pub(crate) fn enter(&self, webhook: &str) -> Inside {
        let inside = self.in_flight.with_label_values(&[webhook]);
        inside.inc();
        Inside(inside)
    }

    /// Counts the end of a question to the application.
    pub(crate) fn enriched(&self, webhook: &str, result: &str) {
        self.enrichments.with_label_values(&[webhook, result]).inc();
    }

    /// Counts the end of a webhook.
    pub(crate) fn ended(&self, webhook: &str, result: &str, after: Duration) {
        self.requests.with_label_values(&[webhook, result]).inc();
        self.duration.with_label_values(&[webhook]).observe(after.as_secs_f64());
    }
}

/// One webhook that is there.
pub(crate) struct Inside(IntGauge);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.dec();
    }
}
