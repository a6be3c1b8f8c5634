//! The outboxes of all channels, and the letters that died.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use proto::{Channel, Tenant, Timestamp};
use tokio::time::Instant;

use super::MemoryBroker;
use crate::clock::now;
use crate::{
    Claim, Claimed, DEAD_MAX, DeadLetter, EntryKey, Letter, LetterId, Outbox, PresenceNews, Unavailable,
    Waiting,
};

/// The outboxes. Their memory is bounded by the limit of each channel, and by [`DEAD_MAX`].
#[derive(Default)]
pub(super) struct Outboxes(Mutex<Office>);

#[derive(Default)]
struct Office {
    /// Those with something in them, and those that are claimed.
    boxes: HashMap<Channel, Letters>,
    dead: BTreeMap<(Timestamp, LetterId), DeadLetter>,
    /// The last number that was given to an entry or a claim.
    last: u64,
}

#[derive(Default)]
struct Letters {
    waiting: VecDeque<Waiting>,
    failures: u32,
    /// Until when nobody else may claim it: the lease of a claim, or a rest.
    until: Option<Instant>,
    /// The claim that stands; 0 for none.
    token: u64,
}

impl Outboxes {
    /// Whether no more than so many letters wait as it is.
    pub(super) fn is_full(&self, channel: &Channel, most: u32) -> bool {
        self.0.lock().boxes.get(channel).is_some_and(|letters| letters.waiting.len() >= most as usize)
    }

    /// Adds the news that a channel is occupied or vacated, unless far too much waits there.
    pub(super) fn report(&self, channel: &Channel, most: u32, news: &PresenceNews) {
        let number = (rand::random(), 1);
        let letter = match news {
            PresenceNews::Joined { user, count: 1 } => Letter::Occupied { number, user: user.clone() },
            PresenceNews::Left { user, count: 0 } => Letter::Vacated { number, user: user.clone() },
            PresenceNews::Joined { .. } | PresenceNews::Left { .. } | PresenceNews::Count(_) => return,
        };
        if !self.is_full(channel, most.saturating_mul(2)) {
            self.push(channel, letter);
        }
    }

    /// Adds a letter.
    pub(super) fn push(&self, channel: &Channel, letter: Letter) {
        self.0.lock().push(channel, letter);
    }
}

impl Office {
    fn number(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn push(&mut self, channel: &Channel, letter: Letter) {
        let entry = Waiting { key: EntryKey(self.number().to_string()), since: now(), letter };
        self.boxes.entry(channel.clone()).or_default().waiting.push_back(entry);
    }

    fn remove(&mut self, channel: &Channel, done: &[EntryKey]) {
        if let Some(letters) = self.boxes.get_mut(channel) {
            letters.waiting.retain(|entry| !done.contains(&entry.key));
        }
    }

    /// The outbox of a claim that stands.
    fn claimed(&mut self, claim: &Claim) -> Option<&mut Letters> {
        self.boxes.get_mut(&claim.channel).filter(|letters| letters.token == claim.token)
    }
}

#[async_trait]
impl Outbox for MemoryBroker {
    async fn claim(&self, limit: usize, lease: Duration) -> Result<Claimed, Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        let (token, now) = (office.number(), Instant::now());
        let turn = |letters: &Letters| letters.until.is_none_or(|until| until <= now);
        let due = office.boxes.iter_mut().filter(|(_, letters)| turn(letters)).take(limit);
        let claims = due.map(|(channel, letters)| {
            letters.until = Some(now + lease);
            letters.token = token;
            Claim { channel: channel.clone(), failures: letters.failures, token }
        });
        let claims = claims.collect();
        let oldest = office.boxes.values().filter_map(|letters| letters.waiting.front());
        let oldest = oldest.map(|entry| entry.since).min();
        Ok(Claimed { claims, channels: office.boxes.len() as u64, oldest })
    }

    async fn advance(
        &self,
        claim: &Claim,
        done: &[EntryKey],
        limit: u32,
    ) -> Result<Vec<Waiting>, Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        office.remove(&claim.channel, done);
        let waiting = office.boxes.get(&claim.channel).map(|letters| letters.waiting.iter());
        Ok(waiting.into_iter().flatten().take(limit.max(1) as usize).cloned().collect())
    }

    async fn renew(&self, claim: &Claim, lease: Duration, _: Timestamp) -> Result<bool, Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        let Some(letters) = office.claimed(claim) else { return Ok(false) };
        letters.until = Some(Instant::now() + lease);
        Ok(true)
    }

    async fn rest(&self, claim: &Claim, rest: Duration, failures: u32) -> Result<(), Unavailable> {
        self.check()?;
        if let Some(letters) = self.store.outboxes().0.lock().claimed(claim) {
            *letters = Letters {
                waiting: std::mem::take(&mut letters.waiting),
                failures,
                until: Some(Instant::now() + rest),
                token: 0,
            };
        }
        Ok(())
    }

    async fn finish(&self, claim: &Claim) -> Result<(), Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        let Some(letters) = office.claimed(claim) else { return Ok(()) };
        if letters.waiting.is_empty() {
            office.boxes.remove(&claim.channel);
        } else {
            *letters = Letters { waiting: std::mem::take(&mut letters.waiting), ..Letters::default() };
        }
        Ok(())
    }

    async fn bury(&self, claim: &Claim, entry: &Waiting, reason: &str) -> Result<bool, Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        if office.dead.len() >= DEAD_MAX {
            return Ok(false);
        }
        let dead = entry.given_up(&claim.channel, reason);
        office.dead.insert((dead.died, dead.letter.id()), dead);
        office.remove(&claim.channel, std::slice::from_ref(&entry.key));
        Ok(true)
    }

    async fn dead(
        &self,
        after: Option<(Timestamp, &LetterId)>,
        limit: usize,
    ) -> Result<Vec<DeadLetter>, Unavailable> {
        self.check()?;
        let office = self.store.outboxes().0.lock();
        let after = after.map(|(died, id)| (died, id.clone()));
        let later = office.dead.iter().filter(|(place, _)| after.as_ref().is_none_or(|after| *place > after));
        Ok(later.take(limit.max(1)).map(|(_, dead)| dead.clone()).collect())
    }

    async fn relay(&self, _: &str, _: u32, _: &LetterId, _: Bytes) -> Result<bool, Unavailable> {
        Err(Unavailable("a stream needs a Redis".to_owned()))
    }

    async fn replay(&self, tenant: &Tenant, id: &LetterId) -> Result<bool, Unavailable> {
        self.check()?;
        let mut office = self.store.outboxes().0.lock();
        let is_meant = |dead: &DeadLetter| dead.channel.tenant() == tenant.as_str();
        let place = office.dead.iter().find(|((_, other), dead)| other == id && is_meant(dead));
        let place = place.map(|(place, _)| place.clone());
        let Some(dead) = place.and_then(|place| office.dead.remove(&place)) else { return Ok(false) };
        office.push(&dead.channel, dead.letter);
        Ok(true)
    }
}
