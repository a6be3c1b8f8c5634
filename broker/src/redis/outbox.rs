//! Outboxes: a stream for each channel, and an index of the channels that have something in theirs.
//!
//! A channel's outbox lies in its slot, so that the publish script fills it. The index is cut into parts, each in a slot
//! of its own, with the turn of each channel, who works on it, and since when it waits. A channel is entered before its
//! first letter is written and taken out after its last one is gone: see `scripts/enqueue.lua` for why neither overtakes
//! the other.

use std::sync::LazyLock;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use fred::interfaces::HashesInterface;
use fred::types::Value;
use fred::types::scripts::Script;
use futures_util::{StreamExt, TryStreamExt, stream};
use proto::{Channel, PresenceEntry, Tenant, Timestamp};

use super::RedisBroker;
use super::argument::random;
use super::commands::Commands;
use super::keys::{Keys, PARTS};
use super::note;
use super::reply::Entries;
use super::retry::Repeat;
use crate::{Claim, Claimed, DEAD_MAX, DeadLetter, EntryKey, Letter, LetterId, Outbox, Unavailable, Waiting};

static ADVANCE: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/advance.lua")));
static REPLAY: LazyLock<Script> = LazyLock::new(|| {
    Script::from_lua(concat!(include_str!("scripts/enqueue.lua"), include_str!("scripts/replay.lua")))
});
static MARK: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/mark.lua")));
static CLAIM: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/claim.lua")));
static KEEP: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/keep.lua")));
static BURY: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/bury_letter.lua")));
static DEAD: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/dead_letters.lua")));
static RELAY: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/relay.lua")));
static EXHUME: LazyLock<Script> = LazyLock::new(|| Script::from_lua(include_str!("scripts/exhume.lua")));

/// How often a letter is brought again to an outbox whose tickets were void: so often that workers which do nothing but empty it
/// do not keep a publisher out, each time a round trip to the index and one to the channel.
pub(super) const TICKETS: usize = 20;

/// The index of the channels with something in their outbox, and the dead letters.
#[derive(Clone)]
pub(super) struct Outboxes {
    commands: Commands,
    keys: Keys,
}

/// What scripts give as a flat list: channels, each with a number.
type Pairs<Number> = Vec<(String, Number)>;

/// What becomes of a claim.
enum Keep {
    Renew(Duration, Timestamp),
    Rest(Duration, u32),
    Finish,
}

impl Outboxes {
    pub(super) const fn new(commands: Commands, keys: Keys) -> Self {
        Self { commands, keys }
    }

    /// Enters a channel into the index.
    pub(super) async fn mark(&self, channel: &Channel) -> Result<(), Unavailable> {
        let keys = self.keys.part(Keys::part_of(channel));
        let _: u64 =
            self.commands.script(Repeat::Harmless, &MARK, &keys, |_| vec![channel.as_str().into()]).await?;
        Ok(())
    }

    async fn claim_of(&self, part: u16, limit: usize, lease: Duration) -> Result<Claimed, Unavailable> {
        let token = random();
        let keys = self.keys.part(part);
        let arguments: [Value; 3] = [limit.to_string().into(), millis(lease), token.to_string().into()];
        // An answer that is lost leaves claims that nobody holds. They run out.
        let (claimed, channels, oldest): (Pairs<u32>, u64, Pairs<f64>) =
            self.commands.script(Repeat::Harmless, &CLAIM, &keys, |_| arguments.to_vec()).await?;
        let claim = |(channel, failures): (String, u32)| {
            let channel = Channel::parse(&channel).ok()?;
            Some(Claim { channel, failures, token })
        };
        Ok(Claimed {
            claims: claimed.into_iter().filter_map(claim).collect(),
            channels,
            oldest: oldest.first().map(|(_, since)| Timestamp(*since as u64)),
        })
    }

    async fn keep(&self, claim: &Claim, keep: Keep) -> Result<bool, Unavailable> {
        let (word, time, failures, since) = match keep {
            Keep::Renew(lease, since) => ("renew", lease, 0, since.0.to_string()),
            Keep::Rest(rest, failures) => ("rest", rest, failures, String::new()),
            Keep::Finish => ("finish", Duration::ZERO, 0, String::new()),
        };
        let arguments: [Value; 6] = [
            claim.channel.as_str().into(),
            claim.token.to_string().into(),
            word.into(),
            millis(time),
            failures.to_string().into(),
            since.into(),
        ];
        let keys = self.keys.part(Keys::part_of(&claim.channel));
        let stands: u64 =
            self.commands.script(Repeat::Harmless, &KEEP, &keys, |_| arguments.to_vec()).await?;
        Ok(stands != 0)
    }

