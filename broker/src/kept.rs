//! Small things that nodes keep for each other for a while.

use proto::{NodeId, SessionId};

/// Under what something is kept. Each sort has its own names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum KeptKey {
    /// What is needed to go on with a session, by the secret that its client has.
    Session(SessionId),
    /// How a node is reached by the others.
    Node(NodeId),
}
