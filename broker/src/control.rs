//! What nodes are told about the sessions that they hold, and what they answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use proto::{Channel, NodeId, SessionId, Timestamp};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::{Broker, Inquiry, MembershipChange, Unavailable};

/// How long an answer waits for the one who asked.
pub(crate) const ANSWERS_KEPT: Duration = Duration::from_secs(60);

/// The most sessions that a node lists in one answer.
pub const LISTED_SESSIONS: usize = 1000;

/// A message to the nodes that hold sessions of a user, sent with [`Broker::control`] on the user's own channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Control {
    /// The user's memberships are changed. Sent by the broker itself.
    Memberships(MembershipChange),
    /// These sessions lost their places to newer ones. Sent by the broker itself, see [`Broker::claim`].
    Replaced(Vec<SessionId>),
    /// The client of a session came back to it: older connections of it are left behind.
    Resumed {
        /// The session.
        session: SessionId,
        /// The connection that goes on with it.
        by: SessionId,
    },
    /// Close the user's sessions, or the one that is named, as an administrator's wish, and answer which they were.
    Disconnect {
        /// Just this one.
        session: Option<SessionId>,
        /// What to answer to.
        question: Question,
    },
    /// Ask the clients of the user's sessions, and answer with [`Replies`](crate::Replies).
    Ask {
        /// What to ask them.
        inquiry: Box<Inquiry>,
        /// What to answer to.
        question: Question,
    },
    /// Answer which sessions of the user there are.
    Sessions {
        /// What to answer to.
        question: Question,
    },
}

impl Control {
    /// The payload of a message from node to node.
    pub fn encode(&self) -> Bytes {
        // Names and lists of them always have a form in JSON.
        serde_json::to_vec(self).unwrap_or_default().into()
    }

    /// Reads such a payload; `None` if it is about something that is not known here.
    pub fn decode(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok()
    }
}

/// A question to other nodes: a random id, under which they leave their answers.
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Question(String);

impl Question {
    /// A new one.
    #[expect(clippy::new_without_default, reason = "each is another")]
    pub fn new() -> Self {
        Self(format!("{:032x}", rand::random::<u128>()))
    }

    /// 32 hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Question({})", self.0)
    }
}

impl TryFrom<String> for Question {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Ok(Self(text))
        } else {
            Err("is no question")
        }
    }
}

impl From<Question> for String {
    fn from(question: Question) -> Self {
        question.0
    }
}

/// A session as its node describes it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionSeen {
    /// Its id.
    pub session: SessionId,
    /// The node that holds it.
    pub node: NodeId,
    /// The path of the endpoint that it came through.
    pub endpoint: String,
    /// Since when it is connected, to the second.
    pub since: Timestamp,
}

/// Asks the nodes that hold sessions of the user with this channel, and gathers the sessions that they answer with.
///
/// # Errors
/// When a node that was asked did not answer within `patience`. What was asked for may be done all the same.
pub async fn ask(
    broker: &dyn Broker,
    user: &Channel,
    request: impl FnOnce(Question) -> Control,
    patience: Duration,
) -> Result<Vec<SessionSeen>, Unavailable> {
    let answers = gather::<Vec<SessionSeen>>(broker, user, request, patience).await?;
    let mut sessions: Vec<SessionSeen> = answers.into_iter().flatten().collect();
    sessions.sort_by(|a, b| (a.since, &a.session).cmp(&(b.since, &b.session)));
    Ok(sessions)
}

/// Asks the nodes that hold sessions of the user with this channel, and gives the answer of each.
///
/// # Errors
/// When a node that was asked did not answer within `patience`.
pub(crate) async fn gather<Answer: DeserializeOwned>(
    broker: &dyn Broker,
    user: &Channel,
    request: impl FnOnce(Question) -> Control,
    patience: Duration,
) -> Result<Vec<Answer>, Unavailable> {
    let question = Question::new();
    let asked = broker.control(user, request(question.clone()).encode()).await?;
    let answers = broker.answers(&question, asked, patience).await?;
    if (answers.len() as u64) < asked {
        return Err(Unavailable(format!("{} of {asked} nodes answered", answers.len())));
    }
    let read =
        |answer: &Bytes| serde_json::from_slice(answer).map_err(|error| Unavailable(error.to_string()));
    answers.iter().map(read).collect()
}

/// Answers a question: with a list of [`SessionSeen`], or with [`Replies`](crate::Replies) to [`Control::Ask`].
///
/// # Errors
/// When the broker does not take it.
pub async fn answer(
    broker: &dyn Broker,
    question: &Question,
    answer: &(impl Serialize + Sync + ?Sized),
) -> Result<(), Unavailable> {
    let answer = serde_json::to_vec(answer).map_err(|error| Unavailable(error.to_string()))?;
    broker.answer(question, answer.into()).await
}

#[cfg(test)]
mod tests {
    use proto::{Publication, Room};

    use super::*;

    #[test]
    fn a_message_is_read_as_it_was_written_and_nothing_else_is() {
        let question = Question::new();
        let rooms = |names: &[&str]| names.iter().map(|name| Room::new(*name).unwrap()).collect::<Vec<_>>();
        let id = |text: &str| SessionId::new(text).unwrap();
        let publication = Publication::decode(br#"{"e":"ask","d":{"n":1.50},"t":7}"#).unwrap();
        for control in [
            Control::Memberships(MembershipChange::new(&rooms(&["a"]), &rooms(&["b"]))),
            Control::Replaced(vec![id("s"), id("t")]),
            Control::Resumed { session: id("s"), by: id("t") },
            Control::Disconnect { session: Some(id("s")), question: question.clone() },
            Control::Ask {
                inquiry: Box::new(Inquiry { publication, within: 5000 }),
                question: question.clone(),
            },
            Control::Sessions { question },
        ] {
            assert_eq!(Control::decode(&control.encode()), Some(control));
        }
        for other in
            ["", "{}", r#"{"memberships":{"join":["/"],"leave":[]}}"#, r#"{"sessions":{"question":"../x"}}"#]
        {
            assert_eq!(Control::decode(other.as_bytes()), None);
        }
    }
}
