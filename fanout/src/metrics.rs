//! What is counted about publishing.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::refusal::Refusal;

/// The metrics of one fanout.
pub(crate) struct Metrics {
    requests: IntCounterVec,
    duration: Histogram,
    in_flight: IntGauge,
    idempotent_hits: IntCounter,
    administration: IntCounterVec,
}

impl Metrics {
    /// Registers everything; fails when something of the same name is registered already.
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "fanout_publish_requests_total",
                    "Messages that callers asked to publish, by result; each item of a batch is one",
                ),
                &["result"],
            )?,
            duration: Histogram::with_opts(
                HistogramOpts::new(
                    "fanout_publish_duration_seconds",
                    "Time from the head of a publish call to its answer",
                )
                .buckets(vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0]),
            )?,
            in_flight: IntGauge::new("fanout_inflight", "Publish calls being worked on")?,
            idempotent_hits: IntCounter::new(
                "fanout_idempotent_hits_total",
                "Messages found to be in a channel already, by their id",
            )?,
            administration: IntCounterVec::new(
                Opts::new("fanout_admin_requests_total", "Calls of administration, by result"),
                &["result"],
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.in_flight.clone()))?;
        registry.register(Box::new(metrics.idempotent_hits.clone()))?;
        registry.register(Box::new(metrics.administration.clone()))?;
        Ok(metrics)
    }

    /// Counts a call for as long as what is returned lives, also when the caller goes away.
    pub(crate) fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts the end of one message.
    pub(crate) fn message(&self, refusal: Option<&Refusal>) {
        self.requests.with_label_values(&[refusal.map_or("ok", Refusal::label)]).inc();
    }

    /// Counts a call of administration.
    pub(crate) fn administration(&self, refusal: Option<&Refusal>) {
        self.administration.with_label_values(&[refusal.map_or("ok", Refusal::label)]).inc();
    }

    /// Counts channels that had a message already.
    pub(crate) fn duplicates(&self, count: usize) {
        self.idempotent_hits.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Notes how long a call took.
    pub(crate) fn took(&self, time: Duration) {
        self.duration.observe(time.as_secs_f64());
    }
}

/// One call being worked on.
pub(crate) struct InFlight(IntGauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
