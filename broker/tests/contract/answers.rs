//! Questions to other nodes.

use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::{NodeId, SessionId, Timestamp};
use switchboard_broker::{Control, Question, SessionSeen, answer, ask};

use crate::node::{Event, Node};
use crate::world::World;

pub(crate) async fn whoever_asks_gets_what_every_node_answered(world: &World) {
    let (a, b) = world.two().await;
    let asker = world.node("asker").await;
    let user = world.user("ann");
    let patience = Duration::from_secs(20);
    let nobody = ask(&*asker, &user, |question| Control::Sessions { question }, patience).await;
    assert_eq!(nobody, Ok(Vec::new()));
    for node in [&a, &b] {
        node.listen(std::slice::from_ref(&user)).await;
    }
    let answering = [(a, "a"), (b, "b")].map(|(node, name)| {
        tokio::spawn(async move {
            let question = asked(&node).await;
            answer(&*node, &question, &[seen(name, 7), seen("x", 8)]).await.unwrap();
        })
    });
    let sessions = ask(&*asker, &user, |question| Control::Sessions { question }, patience).await.unwrap();
    assert_eq!(sessions, [seen("a", 7), seen("b", 7), seen("x", 8), seen("x", 8)]);
    for answering in answering {
        answering.await.unwrap();
    }
}

pub(crate) async fn who_waits_for_a_node_that_does_not_answer_waits_no_longer_than_it_wants(world: &World) {
    let (a, b) = world.two().await;
    let question = Question::new();
    a.answer(&question, Bytes::from_static(b"1:\r\n\0")).await.unwrap();
    a.answer(&Question::new(), Bytes::from_static(b"of another")).await.unwrap();
    let (started, patience) = (Instant::now(), Duration::from_millis(300));
    let answers = b.answers(&question, 2, patience).await.unwrap();
    assert_eq!(answers, [Bytes::from_static(b"1:\r\n\0")]);
    assert!(started.elapsed() >= patience);
    let user = world.user("ann");
    a.listen(std::slice::from_ref(&user)).await;
    let silence = ask(&*b, &user, |question| Control::Sessions { question }, patience).await;
    assert!(silence.is_err());
}

fn seen(name: &str, since: u64) -> SessionSeen {
    SessionSeen {
        session: SessionId::new(name).unwrap(),
        node: NodeId::new("n").unwrap(),
        endpoint: "/".to_owned(),
        since: Timestamp(since),
    }
}

/// What a node was asked.
async fn asked(node: &Node) -> Question {
    let question = |events: &[Event]| {
        events.iter().find_map(|event| match event {
            Event::Control(_, payload) => match Control::decode(payload) {
                Some(Control::Sessions { question }) => Some(question),
                _ => None,
            },
            _ => None,
        })
    };
    node.until("a question arrives", |events| question(events).is_some()).await;
    question(&node.events()).unwrap()
}
