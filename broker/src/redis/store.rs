//! Streams: publish, read, and where they end.

use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use fred::interfaces::PubsubInterface;
use fred::types::Value;
use fred::types::scripts::Script;
use futures_util::{StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use proto::{Channel, Nonce, Position};
use tokio::time::Instant;

use super::argument::{millis, random};
use super::breaker::Breaker;
use super::commands::{Commands, View};
use super::keys::Keys;
use super::link::slot::slot;
use super::outbox::{Outboxes, TICKETS, void};
use super::publishing::{Call, Letter, META_MARGIN, Publishing};
use super::reply::{Outcome, Reading};
use super::retry::Repeat;
use super::wire;
use crate::{
    Earlier, Frame, History, HistoryQuery, IdempotencyKey, Publish, PublishError, Published, Retention,
    Unavailable,
};

static EARLIER: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/earlier.lua")));
static SIGNAL: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/signal.lua")));
static READ: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/read.lua")));

/// How many tops are asked for at a time.
const TOPS_IN_FLIGHT: usize = 256;

/// The streams of all channels.
#[derive(Clone)]
pub(super) struct Store {
    commands: Commands,
    publishing: Arc<Publishing>,
    breaker: Arc<Mutex<Breaker>>,
    keys: Keys,
    outboxes: Outboxes,
    /// On a cluster PUB/SUB is sharded by slot, and a channel lives where its keys do.
    sharded: bool,
}

impl Store {
    pub(super) fn new(
        commands: Commands,
        publishing: Arc<Publishing>,
        keys: Keys,
        outboxes: Outboxes,
        sharded: bool,
    ) -> Self {
        Self { commands, publishing, breaker: Arc::default(), keys, outboxes, sharded }
    }

    /// Ends the connections that are the store's own.
    pub(super) fn close(&self) {
        self.publishing.close();
    }

    /// Publishes, unless it is known that this would fail, after a wait.
    pub(super) async fn publish(
        &self,
        channel: &Channel,
        publish: &Publish,
    ) -> Result<Published, PublishError> {
        let (view, begun) = (self.commands.view(), Instant::now());
        {
            let mut breaker = self.breaker.lock();
            let goes_well = view != View::Down && breaker.is_closed();
            if !goes_well && !breaker.admits(self.place(channel), view, begun) {
                return Err(Unavailable("redis was away a moment ago".to_owned()).into());
            }
        }
        let outcome = self.publish_anyway(channel, publish).await;
        let succeeded = !outcome.as_ref().is_err_and(is_away);
        let mut breaker = self.breaker.lock();
        if !succeeded || !breaker.is_closed() {
            breaker.ended(self.place(channel), succeeded, begun.elapsed(), Instant::now());
        }
        drop(breaker);
        outcome
    }

    async fn publish_anyway(&self, channel: &Channel, publish: &Publish) -> Result<Published, PublishError> {
        let payload = publish.publication.encode().map_err(|error| Unavailable(error.to_string()))?;
        let outcome = match (publish.retention, publish.idempotency) {
            (Some(retention), id) => {
                let id = id.map(|id| (id, publish.fingerprint()));
                self.append(channel, payload, retention, id, publish.outbox).await?
            }
            (None, Some(id)) => self.signal_once(channel, payload, id, publish.fingerprint()).await?,
            (None, None) => self.signal(channel, payload).await?,
        };
        // An ephemeral repetition of a stored message, and the other way round, is a duplicate of it all the same.
        match outcome {
            Outcome::Done(position) => Ok(Published { position, duplicate: false }),
            Outcome::Duplicate(position) => Ok(Published { position, duplicate: true }),
            Outcome::Conflict => Err(PublishError::Conflict),
            Outcome::Full => Err(PublishError::OutboxFull),
            Outcome::Unmarked(_) => Err(void().into()),
        }
    }

    async fn append(
        &self,
        channel: &Channel,
        payload: Bytes,
        retention: Retention,
        id: Option<(IdempotencyKey, String)>,
        outbox: Option<u32>,
    ) -> Result<Outcome, PublishError> {
        let outbox = outbox.map(|most| Letter { most, ticket: String::new() });
        let (channel, nonce) = (channel.clone(), Nonce(random()));
        let mut call = Call { channel, retention, nonce, payload, id, outbox, again: false };
        for _ in 0..TICKETS {
            let done = self.publishing.run(self.place(&call.channel), call.clone()).await;
            self.commands.note(done.as_ref().err().filter(|error| is_away(error)));
            let outcome = done?;
            let Outcome::Unmarked(drawn) = outcome else { return Ok(outcome) };
            self.outboxes.mark(&call.channel).await?;
            call.outbox = call.outbox.map(|letter| Letter { ticket: drawn.to_string(), ..letter });
        }
        Err(void().into())
    }

    async fn signal_once(
        &self,
        channel: &Channel,
        payload: Bytes,
        id: IdempotencyKey,
        fingerprint: String,
    ) -> Result<Outcome, Unavailable> {
        let arguments = [
            Value::Bytes(wire::encode(&Frame { step: None, payload })),
            self.keys.channel(channel).into(),
            self.verb().into(),
            random().to_string().into(),
            fingerprint.into(),
            millis(id.window()),
        ];
        let keys = [self.keys.record(channel, id)];
        self.commands.script(Repeat::Harmless, &SIGNAL, &keys, |_| arguments.to_vec()).await
    }

    async fn signal(&self, channel: &Channel, payload: Bytes) -> Result<Outcome, Unavailable> {
        let message = wire::encode(&Frame { step: None, payload });
        self.send(channel, message).await.map(|_| Outcome::Done(None))
    }

    pub(super) async fn control(&self, channel: &Channel, payload: &[u8]) -> Result<u64, Unavailable> {
        self.send(channel, wire::control(payload)).await
    }

    /// Hands a message to the subscribers and tells how many there are.
    async fn send(&self, channel: &Channel, message: Bytes) -> Result<u64, Unavailable> {
        let channel = self.keys.channel(channel);
        let sent = self.commands.run(Repeat::Harmful, |client, _| {
            let (channel, message, sharded) = (channel.clone(), message.clone(), self.sharded);
            async move {
                if sharded {
                    client.spublish(channel, message).await
                } else {
                    client.publish(channel, message).await
                }
            }
        });
        sent.await
    }

    pub(super) async fn history(
        &self,
        channel: &Channel,
        query: HistoryQuery,
    ) -> Result<History, Unavailable> {
        // Two more than asked for: the place's own entry, and the one that shows what comes next.
        let count = u64::from(query.limit) + 2;
        let Reading { top, entries } = self.read(channel, count, query.after).await?;
        Ok(History::judge(query, top, entries))
    }

    pub(super) async fn tops(&self, channels: &[Channel]) -> Result<Vec<Position>, Unavailable> {
        // Commands that are in flight together leave in few writes, whichever servers they go to.
        let tops = channels.iter().cloned().map(|channel| self.top(channel));
        stream::iter(tops).buffered(TOPS_IN_FLIGHT).try_collect().await
    }

    async fn top(&self, channel: Channel) -> Result<Position, Unavailable> {
        Ok(self.read(&channel, 0, None).await?.top)
    }

    pub(super) async fn earlier(
        &self,
        channel: &Channel,
        before: Option<Position>,
        limit: u32,
    ) -> Result<Earlier, Unavailable> {
        let keys = [self.keys.meta(channel), self.keys.stream(channel)];
        let (epoch, offset) = before.map_or((String::new(), String::new()), |before| {
            (before.epoch.0.to_string(), before.offset.to_string())
        });
        // One more than asked for: the place's own entry.
        let arguments: [Value; 3] = [(u64::from(limit) + 1).to_string().into(), epoch.into(), offset.into()];
        let Reading { top, entries } =
            self.commands.script(Repeat::Harmless, &EARLIER, &keys, |_| arguments.to_vec()).await?;
        Ok(Earlier::judge(before, top, entries, limit))
    }

    async fn read(
        &self,
        channel: &Channel,
        count: u64,
        from: Option<Position>,
    ) -> Result<Reading, Unavailable> {
        let keys = [self.keys.meta(channel), self.keys.stream(channel)];
        let (epoch, offset) = from.map_or((String::new(), String::new()), |from| {
            (from.epoch.0.to_string(), from.offset.to_string())
        });
        let arguments: [Value; 5] = [
            random().to_string().into(),
            millis(META_MARGIN),
            count.to_string().into(),
            epoch.into(),
            offset.into(),
        ];
        self.commands.script(Repeat::Harmless, &READ, &keys, |_| arguments.to_vec()).await
    }

    const fn verb(&self) -> &'static str {
        if self.sharded { "SPUBLISH" } else { "PUBLISH" }
    }

    /// The slot that a channel is in; without a cluster there is one place for all.
    fn place(&self, channel: &Channel) -> u16 {
        if self.sharded { slot(self.keys.channel(channel).as_bytes()) } else { 0 }
    }
}

/// Whether a publish failed because Redis could not be asked, or did not answer.
const fn is_away(error: &PublishError) -> bool {
    matches!(error, PublishError::Unavailable(_))
}
