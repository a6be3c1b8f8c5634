//! A subscriber that has read the stream further than its node has followed it.

use std::task::{Context, Waker};

use broker::memory::{MemoryBroker, Store};
use broker::{Continuity, Entry as Stored};
use proto::{Epoch, EventName, NodeId, Nonce, Room, Tenant, Timestamp};

use super::*;
use crate::endpoint::EndpointId;
use crate::wire::outbound::Outbound;

fn at(offset: u64, nonce: u64) -> Position {
    Position { epoch: Epoch(7), offset, nonce: Nonce(nonce) }
}

fn frame(position: Position, previous: u64) -> Frame {
    let publication = Publication {
        event: EventName::new("e").unwrap(),
        data: serde_json::value::to_raw_value(&position).unwrap(),
        binary: proto::BinaryPlaces::default(),
        id: None,
        from: None,
        timestamp: Timestamp(0),
    };
    let step = Some(Step { position, previous: Nonce(previous) });
    Frame { step, payload: publication.encode().unwrap() }
}

fn history(top: Position, continuity: Continuity, entries: Vec<Stored>) -> History {
    History { top, entries, continuity }
}

/// A node that follows a room up to 5, and somebody who listens.
struct Node {
    hub: Arc<Hub>,
    reads: mpsc::UnboundedReceiver<ReadRequest>,
    attachment: Attachment,
    peer: Arc<Peer>,
}

impl Node {
    async fn start() -> Self {
        let channel = Channel::room(&Tenant::new("t").unwrap(), &Room::new("r").unwrap());
        let metrics = Metrics::new(&prometheus::Registry::new()).unwrap();
        let endpoints = vec![Endpoint::default()].into();
        let broker = Arc::new(MemoryBroker::new(&Store::new(), NodeId::new("n").unwrap()));
        let (hub, mut reads) = Hub::new(
            broker,
            Arc::default(),
            endpoints,
            metrics,
            Arc::new(Flusher::new(1)),
            mpsc::channel(1).0,
        );
        let attaching = tokio::spawn({
            let (hub, channel) = (Arc::clone(&hub), channel.clone());
            async move { hub.attach(channel).await }
        });
        let wanted = reads.recv().await.unwrap();
        hub.answer(&channel, wanted.read.ticket, history(at(5, 50), Continuity::Continuous, Vec::new()));
        let (attachment, position) = attaching.await.unwrap();
        assert_eq!(position, at(5, 50));
        let peer = Peer::new(0, EndpointId(0), Outbound::to_taker(1 << 16), 0);
        Self { hub, reads, attachment, peer: Arc::new(peer) }
    }

    fn feed_from(&mut self, at: Position) -> Result<(), Behind> {
        let seen = self.attachment.gaps();
        self.attachment.feed(&self.peer, at, Some(seen))
    }

    fn arrives(&self, position: Position, previous: u64) {
        self.hub.frame(self.attachment.channel().as_str(), frame(position, previous));
    }

    /// The node finds another history, whose top is 8.
    async fn forks(&mut self) {
        let channel = self.attachment.channel().clone();
        self.hub.interrupted(std::slice::from_ref(&channel));
        self.hub.subscribed(std::slice::from_ref(&channel));
        let wanted = self.reads.recv().await.unwrap();
        self.hub.answer(&channel, wanted.read.ticket, history(at(8, 81), Continuity::Fork, Vec::new()));
    }

    fn lagging(&self) -> Vec<Position> {
        self.peer.take_lagging().into_iter().map(|(_, at)| at).collect()
    }

    /// How many frames it was given.
    fn given(&self) -> usize {
        match self.peer.poll_take(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(Some(frames)) => frames.len(),
            _ => 0,
        }
    }
}

#[tokio::test]
async fn who_is_ahead_is_given_only_what_it_does_not_know() {
    let mut node = Node::start().await;
    node.feed_from(at(7, 70)).unwrap();
    node.arrives(at(6, 60), 50);
    node.arrives(at(7, 70), 60);
    assert_eq!((node.given(), node.lagging()), (0, vec![]));
    node.arrives(at(8, 80), 70);
    assert_eq!((node.given(), node.lagging()), (1, vec![]));
}

#[tokio::test]
async fn who_is_ahead_looks_for_itself_when_the_node_finds_a_fork() {
    let mut node = Node::start().await;
    node.feed_from(at(7, 70)).unwrap();
    node.forks().await;
    assert_eq!((node.given(), node.lagging()), (0, vec![at(7, 70)]));
}

#[tokio::test]
async fn who_is_in_step_is_told_of_a_fork() {
    let mut node = Node::start().await;
    node.feed_from(at(5, 50)).unwrap();
    node.forks().await;
    assert_eq!((node.given(), node.lagging()), (1, vec![]));
}

#[tokio::test]
async fn who_is_ahead_in_another_history_looks_again() {
    let mut node = Node::start().await;
    node.feed_from(at(6, 61)).unwrap();
    node.arrives(at(6, 60), 50);
    assert_eq!((node.given(), node.lagging()), (0, vec![at(6, 61)]));
}

#[tokio::test]
async fn a_look_from_before_a_fork_does_not_count() {
    let mut node = Node::start().await;
    let seen = node.attachment.gaps();
    node.forks().await;
    assert_eq!(node.attachment.feed(&node.peer, at(9, 90), Some(seen)), Err(Behind));
    assert_eq!(node.attachment.feed(&node.peer, at(9, 90), None), Err(Behind));
    node.feed_from(at(9, 90)).unwrap();
}
