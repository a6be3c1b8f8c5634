//! What all connections of a node share.

use std::sync::Arc;

use broker::Broker;
use chassis::auth::{Identity, TokenError, Verifier};

use crate::device_book::DeviceBook;
use crate::drain::Drain;
use crate::hub::Hub;
use crate::keeper::Keeper;
use crate::metrics::{self, Metrics};
use crate::presence::PresenceBook;
use crate::pulse::Pulse;
use crate::rate::Rates;

/// See the module's documentation.
pub(crate) struct Node {
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) devices: Arc<DeviceBook>,
    pub(crate) presence: Arc<PresenceBook>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) drain: Drain,
    pub(crate) rates: Arc<Rates>,
    pub(crate) metrics: Metrics,
}

impl Node {
    /// Who presents this token, by the time of the wall clock.
    pub(crate) async fn identify(&self, token: &str) -> Result<Identity, TokenError> {
        self.verifier.verify_or_refresh(token, metrics::now().0 / 1000).await
    }
}
