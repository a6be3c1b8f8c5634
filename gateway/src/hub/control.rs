//! What other processes tell this node about a user's sessions, and ask it.

use std::collections::HashMap;
use std::sync::Arc;

use broker::{Control, LISTED_SESSIONS, MembershipChange, Question, Replaced};
use proto::{Close, Kind, SessionId, Tenant};

use super::Hub;
use crate::peer::{Memberships, Peer, Signal};
use crate::takeover::Takeover;

/// A question with the connections that are the answer.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) peers: Vec<Arc<Peer>>,
}

impl Hub {
    /// Does as a message on a user's channel says.
    pub(super) fn heed(&self, channel: &str, payload: &[u8]) {
        if let Some(change) = MembershipChange::decode(payload) {
            if let Some(entry) = self.shard(channel).get(channel) {
                for (_, subscriber) in &entry.subscribers {
                    subscriber.peer.change_memberships(Memberships::Changed(change.clone()));
                }
            }
            return;
        }
        if let Some(Replaced { sessions }) = Replaced::decode(payload) {
            for peer in self.sessions(channel, None) {
                if sessions.contains(peer.connection()) {
                    peer.signal(Signal::Close(Close::Replaced));
                }
            }
            return;
        }
        if let Some(takeover) = Takeover::decode(payload) {
            self.sessions(channel, None).iter().for_each(|peer| takeover.tell(peer));
            return;
        }
        match Control::decode(payload) {
            Some(Control::Disconnect { session, question }) => {
                let peers = self.sessions(channel, session.as_ref());
                for peer in &peers {
                    peer.signal(Signal::Close(Close::Disconnected));
                }
                self.reply(question, peers);
            }
            Some(Control::Sessions { question }) => {
                let mut peers = self.sessions(channel, None);
                peers.truncate(LISTED_SESSIONS);
                self.reply(question, peers);
            }
            // From a node of a later version.
            None => tracing::debug!(channel, "a message from node to node that is not known here"),
        }
    }

    /// How many sessions each tenant has here: each of them listens to the channel of everyone.
    pub(crate) fn sessions_by_tenant(&self) -> HashMap<Tenant, u64> {
        let mut sessions = HashMap::new();
        for shard in &self.shards {
            let shard = shard.lock();
            let everyone = shard.values().filter(|entry| entry.channel.kind() == Kind::Everyone);
            for entry in everyone.filter(|entry| entry.attachments > 0) {
                if let Ok(tenant) = Tenant::new(entry.channel.tenant()) {
                    sessions.insert(tenant, entry.attachments as u64);
                }
            }
        }
        sessions
    }

    /// The connections in a channel, or the one of them that is named.
    fn sessions(&self, channel: &str, only: Option<&SessionId>) -> Vec<Arc<Peer>> {
        let shard = self.shard(channel);
        let subscribers = shard.get(channel).into_iter().flat_map(|entry| &entry.subscribers);
        let peers = subscribers.map(|(_, subscriber)| &subscriber.peer);
        peers.filter(|peer| only.is_none_or(|only| peer.session() == only)).cloned().collect()
    }

    fn reply(&self, question: Question, peers: Vec<Arc<Peer>>) {
        if self.asked.try_send(Asked { question, peers }).is_err() {
            // Whoever asked waits in vain, and is told so.
            tracing::warn!("more questions about sessions than this node answers at a time");
        }
    }
}
