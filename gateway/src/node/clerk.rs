//! Answers what other processes ask about this node's sessions, or want their clients to be asked.

use std::sync::Arc;

use broker::{Broker, Inquiry, Question, SessionSeen};
use proto::{Channel, NodeId};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::inquiries::Inquiries;
use super::pulse::Pulse;
use crate::endpoint::Endpoint;
use crate::hub::Asked;
use crate::peer::Peer;

/// How many questions wait for their answer at most.
pub(crate) const QUESTIONS: usize = 1024;

/// How many questions to clients are open at a time.
const OPEN_INQUIRIES: usize = 1024;

/// See the module's documentation.
#[derive(Clone)]
pub(crate) struct Clerk {
    pub(crate) node: NodeId,
    pub(crate) broker: Arc<dyn Broker>,
    pub(crate) endpoints: Arc<[Endpoint]>,
    pub(crate) pulse: Arc<Pulse>,
    pub(crate) inquiries: Arc<Inquiries>,
}

impl Clerk {
    /// Answers until nobody can ask any more.
    pub(crate) async fn run(self, mut questions: mpsc::Receiver<Asked>) {
        // They wait for people's clients, and nobody else waits for them.
        let mut inquiries = JoinSet::new();
        while let Some(Asked { question, peers, inquiry }) = questions.recv().await {
            while inquiries.try_join_next().is_some() {}
            if let Some((user, inquiry)) = inquiry {
                if inquiries.len() < OPEN_INQUIRIES {
                    inquiries.spawn(self.clone().inquire(user, inquiry, question, peers));
                } else {
                    tracing::warn!("more questions to clients than this node has open at a time");
                }
                continue;
            }
            let sessions: Vec<_> = peers.iter().map(|peer| self.describe(peer)).collect();
            self.answer(&question, &sessions).await;
        }
    }

    /// Asks the clients of sessions, and passes on what they answer.
    async fn inquire(self, user: Channel, inquiry: Box<Inquiry>, question: Question, peers: Vec<Arc<Peer>>) {
        let replies = self.inquiries.ask(&self.endpoints, &user, &question, &inquiry, &peers).await;
        self.answer(&question, &replies).await;
    }

    async fn answer(&self, question: &Question, answer: &(impl Serialize + Sync)) {
        if let Err(error) = broker::answer(&*self.broker, question, answer).await {
            // Whoever asked waits in vain, and is told so.
            tracing::debug!(%error, "a question of another process was not answered");
        }
    }

    fn describe(&self, peer: &Peer) -> SessionSeen {
        let endpoint = self.endpoints.get(usize::from(peer.endpoint.0));
        SessionSeen {
            session: peer.session().clone(),
            node: self.node.clone(),
            endpoint: endpoint.map(|endpoint| endpoint.path.clone()).unwrap_or_default(),
            since: self.pulse.time_of(peer.born),
        }
    }
}
