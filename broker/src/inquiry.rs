//! Questions to a user's clients, which only they can answer: the nodes that hold their sessions ask them.

use std::time::Duration;

use proto::{Channel, Publication, SessionId};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::control::gather;
use crate::{Broker, Control, Unavailable};

/// The longest that clients may be given to answer.
pub const LONGEST_INQUIRY: Duration = Duration::from_secs(30);

/// What clients are asked. It is stored nowhere: whoever is not there is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inquiry {
    /// The event and its data, as they would be published in the user's channel.
    pub publication: Publication,
    /// How long clients have for their answers, in milliseconds.
    pub within: u64,
}

/// What one client answers.
#[derive(Debug, Serialize, Deserialize)]
pub struct Reply {
    /// Its session.
    pub session: SessionId,
    /// A JSON array: all that it has to say.
    pub data: Box<RawValue>,
}

/// What became of a question.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Replies {
    /// The answers, in the order in which they came to each node.
    pub answers: Vec<Reply>,
    /// How many sessions were asked and gave none in time.
    pub silent: u64,
    /// How many sessions were not asked: their clients cannot be asked, or have no word for it.
    pub unasked: u64,
}

/// Asks the clients of the user with this channel, and gathers what they answer.
///
/// # Errors
/// When a node that was asked did not answer within `patience` after its clients had to. They may have been asked.
pub async fn inquire(
    broker: &dyn Broker,
    user: &Channel,
    inquiry: Inquiry,
    patience: Duration,
) -> Result<Replies, Unavailable> {
    let patience = patience + Duration::from_millis(inquiry.within);
    let request = |question| Control::Ask { inquiry: Box::new(inquiry), question };
    let mut all = Replies::default();
    for replies in gather::<Replies>(broker, user, request, patience).await? {
        all.answers.extend(replies.answers);
        all.silent += replies.silent;
        all.unasked += replies.unasked;
    }
    Ok(all)
}
