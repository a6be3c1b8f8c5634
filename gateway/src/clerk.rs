//! Answers what other processes ask about this node's sessions.

use std::sync::Arc;

use broker::{Broker, SessionSeen};
use proto::{NodeId, Timestamp};
use tokio::sync::mpsc;

use crate::endpoint::Endpoint;
use crate::hub::Asked;
use crate::metrics;
use crate::peer::Peer;
use crate::pulse::Pulse;

/// How many questions wait for their answer at most.
pub(crate) const QUESTIONS: usize = 1024;

/// See the module's documentation.
pub(crate) struct Clerk {
    pub(crate) node: NodeId,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) endpoints: Arc<[Endpoint]>,
    pub(crate) pulse: Arc<Pulse>,
}

impl Clerk {
    /// Answers until nobody can ask any more.
    pub(crate) async fn run(self, mut questions: mpsc::Receiver<Asked>) {
        while let Some(Asked { question, peers }) = questions.recv().await {
            let sessions: Vec<_> = peers.iter().map(|peer| self.describe(peer)).collect();
            if let Err(error) = broker::answer(&*self.broker, &question, &sessions).await {
                // Whoever asked waits in vain, and is told so.
                tracing::debug!(%error, "a question was not answered");
            }
        }
    }

    fn describe(&self, peer: &Peer) -> SessionSeen {
        let age = u64::from(self.pulse.second().saturating_sub(peer.born));
        let endpoint = self.endpoints.get(usize::from(peer.endpoint.0));
        SessionSeen {
            session: peer.session().clone(),
            node: self.node.clone(),
            endpoint: endpoint.map(|endpoint| endpoint.path.clone()).unwrap_or_default(),
            since: Timestamp(metrics::now().0.saturating_sub(age * 1000)),
        }
    }
}
