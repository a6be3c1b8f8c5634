//! Questions to clients that can answer: to whom they go, and whose acknowledgements are awaited.
//!
//! An acknowledgement id is one of 52 bits of the question, the same for all whom this node asks. So one frame is built
//! for all of them, and an answer that comes late, or to another connection of the session, or from whom nobody asked, finds
//! nobody who waits for it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use broker::{Inquiry, LONGEST_INQUIRY, Question, Replies, Reply};
use bytes::Bytes;
use parking_lot::Mutex;
use proto::{Channel, Outgoing};
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

use crate::endpoint::{Endpoint, PerEndpoint};
use crate::peer::Peer;
use crate::wire::outbound::Push;

/// How many questions a client may have open. One more is not put to it.
const OPEN_QUESTIONS: usize = 16;

/// How many of a user's sessions are asked on one node.
const ASKED_SESSIONS: usize = 64;

/// The largest answer of a client, in bytes. A larger one is none.
const LARGEST_ANSWER: usize = 16 * 1024;

/// See the module's documentation.
#[derive(Debug, Default)]
pub(crate) struct Inquiries {
    /// By the number of the connection and the acknowledgement id.
    awaited: Mutex<BTreeMap<(usize, u64), mpsc::Sender<Reply>>>,
}

impl Inquiries {
    /// Puts a question to sessions of the user with this channel, and waits for their answers.
    pub(crate) async fn ask(
        &self,
        endpoints: &[Endpoint],
        user: &Channel,
        question: &Question,
        inquiry: &Inquiry,
        peers: &[Arc<Peer>],
    ) -> Replies {
        let deadline = Instant::now() + Duration::from_millis(inquiry.within).min(LONGEST_INQUIRY);
        let id = acknowledgement_id(question);
        let mut replies = Replies::default();
        let (sender, mut heard) = mpsc::channel(ASKED_SESSIONS);
        // Whatever becomes of this, nobody is waited for any longer.
        let _ended = Ended { inquiries: self, id, peers };
        {
            let (name, publication) = (user.public_name(), &inquiry.publication);
            let message = Outgoing::Message { channel: &name, position: None, latest: false, publication };
            let mut frames = PerEndpoint::new(endpoints);
            for peer in peers {
                let frame = frames.of(peer.endpoint, |endpoint| endpoint.question(&message, id)).flatten();
                match frame {
                    None => replies.unasked += 1,
                    Some(frame) => {
                        // Until there is an answer.
                        replies.silent += 1;
                        if replies.silent <= ASKED_SESSIONS as u64 {
                            self.put(peer, id, frame, &sender);
                        }
                    }
                }
            }
            drop(sender);
        }
        // No answer is left to come when all who wait for one are gone.
        while let Ok(Some(reply)) = timeout_at(deadline, heard.recv()).await {
            replies.answers.push(reply);
            replies.silent -= 1;
        }
        replies
    }

    /// Sends a question, unless too much waits for the client or from it.
    fn put(&self, peer: &Peer, id: u64, frame: Bytes, sender: &mpsc::Sender<Reply>) {
        {
            let mut awaited = self.awaited.lock();
            if awaited.range(all_of(peer.number)).count() >= OPEN_QUESTIONS {
                return;
            }
            awaited.insert((peer.number, id), sender.clone());
        }
        match peer.push(frame, None) {
            Push::Queued => peer.flush(),
            Push::Full | Push::Closed => self.give_up(peer.number, id),
        }
    }

    /// A client acknowledges something. `data` tells what, in at most so many bytes.
    pub(crate) fn answered(&self, peer: &Peer, id: u64, data: impl FnOnce(usize) -> Option<Box<RawValue>>) {
        let asked = self.awaited.lock().remove(&(peer.number, id));
        if let (Some(asked), Some(data)) = (asked, data(LARGEST_ANSWER)) {
            // There is room for everybody, unless nobody listens any more.
            let _ = asked.try_send(Reply { session: peer.session().clone(), data });
        }
    }

    /// A connection is over: it answers nothing any more.
    pub(crate) fn leave(&self, peer: &Peer) {
        let mut awaited = self.awaited.lock();
        let open: Vec<_> = awaited.range(all_of(peer.number)).map(|(key, _)| *key).collect();
        for key in open {
            awaited.remove(&key);
        }
    }

    fn give_up(&self, number: usize, id: u64) {
        self.awaited.lock().remove(&(number, id));
    }
}

/// A question that is not awaited any more once this is dropped.
struct Ended<'a> {
    inquiries: &'a Inquiries,
    id: u64,
    peers: &'a [Arc<Peer>],
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        for peer in self.peers {
            self.inquiries.give_up(peer.number, self.id);
        }
    }
}

fn all_of(number: usize) -> std::ops::RangeInclusive<(usize, u64)> {
    (number, 0)..=(number, u64::MAX)
}

/// Exact as a number of JavaScript (2^53), and as good as never that of another question.
fn acknowledgement_id(question: &Question) -> u64 {
    question.as_str().get(..13).and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or_default()
}
