//! Publishing that succeeds only when more than the memory of one server has the message.
//!
//! `WAIT` and `WAITAOF` vouch for the writes of the connection that they come on. A connection that was made anew since the
//! write vouches for nothing and answers all the same; client libraries reconnect by themselves and do not tell. So this
//! has connections of its own, on which a script and its wait go together or not at all.
//!
//! ```text
//! Assured ── Finder   who has the slots                                   (I/O)
//!   └──────── Lane    what is for one server, a few connections each      (I/O)
//! ```

mod lane;

use std::collections::HashMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use fred::error::{Error, ErrorKind};
use fred::types::Value;
use fred::types::scripts::Script;
use parking_lot::Mutex;
use proto::Durability;
use tokio::time::{Instant, sleep, timeout_at};

use super::commands::BUDGET;
use super::config::{Address, RedisConfig};
use super::link::connection::{Dialer, LinkError};
use super::link::finder::Finder;
use super::link::owners::Owners;
use super::link::resp::write_command;
use super::link::slot::slot;
use super::reply::Outcome;
use super::retry::{Repeat, backoff};
use crate::{PublishError, Unavailable};
use lane::{Lane, Miss};

/// After the servers were looked up, a failure for this long says nothing against what was found: calls that were under way
/// together fail together.
const FRESH: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Level {
    /// One replica has it.
    Replica,
    /// It is on the disk of the primary.
    Fsync,
}

impl Level {
    /// What to wait for, if for anything.
    pub(super) const fn of(durability: Durability) -> Option<Self> {
        match durability {
            Durability::Memory => None,
            Durability::Replica => Some(Self::Replica),
            Durability::Fsync => Some(Self::Fsync),
        }
    }

    const fn durability(self) -> Durability {
        match self {
            Self::Replica => Durability::Replica,
            Self::Fsync => Durability::Fsync,
        }
    }

    /// How long the server waits before it says how far it came.
    const fn patience(self) -> Duration {
        crate::publish::patience(self.durability())
    }
}

/// Runs publishing scripts and waits for what came of them.
pub(super) struct Assured {
    dialer: Dialer,
    /// Asked by one call at a time; the others then know as well.
    finder: tokio::sync::Mutex<Finder>,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    /// Who has the slots, and since when that is known.
    owners: Option<(Owners, Instant)>,
    lanes: HashMap<(Address, Level), Lane>,
    closed: bool,
}

impl Assured {
    /// Connects to nobody yet.
    pub(super) fn new(config: &RedisConfig) -> Self {
        let dialer = Dialer {
            credentials: config.credentials().clone(),
            tls: config.tls().cloned(),
            primary_only: true,
        };
        Self { dialer, finder: tokio::sync::Mutex::new(Finder::new(config)), known: Mutex::default() }
    }

    /// Runs a script that may be repeated if it is told so, and waits until its effect is where `level` says. `arguments` gets the
    /// number of the try, from 0.
    pub(super) async fn script(
        &self,
        level: Level,
        script: &Script,
        keys: &[String],
        arguments: impl Fn(u32) -> Vec<Value> + Sync,
    ) -> Result<Outcome, PublishError> {
        let slot = slot(keys.first().map_or(&[], |key| key.as_bytes()));
        let deadline = Instant::now() + BUDGET;
        let mut attempt = 0;
        let mut redirected = None;
        loop {
            let command = eval(script, keys, &arguments(attempt));
            let trying = self.attempt(level, slot, redirected.take(), command, deadline);
            // Lanes keep to the deadline themselves, but one that hangs must not hold up its callers.
            let tried = timeout_at(deadline + BUDGET + level.patience() * 2, trying).await;
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
            attempt += 1;
            let wait = backoff(attempt, rand::random());
            if !Repeat::Marked.after(&error) || Instant::now() + wait >= deadline {
                return Err(Unavailable(error.details().to_owned()).into());
            }
            sleep(wait).await;
        }
    }

    /// Ends the connections; what is under way may still be answered.
    pub(super) fn close(&self) {
        let mut known = self.known.lock();
        known.closed = true;
        known.lanes.clear();
    }

    async fn attempt(
        &self,
        level: Level,
        slot: u16,
        redirected: Option<Address>,
        command: Bytes,
        deadline: Instant,
    ) -> Result<Outcome, Miss> {
        let asking = redirected.is_some();
        let address = match redirected {
            Some(address) => address,
            None => timeout_at(deadline, self.owner(slot))
                .await
                .map_err(|_| Miss::lost("nobody says who has the slot"))??,
        };
        let lane = {
            let mut known = self.known.lock();
            if known.closed {
                return Err(Miss::lost("the broker is closed"));
            }
            let start = || Lane::start(level, &self.dialer, &address);
            known.lanes.entry((address.clone(), level)).or_insert_with(start).clone()
        };
        lane.carry_out(command, asking, deadline).await
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
        let mut known = self.known.lock();
        known.lanes.retain(|(address, _), _| owners.servers().any(|server| server == address));
        let owner = owners.of(slot).cloned();
        known.owners = Some((owners, Instant::now()));
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

/// The script with its text, since a connection that may go any moment is not the place to remember what a server knows.
fn eval(script: &Script, keys: &[String], arguments: &[Value]) -> Bytes {
    let text = script.lua().cloned().unwrap_or_default();
    let count = keys.len().to_string();
    let arguments: Vec<_> = arguments.iter().map(|value| value.as_bytes().unwrap_or_default()).collect();
    let words: [&[u8]; 3] = [b"EVAL", text.as_bytes(), count.as_bytes()];
    let words: Vec<&[u8]> =
        words.into_iter().chain(keys.iter().map(String::as_bytes)).chain(arguments).collect();
    let mut out = BytesMut::new();
    write_command(&mut out, words.into_iter());
    out.freeze()
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
