//! Reads streams for followers: batched, so that a hundred thousand channels resynchronise with few round trips, and
//! repeated until the broker answers.

use std::sync::Arc;
use std::time::Duration;

use broker::chaos::{Detector, audit as audit_every, is_off, same};
use broker::{Broker, Continuity, History, HistoryQuery, Unavailable};
use futures_util::stream::{self, StreamExt};
use proto::{Channel, Position};
use tokio::sync::mpsc;
use tokio::time;

use super::{Hub, ReadRequest};

/// How many channels are asked for their top at once.
const BATCH: usize = 512;

/// How many streams are read at once.
const CONCURRENT: usize = 64;

/// How many publications one read returns; more than a follower remembers, so that it finds where two histories part.
const PAGE: u32 = 256;

/// How long to wait before asking a broker again that did not answer.
const RETRY: Duration = Duration::from_millis(200);

/// How often each channel's top is compared with the stream's.
const AUDIT: Duration = Duration::from_secs(30);

/// Answers the reads that followers want, until the hub is gone.
pub(crate) async fn run(
    hub: Arc<Hub>,
    broker: Arc<dyn Broker>,
    mut wanted: mpsc::UnboundedReceiver<ReadRequest>,
) {
    let mut batch = Vec::with_capacity(BATCH);
    while wanted.recv_many(&mut batch, BATCH).await > 0 {
        while let Err(Unavailable(reason)) = answer(&hub, &*broker, &mut batch).await {
            tracing::debug!(reason, waiting = batch.len(), "streams cannot be read");
            time::sleep(RETRY).await;
        }
    }
}

/// Answers a batch. What was not answered stays in it.
async fn answer(hub: &Hub, broker: &dyn Broker, batch: &mut Vec<ReadRequest>) -> Result<(), Unavailable> {
    // Most channels missed nothing: the top alone tells.
    let channels: Vec<Channel> = batch.iter().map(|request| request.channel.clone()).collect();
    let tops = broker.tops(&channels).await?;
    let mut behind = Vec::new();
    for (request, top) in batch.drain(..).zip(tops) {
        if request.read.after.is_none_or(|after| same(after, top)) {
            let nothing = History { top, entries: Vec::new(), continuity: Continuity::Continuous };
            hub.answer(&request.channel, request.read.ticket, nothing);
        } else {
            behind.push(request);
        }
    }
    let read = |request: ReadRequest| async move {
        let query = HistoryQuery { after: request.read.after, limit: PAGE };
        let history = broker.history(&request.channel, query).await;
        (request, history)
    };
    let mut answers = stream::iter(behind.into_iter().map(read)).buffer_unordered(CONCURRENT);
    let mut failure = None;
    while let Some((request, history)) = answers.next().await {
        match history {
            Ok(history) => hub.answer(&request.channel, request.read.ticket, history),
            Err(error) => {
                batch.push(request);
                failure = Some(error);
            }
        }
    }
    hub.flush_peers();
    failure.map_or(Ok(()), Err)
}

/// Compares the position of every live channel with its stream, a slice of them each second, so that the loss of a
/// last frame, after which no other shows the hole, is found within half a minute.
pub(crate) async fn audit(hub: Arc<Hub>, broker: Arc<dyn Broker>) {
    let slices = usize::try_from(audit_every(AUDIT).as_secs()).unwrap_or(1).max(1);
    for slice in (0..slices).cycle() {
        let live = hub.live_positions(slice, slices);
        // What is on its way now has arrived by then.
        time::sleep(Duration::from_secs(1)).await;
        audit_slice(&hub, &*broker, &live).await;
    }
}

async fn audit_slice(hub: &Hub, broker: &dyn Broker, slice: &[(Channel, Position)]) {
    if is_off(Detector::Audit) {
        return;
    }
    for batch in slice.chunks(BATCH) {
        let channels: Vec<Channel> = batch.iter().map(|(channel, _)| channel.clone()).collect();
        // When the broker is away, the subscription is too, and its return is followed by a read.
        let Ok(tops) = broker.tops(&channels).await else { return };
        for ((channel, asked), top) in batch.iter().zip(tops) {
            hub.audit(channel, *asked, top);
        }
    }
    hub.flush_peers();
}
