//! What all connections of a node share.

pub(crate) mod clerk;
pub(crate) mod device_book;
pub(crate) mod drain;
pub(crate) mod inquiries;
pub(crate) mod keeper;
pub(crate) mod presence;
pub(crate) mod pulse;
pub(crate) mod tally;

use std::sync::Arc;

use broker::{Broker, Revocation, RevocationReader, Unavailable};
use chassis::auth::{Identity, Revoked, TokenError, Verifier};

use crate::clock;
use crate::hub::Hub;
use crate::metrics::Metrics;
use crate::session::rate::Rates;
use device_book::DeviceBook;
use drain::Drain;
use inquiries::Inquiries;
use keeper::Keeper;
use presence::PresenceBook;
use pulse::Pulse;

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
    pub(crate) inquiries: Arc<Inquiries>,
    pub(crate) rates: Arc<Rates>,
    pub(crate) metrics: Metrics,
}

impl Node {
    /// Who presents this token, by the time of the wall clock.
    pub(crate) async fn identify(&self, token: &str) -> Result<Identity, TokenError> {
        self.verifier.verify_or_refresh(token, clock::now().0 / 1000).await
    }

    /// Learns which tokens are revoked and ends the sessions that have one, until the task is dropped. A session that is
    /// about to begin with one is ended as well: it looks again once it has begun.
    pub(crate) async fn follow_revocations(self: Arc<Self>) {
        let mut reader = RevocationReader::new(Arc::clone(&self.broker));
        reader.follow(|news| self.learn(&news)).await;
    }

    /// Learns what is revoked already.
    pub(crate) async fn read_revocations(&self) -> Result<(), Unavailable> {
        RevocationReader::new(Arc::clone(&self.broker)).look(|news| self.learn(&news)).await
    }

    fn learn(&self, news: &[Revocation]) {
        let revoked = news.iter().filter_map(|news| Some((Revoked::decode(&news.text)?, news.until.0)));
        let revocations = self.verifier.revocations();
        if revocations.add(revoked, clock::now().0) {
            self.pulse.heed(revocations);
        }
    }
}
