//! Which sessions have the places that users may have.

use std::collections::HashMap;

use parking_lot::Mutex;
use proto::{Channel, SessionId};

use super::mailbox::NodeKey;
use crate::Place;

/// The places of all users, by user and circle.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<(Channel, String), Taken>>);

/// Which sessions, of which node, in the order in which they came.
type Taken = Vec<(SessionId, NodeKey)>;

impl Places {
    /// Gives a session a place; answers who lost theirs, or `None` if it gets none.
    pub(super) fn claim(&self, place: &Place, again: bool, node: NodeKey) -> Option<Vec<SessionId>> {
        let mut all = self.0.lock();
        let taken = all.entry((place.user.clone(), place.circle.clone())).or_default();
        let limit = usize::try_from(place.limit.max(1)).unwrap_or(usize::MAX);
        if !taken.iter().any(|(session, _)| *session == place.session) {
            match again {
                false => taken.push((place.session.clone(), node)),
                true if taken.len() < limit => taken.insert(0, (place.session.clone(), node)),
                true => return None,
            }
        }
        let over = taken.len().saturating_sub(limit);
        Some(taken.drain(..over).map(|(session, _)| session).collect())
    }

    /// Gives a place up.
    pub(super) fn waive(&self, place: &Place) {
        let mut all = self.0.lock();
        let key = (place.user.clone(), place.circle.clone());
        if let Some(taken) = all.get_mut(&key) {
            taken.retain(|(session, _)| *session != place.session);
            if taken.is_empty() {
                all.remove(&key);
            }
        }
    }

    /// Gives up all places of a node.
    pub(super) fn waive_all(&self, node: NodeKey) {
        self.0.lock().retain(|_, taken| {
            taken.retain(|(_, at)| *at != node);
            !taken.is_empty()
        });
    }
}
