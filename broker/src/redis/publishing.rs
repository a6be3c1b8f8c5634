//! Publishing, on connections of its own.
//!
//! Calls that come while others are under way gather, and go to the server together: in one write, which it reads at once and
//! answers at once. The client library writes and reads each command by itself; with it a publish cost this process
//! three times as much, and the server half as much again. Those for one channel run one script together, of which the
//! server looks up the channel once; a burst in one room costs it half as much as one by one.
//!
//! Durability needs it too. `WAIT` and `WAITAOF` vouch for the writes of the connection that they come on. A connection that
//! was made anew since the write vouches for nothing and answers all the same; client libraries reconnect by themselves
//! and do not tell. Here a script and its wait go together or not at all.
//!
//! ```text
//! Publishing ── Finder   who has the slots                                   (I/O)
//!   └────────── Lane     what is for one server, a few connections each      (I/O)
//!                 └───── Call    a publish, written as a command; several for one channel as one
//! ```

mod call;
mod lane;

use std::collections::HashMap;
use std::time::Duration;

use fred::error::{Error, ErrorKind};
use parking_lot::Mutex;
use proto::Durability;
use tokio::time::{Instant, sleep, timeout_at};

use super::commands::BUDGET;
use super::config::{Address, RedisConfig};
use super::keys::Keys;
use super::link::connection::{Dialer, LinkError};
use super::link::finder::Finder;
use super::link::owners::Owners;
use super::reply::Outcome;
use super::retry::{Repeat, backoff};
use crate::publish::patience;
use crate::{PublishError, Unavailable};
use call::Writer;
pub(super) use call::{Call, Letter, META_MARGIN};
use lane::{Lane, Miss};

/// After the servers were looked up, a failure for this long says nothing against what was found: calls that were under way
/// together fail together.
const FRESH: Duration = Duration::from_millis(100);

/// Runs publishing scripts, and waits until their effect is where it should be.
pub(super) struct Publishing {
    dialer: Dialer,
    writer: Writer,
    /// Asked by one call at a time; the others then know as well.
    finder: tokio::sync::Mutex<Finder>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Who has the slots, and since when that is known.
    owners: Option<(Owners, Instant)>,
    lanes: HashMap<Address, HashMap<Durability, Lane>>,
    closed: bool,
}

impl Publishing {
    /// Connects to nobody yet.
    pub(super) fn new(config: &RedisConfig, keys: Keys) -> Self {
        let dialer = Dialer {
            credentials: config.credentials().clone(),
            tls: config.tls().cloned(),
            primary_only: true,
        };
        let finder = tokio::sync::Mutex::new(Finder::new(config));
        Self { dialer, writer: Writer::new(keys, config.is_cluster()), finder, known: Mutex::default() }
    }

    /// Carries out a publish in a slot, and waits until it is where its durability says.
    pub(super) async fn run(&self, slot: u16, mut call: Call) -> Result<Outcome, PublishError> {
        let durability = call.retention.durability;
        let deadline = Instant::now() + BUDGET;
        // Lanes keep to the deadline themselves, but one that hangs must not hold up its callers.
        let limit = match durability {
            Durability::Memory => deadline,
            Durability::Replica | Durability::Fsync => deadline + BUDGET + patience(durability) * 2,
        };
        let mut attempt = 0;
        let mut redirected = None;
        loop {
            let trying = self.attempt(slot, redirected.take(), call.clone(), deadline);
            let tried = timeout_at(limit, trying).await;
            let error = match tried.unwrap_or_else(|_| Err(Miss::lost("no answer in time"))) {
                Ok(outcome) => return Ok(outcome),
                Err(Miss::Unsupported(reason)) => return Err(PublishError::Unsupported(reason)),
                Err(Miss::Unconfirmed) => return Err(PublishError::Unconfirmed),
                Err(Miss::Refused(text)) => {
                    redirected = asked_elsewhere(&text);
                    Error::new(ErrorKind::Unknown, text)
                }
                Err(Miss::Lost(text)) => Error::new(ErrorKind::IO, text),
            };
            if redirected.is_none() {
                self.doubt();
            }
            // A script that runs again must know that it does.
            call.again = true;
            attempt += 1;
            let wait = backoff(attempt, rand::random());
            if !Repeat::Marked.after(&error) || Instant::now() + wait >= deadline {
                return Err(Unavailable(error.details().to_owned()).into());
            }
            sleep(wait).await;
        }
    }

