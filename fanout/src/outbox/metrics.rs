//! What is counted about deliveries. Their names come from the configuration, so the labels are bounded.

use std::time::Duration;

use broker::Claimed;
use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};
use proto::Timestamp;

use super::course::Answer;

/// The metrics of all deliveries.
#[derive(Debug, Clone)]
pub(super) struct Metrics {
    attempts: IntCounterVec,
    dead: IntCounterVec,
    duration: HistogramVec,
    channels: IntGauge,
    oldest: IntGauge,
}

impl Metrics {
    /// Registers everything; fails when something of the same name is registered already.
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let attempts = Opts::new(
            "fanout_outbox_attempts_total",
            "Attempts to deliver a letter to the backend, by how they ended: delivered, failed (and tried again) or refused",
        );
        let dead = Opts::new("fanout_outbox_dead_total", "Letters that were given up and put among the dead");
        let duration = HistogramOpts::new(
            "fanout_outbox_duration_seconds",
            "Time that an attempt to deliver a letter took",
        )
        .buckets(vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0]);
        let metrics = Self {
            attempts: IntCounterVec::new(attempts, &["outbox", "result"])?,
            dead: IntCounterVec::new(dead, &["outbox"])?,
            duration: HistogramVec::new(duration, &["outbox"])?,
            channels: IntGauge::new(
                "fanout_outbox_channels",
                "Channels of the cluster in whose outbox something waits, as last seen",
            )?,
            oldest: IntGauge::new(
                "fanout_outbox_oldest_seconds",
                "For how long the oldest letter of the cluster has waited, as last seen",
            )?,
        };
        registry.register(Box::new(metrics.attempts.clone()))?;
        registry.register(Box::new(metrics.dead.clone()))?;
        registry.register(Box::new(metrics.duration.clone()))?;
        registry.register(Box::new(metrics.channels.clone()))?;
        registry.register(Box::new(metrics.oldest.clone()))?;
        Ok(metrics)
    }

    /// Counts an attempt.
    pub(super) fn attempt(&self, outbox: &str, answer: &Answer, took: Duration) {
        let result = match answer {
            Answer::Taken => "delivered",
            Answer::Later(..) => "failed",
            Answer::Never(_) => "refused",
        };
        self.attempts.with_label_values(&[outbox, result]).inc();
        self.duration.with_label_values(&[outbox]).observe(took.as_secs_f64());
    }

    /// Counts a letter that was given up.
    pub(super) fn died(&self, outbox: &str) {
        self.dead.with_label_values(&[outbox]).inc();
    }

    /// Notes how much waits.
    pub(super) fn waits(&self, claimed: &Claimed, now: Timestamp) {
        self.channels.set(i64::try_from(claimed.channels).unwrap_or(i64::MAX));
        let age = claimed.oldest.map_or(0, |oldest| now.0.saturating_sub(oldest.0) / 1000);
        self.oldest.set(i64::try_from(age).unwrap_or(i64::MAX));
    }
}
