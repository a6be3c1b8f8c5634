//! What is counted about listeners.

use std::io;

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of all listeners of a process, which differ in the label `listener`.
pub struct ListenerMetrics {
    connections: IntGaugeVec,
    accepted: IntCounterVec,
    refused: IntCounterVec,
    closed: IntCounterVec,
    accept_errors: IntCounterVec,
}

impl ListenerMetrics {
    /// Registers everything; fails when something of the same name is registered already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let connections = IntGaugeVec::new(
            Opts::new(
                "switchboard_listener_connections",
                "Connections that hold a place, upgraded ones included",
            ),
            &["listener"],
        )?;
        registry.register(Box::new(connections.clone()))?;
        Ok(Self {
            connections,
            accepted: counter(
                "switchboard_listener_accepted_total",
                "Connections that got a place",
                &["listener"],
            )?,
            refused: counter(
                "switchboard_listener_refused_total",
                "Connections that got no place, by how: told so, or dropped because too many were being told",
                &["listener", "how"],
            )?,
            closed: counter(
                "switchboard_listener_closed_total",
                "Connections that were closed for what they did, by reason",
                &["listener", "reason"],
            )?,
            accept_errors: counter(
                "switchboard_listener_accept_errors_total",
                "Failed attempts to accept a connection, by reason",
                &["listener", "reason"],
            )?,
        })
    }

    /// The counters of one listener, all at zero.
    pub fn of(&self, listener: &'static str) -> Counters {
        let closed = |reason| self.closed.with_label_values(&[listener, reason]);
        Counters {
            connections: self.connections.with_label_values(&[listener]),
            accepted: self.accepted.with_label_values(&[listener]),
            told: self.refused.with_label_values(&[listener, "told"]),
            dropped: self.refused.with_label_values(&[listener, "dropped"]),
            silent: closed("silent"),
            slow: closed("slow"),
            malformed: closed("malformed"),
            descriptors: self.accept_errors.with_label_values(&[listener, "descriptors"]),
            other: self.accept_errors.with_label_values(&[listener, "other"]),
        }
    }
}

/// The counters of one listener.
#[derive(Clone)]
pub struct Counters {
    connections: IntGauge,
    accepted: IntCounter,
    told: IntCounter,
    dropped: IntCounter,
    silent: IntCounter,
    slow: IntCounter,
    malformed: IntCounter,
    descriptors: IntCounter,
    other: IntCounter,
}

impl Counters {
    /// Counts a connection and hands out the gauge that it must move.
    pub(super) fn accepted(&self) -> IntGauge {
        self.accepted.inc();
        self.connections.clone()
    }

    pub(super) fn refused(&self) {
        self.told.inc();
    }

    pub(super) fn dropped(&self) {
        self.dropped.inc();
    }

    /// A connection said nothing.
    pub(super) fn silent(&self) {
        self.silent.inc();
    }

    /// A connection took too long over the head of a request.
    pub(super) fn slow(&self) {
        self.slow.inc();
    }

    /// A connection sent something that is not HTTP.
    pub(super) fn malformed(&self) {
        self.malformed.inc();
    }

    pub(super) fn accept_failed(&self, error: &io::Error) {
        // The same numbers on every system with sockets of this kind.
        const ENFILE: i32 = 23;
        const EMFILE: i32 = 24;
        match error.raw_os_error() {
            Some(ENFILE | EMFILE) => self.descriptors.inc(),
            _ => self.other.inc(),
        }
    }
}