    /// Takes note of who has the slots. What is under way elsewhere may still be answered.
    pub(super) fn learn(&self, owners: Owners) {
        let mut known = self.known.lock();
        known.lanes.retain(|address, _| owners.servers().any(|server| server == address));
        known.owners = Some((owners, Instant::now()));
    }

    /// Ends the connections; what is under way may still be answered.
    pub(super) fn close(&self) {
        let mut known = self.known.lock();
        known.closed = true;
        known.lanes.clear();
    }

    async fn attempt(
        &self,
        slot: u16,
        redirected: Option<Address>,
        call: Call,
        deadline: Instant,
    ) -> Result<Outcome, Miss> {
        let durability = call.retention.durability;
        if let Some(there) = redirected {
            return self.lane(&there, durability)?.carry_out(call, true, deadline).await;
        }
        let lane = match self.known_lane(slot, durability) {
            Some(lane) => lane,
            None => {
                let looking = timeout_at(deadline, Box::pin(self.owner(slot))).await;
                let owner = looking.map_err(|_| Miss::lost("nobody says who has the slot"))??;
                self.lane(&owner, durability)?
            }
        };
        lane.carry_out(call, false, deadline).await
    }

    /// The lane of the server that is known to have a slot, if it was needed before.
    fn known_lane(&self, slot: u16, durability: Durability) -> Option<Lane> {
        let known = self.known.lock();
        let (owners, _) = known.owners.as_ref()?;
        known.lanes.get(owners.of(slot)?)?.get(&durability).cloned()
    }

    fn lane(&self, address: &Address, durability: Durability) -> Result<Lane, Miss> {
        let mut known = self.known.lock();
        if known.closed {
            return Err(Miss::lost("the broker is closed"));
        }
        let start = || Lane::start(durability, &self.dialer, address, &self.writer);
        let lanes = known.lanes.entry(address.clone()).or_default();
        Ok(lanes.entry(durability).or_insert_with(start).clone())
    }

    /// The server that has a slot.
    async fn owner(&self, slot: u16) -> Result<Address, Miss> {
        if let Some(owner) = self.known_owner(slot) {
            return Ok(owner);
        }
        let mut finder = self.finder.lock().await;
        if let Some(owner) = self.known_owner(slot) {
            return Ok(owner);
        }
        let owners = finder.find().await.map_err(|error| Miss::Lost(error.to_string()))?;
        let owner = owners.of(slot).cloned();
        self.learn(owners);
        owner.ok_or_else(|| Miss::Lost(LinkError::Nowhere.to_string()))
    }

    fn known_owner(&self, slot: u16) -> Option<Address> {
        self.known.lock().owners.as_ref().and_then(|(owners, _)| owners.of(slot).cloned())
    }

    /// Lets the next call look again who has the slots.
    fn doubt(&self) {
        let mut known = self.known.lock();
        if known.owners.as_ref().is_some_and(|(_, since)| since.elapsed() >= FRESH) {
            known.owners = None;
        }
    }
}

/// Where a node sends what belongs to a slot that is on its way to another: `ASK 3999 127.0.0.1:6381`.
fn asked_elsewhere(error: &str) -> Option<Address> {
    let (host, port) = error.strip_prefix("ASK ")?.split(' ').nth(1)?.rsplit_once(':')?;
    Some(Address { host: host.to_owned(), port: port.parse().ok()? }).filter(|_| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_slot_on_its_way_redirects_a_single_call() {
        let there = Address { host: "::1".to_owned(), port: 6381 };
        assert_eq!(asked_elsewhere("ASK 3999 ::1:6381"), Some(there));
        for other in ["MOVED 3999 127.0.0.1:6381", "ASK 3999", "ASK 3999 :1", "TRYAGAIN Multiple keys"] {
            assert_eq!(asked_elsewhere(other), None, "{other}");
        }
    }
}