    async fn advance(
        &self,
        channel: &Channel,
        done: &[EntryKey],
        limit: u32,
    ) -> Result<Vec<Waiting>, Unavailable> {
        let mut arguments: Vec<Value> = vec![limit.max(1).to_string().into()];
        arguments.extend(done.iter().map(|key| Value::from(key.0.as_str())));
        let keys = [self.keys.outbox(channel), self.keys.mark(channel)];
        let Entries(entries) =
            self.commands.script(Repeat::Harmless, &ADVANCE, &keys, |_| arguments.clone()).await?;
        Ok(entries)
    }

    async fn put_back(&self, channel: &Channel, letter: &Letter) -> Result<(), Unavailable> {
        let keys = [self.keys.outbox(channel), self.keys.mark(channel)];
        let (id, data) = write(letter);
        let mut ticket = String::new();
        for _ in 0..TICKETS {
            let arguments: [Value; 4] = [
                id.as_str().into(),
                Value::Bytes(data.clone()),
                ticket.as_str().into(),
                random().to_string().into(),
            ];
            let drawn: Option<String> =
                self.commands.script(Repeat::Harmless, &REPLAY, &keys, |_| arguments.to_vec()).await?;
            match drawn.filter(|drawn| !drawn.is_empty()) {
                None => return Ok(()),
                Some(drawn) => ticket = drawn,
            }
            self.mark(channel).await?;
        }
        Err(void())
    }

    async fn bury(&self, channel: &Channel, entry: &Waiting, reason: &str) -> Result<bool, Unavailable> {
        let dead = entry.given_up(channel, reason);
        let arguments: [Value; 4] = [
            dead.letter.id().as_str().into(),
            digits(dead.died).into(),
            Value::Bytes(write_record(&dead)),
            DEAD_MAX.to_string().into(),
        ];
        let keys = self.keys.dead();
        let buried: u64 =
            self.commands.script(Repeat::Harmless, &BURY, &keys, |_| arguments.to_vec()).await?;
        if buried == 0 {
            return Ok(false);
        }
        self.advance(channel, std::slice::from_ref(&entry.key), 1).await?;
        Ok(true)
    }

    async fn dead(
        &self,
        after: Option<(Timestamp, &LetterId)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Unavailable> {
        let after = after.map_or_else(String::new, |(died, id)| format!("{}/{id}", digits(died)));
        let arguments: [Value; 2] = [after.into(), limit.max(1).to_string().into()];
        let records: Vec<Bytes> =
            self.commands.script(Repeat::Harmless, &DEAD, &self.keys.dead(), |_| arguments.to_vec()).await?;
        Ok(records.iter().filter_map(read_record).collect())
    }

    async fn replay(&self, tenant: &Tenant, id: &LetterId) -> Result<bool, Unavailable> {
        let keys = self.keys.dead();
        let [letters, _] = &keys;
        let record: Option<Bytes> = self
            .commands
            .run(Repeat::Harmless, |client, _| {
                let (letters, id) = (letters.clone(), id.as_str().to_owned());
                async move { client.hget(letters, id).await }
            })
            .await?;
        let dead = record.as_ref().and_then(read_record);
        let Some(dead) = dead.filter(|dead| dead.channel.tenant() == tenant.as_str()) else {
            return Ok(false);
        };
        self.put_back(&dead.channel, &dead.letter).await?;
        let arguments: [Value; 2] = [id.as_str().into(), digits(dead.died).into()];
        let _: u64 = self.commands.script(Repeat::Harmless, &EXHUME, &keys, |_| arguments.to_vec()).await?;
        Ok(true)
    }
}

#[async_trait]
impl Outbox for RedisBroker {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Claimed, Unavailable> {
        let share = limit.div_ceil(usize::from(PARTS)).max(1);
        // Not always from the same part on, so that none is served first.
        let first = rand::random_range(0..PARTS);
        let parts = (0..PARTS).map(|at| (first + at) % PARTS);
        let parts = stream::iter(parts.map(|part| self.outboxes.claim_of(part, share, lease)));
        let parts: Vec<Claimed> = parts.buffered(usize::from(PARTS)).try_collect().await?;
        Ok(parts.into_iter().fold(Claimed::default(), |mut all, part| {
            all.claims.extend(part.claims);
            all.channels += part.channels;
            all.oldest = [all.oldest, part.oldest].into_iter().flatten().min();
            all
        }))
    }

    async fn advance(
        &self,
        claim: &Claim,
        done: &[EntryKey],
        limit: u32,
    ) -> Result<Vec<Waiting>, Unavailable> {
        self.outboxes.advance(&claim.channel, done, limit).await
    }

