//! What all connections of a node share.

use std::sync::Arc;

use broker::Broker;
use chassis::auth::Verifier;

use crate::drain::Drain;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::presence::PresenceBook;
use crate::pulse::Pulse;

/// See the module's documentation.
pub(crate) struct Node {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) presence: Arc<PresenceBook>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) drain: Drain,
    pub(crate) metrics: Metrics,
}
