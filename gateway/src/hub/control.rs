//! What other processes tell this node about a user's sessions, and ask it.

use std::collections::HashMap;
use std::sync::Arc;

use broker::{Control, Inquiry, LISTED_SESSIONS, Question};
use proto::{Channel, Close, Kind, SessionId, Tenant};

use super::Hub;
use crate::peer::{Memberships, Peer, Signal};

/// A question with the connections that are the answer, or whose clients are to be asked.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) question: Question,
    pub(crate) peers: Vec<Arc<Peer>>,
    /// What to ask their clients, as sessions of the user with this channel.
    pub(crate) inquiry: Option<(Channel, Box<Inquiry>)>,
}

impl Hub {
    /// Does as a message on a user's channel says.
    pub(super) fn heed(&self, channel: &str, payload: &[u8]) {
        match Control::decode(payload) {
            Some(Control::Memberships(change)) => {
                for peer in self.sessions(channel, None) {
                    peer.change_memberships(Memberships::Changed(change.clone()));
                }
            }
            Some(Control::Replaced(sessions)) => {
                self.close(channel, Close::Replaced, |peer| sessions.contains(peer.connection()));
            }
            Some(Control::Resumed { session, by }) => {
                // Nobody is there to hear why.
                let is_left_behind = |peer: &Peer| *peer.session() == session && *peer.connection() != by;
                self.close(channel, Close::Timeout, is_left_behind);
            }
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
            Some(Control::Ask { inquiry, question }) => {
                let peers = self.sessions(channel, None);
                if let Ok(channel) = Channel::parse(channel) {
                    self.pass_on(Asked { question, peers, inquiry: Some((channel, inquiry)) });
                }
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

    fn close(&self, channel: &str, close: Close, is_meant: impl Fn(&Peer) -> bool) {
        for peer in self.sessions(channel, None).iter().filter(|peer| is_meant(peer)) {
            peer.signal(Signal::Close(close));
        }
    }

    fn reply(&self, question: Question, peers: Vec<Arc<Peer>>) {
        self.pass_on(Asked { question, peers, inquiry: None });
    }

    fn pass_on(&self, asked: Asked) {
        if self.asked.try_send(asked).is_err() {
            // Whoever asked waits in vain, and is told so.
            tracing::warn!("more questions about sessions than this node answers at a time");
        }
    }
}