    async fn renew(&self, claim: &Claim, lease: Duration, oldest: Timestamp) -> Result<bool, Unavailable> {
        self.outboxes.keep(claim, Keep::Renew(lease, oldest)).await
    }

    async fn rest(&self, claim: &Claim, rest: Duration, failures: u32) -> Result<(), Unavailable> {
        self.outboxes.keep(claim, Keep::Rest(rest, failures)).await.map(drop)
    }

    async fn finish(&self, claim: &Claim) -> Result<(), Unavailable> {
        self.outboxes.keep(claim, Keep::Finish).await.map(drop)
    }

    async fn bury(&self, claim: &Claim, entry: &Waiting, reason: &str) -> Result<bool, Unavailable> {
        self.outboxes.bury(&claim.channel, entry, reason).await
    }

    async fn dead(
        &self,
        after: Option<(Timestamp, &LetterId)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Unavailable> {
        self.outboxes.dead(after, limit).await
    }

    async fn relay(&self, stream: &str, most: u32, id: &LetterId, body: Bytes) -> Result<bool, Unavailable> {
        let arguments: [Value; 3] = [most.to_string().into(), id.as_str().into(), Value::Bytes(body)];
        let keys = [self.outboxes.keys.relayed(stream)];
        let commands = &self.outboxes.commands;
        let added: u64 = commands.script(Repeat::Harmless, &RELAY, &keys, |_| arguments.to_vec()).await?;
        Ok(added != 0)
    }

    async fn replay(&self, tenant: &Tenant, id: &LetterId) -> Result<bool, Unavailable> {
        self.outboxes.replay(tenant, id).await
    }
}

/// What is said where a letter found no mark again and again: others empty the outbox as fast as it is filled.
pub(super) fn void() -> Unavailable {
    Unavailable("the outbox changes hands too often".to_owned())
}

/// A letter as the fields `i` and `d` of an entry.
fn write(letter: &Letter) -> (String, Bytes) {
    match letter {
        Letter::Message { position, payload } => {
            (format!("m:{}:{}:{}", position.epoch.0, position.offset, position.nonce.0), payload.clone())
        }
        Letter::Occupied { number, user } => write_change(*number, '+', user),
        Letter::Vacated { number, user } => write_change(*number, '-', user),
    }
}

fn write_change((nonce, number): (u64, u64), sign: char, user: &PresenceEntry) -> (String, Bytes) {
    // What was read is written as it was, or at least who it was.
    let note = note::write(user).unwrap_or_else(|_| "{}".to_owned());
    (format!("p:{nonce}:{number}"), format!("{sign}{}/{note}", user.user).into())
}

/// Lines: channel, since when it waited, when it died, why, the field `i`, and the field `d`, which may hold any bytes.
fn write_record(dead: &DeadLetter) -> Bytes {
    let (id, data) = write(&dead.letter);
    let reason = dead.reason.replace(['\n', '\r'], " ");
    let head = format!("{}\n{}\n{}\n{reason}\n{id}\n", dead.channel, dead.since.0, dead.died.0);
    [head.as_bytes(), &data].concat().into()
}

fn read_record(record: &Bytes) -> Option<DeadLetter> {
    let mut at = 0;
    let mut line = || {
        let rest = record.get(at..)?;
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        at += end + 1;
        std::str::from_utf8(rest.get(..end)?).ok()
    };
    let channel = Channel::parse(line()?).ok()?;
    let (since, died) = (line()?.parse().ok()?, line()?.parse().ok()?);
    let (reason, id) = (line()?.to_owned(), line()?.to_owned());
    let letter = super::reply::letter(id.as_bytes(), record.slice(at..))?;
    Some(DeadLetter { channel, since: Timestamp(since), died: Timestamp(died), reason, letter })
}

/// A time with always as many digits, so that times as texts have the order of times.
fn digits(time: Timestamp) -> String {
    format!("{:014}", time.0)
}

fn millis(duration: Duration) -> Value {
    duration.as_millis().min(i64::MAX as u128).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proto::{Epoch, Nonce, Position};

    #[test]
    fn a_record_is_read_as_it_was_written_whatever_the_data() {
        let position = Position { epoch: Epoch(u64::MAX), offset: 7, nonce: Nonce(1) };
        let letter = Letter::Message { position, payload: Bytes::from_static(b"{\n\"a\":\xff}\n") };
        let dead = DeadLetter {
            channel: Channel::parse("t/r/a").unwrap(),
            since: Timestamp(1),
            died: Timestamp(2),
            reason: "answered 410".to_owned(),
            letter,
        };
        assert_eq!(read_record(&write_record(&dead)), Some(dead));
        assert_eq!(read_record(&Bytes::from_static(b"t/r/a\n1\n2\n")), None);
    }
}
