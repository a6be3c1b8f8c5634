//! Long polling: what came after a position in a room, or the next thing that comes, for clients that have nothing but
//! plain requests.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, Query, Request};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use broker::{HistoryQuery, Unavailable};
use chassis::auth::TokenError;
use chassis::problem::Problem;
use proto::framing::native;
use proto::{Channel, ErrorCode, Outgoing, Position, Room};
use serde::Deserialize;
use tokio::time::timeout;

use super::door::Door;
use crate::connection::continuation::{self, Continuation, items};
use crate::session::LONGEST_HISTORY;
use crate::wire::outbound::Outbound;

/// The longest that a client may wait; proxies on the way seldom allow more than a minute.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// How long the broker may take to say where the channel stands.
const PATIENCE: Duration = Duration::from_secs(2);

/// What stands in the query.
#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// The last position seen; without it the oldest that is kept comes first.
    since: Option<Position>,
    limit: Option<u32>,
    /// How many seconds to wait if there is nothing yet.
    #[serde(default)]
    wait: u64,
}

impl Door {
    /// Answers with the frame `history` of the native protocol, and `gap` in it if something cannot be given any more.
    pub(crate) async fn poll(
        self,
        room: Path<String>,
        asked: Query<Asked>,
        request: Request,
    ) -> Result<Response, Problem> {
        let (Path(room), Query(asked)) = (room, asked);
        self.admit(request.headers())?;
        let token = self.credential(&request)?.credential;
        let identity = self.identify(token.as_deref()).await?;
        let room = Room::new(&room).map_err(|error| {
            Problem::new(ErrorCode::InvalidName).detail(format!("the room's name {error}"))
        })?;
        let channel = Channel::room(&identity.tenant, &room);
        if !identity.may_join(&room, self.terms.channels.of(&channel)) {
            return Err(
                Problem::new(ErrorCode::Forbidden).detail("the token does not allow to look into this room")
            );
        }
        let limit = asked.limit.unwrap_or(LONGEST_HISTORY).clamp(1, LONGEST_HISTORY);
        let mut next = self.read(&channel, asked.since, limit).await?;
        let wait = Duration::from_secs(asked.wait).min(LONGEST_WAIT);
        if let Some(since) = asked.since
            && !wait.is_zero()
            && since == next.top
        {
            self.await_next(&channel, since, wait).await?;
            if self.node.verifier.revocations().cover(&identity.token) {
                return Err(self.refuse(&TokenError::Revoked));
            }
            next = self.read(&channel, asked.since, limit).await?;
        }
        Ok(answer(&room, &channel, &next))
    }

    /// What came after a position, or from the oldest that is kept on.
    async fn read(
        &self,
        channel: &Channel,
        since: Option<Position>,
        limit: u32,
    ) -> Result<Continuation, Problem> {
        let broker = &*self.node.broker;
        let read = async {
            let Some(since) = since else {
                let history = broker.history(channel, HistoryQuery { after: None, limit }).await?;
                return Ok(Continuation {
                    at: history.top,
                    gap: None,
                    entries: history.entries,
                    top: history.top,
                });
            };
            let latest = self.terms.channels.of(channel).latest;
            continuation::read(broker, channel, since, limit, latest).await
        };
        read.await.map_err(|Unavailable(_)| away())
    }

    /// Waits until something came after a position, or long enough.
    async fn await_next(&self, channel: &Channel, since: Position, wait: Duration) -> Result<(), Problem> {
        let attached = timeout(PATIENCE, self.node.hub.attach(channel.clone())).await;
        let (mut attachment, _) = attached.map_err(|_| away())?;
        // What is fed here is not delivered: it only tells that there is something to read.
        let peer = Arc::new(self.peer(Outbound::to_taker(self.terms.endpoint.queue_bytes)));
        if attachment.feed(&peer, since, Some(attachment.gaps())).is_ok() {
            drop(timeout(wait, poll_fn(|cx| peer.poll_take(cx))).await);
        }
        Ok(())
    }
}

fn answer(room: &Room, channel: &Channel, next: &Continuation) -> Response {
    let (items, position) = items(channel, &next.entries, next.at);
    let more = position.offset < next.top.offset;
    let mut text = native::encode(&Outgoing::History { room, items: &items, position, more }, None);
    if let Some(gap) = next.gap.and_then(|reason| serde_json::to_string(&reason).ok())
        && text.pop() == Some('}')
    {
        text.push_str(",\"gap\":");
        text.push_str(&gap);
        text.push('}');
    }
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, "no-store")], text).into_response()
}

fn away() -> Problem {
    Problem::new(ErrorCode::Unavailable)
        .detail("the streams cannot be read now")
        .retry_after(Duration::from_secs(1))
}
