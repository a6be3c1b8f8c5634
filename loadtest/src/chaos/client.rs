//! A client that comes back: it remembers its place in each room and brings it wherever it connects next.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Result;
use proto::Position;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde::Deserialize;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::control::{Control, SharedNotes};
use super::history::{Reason, What};
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt};

/// How long connecting may take.
const CONNECT: Duration = Duration::from_secs(2);

/// How often to say something, and to ask again for rooms that were refused for a reason that passes.
const TICK: Duration = Duration::from_millis(500);

/// After so much silence the gateway is taken for dead.
const SILENCE: Duration = Duration::from_secs(3);

/// Who a client is.
#[derive(Debug, Clone)]
pub(super) struct Terms {
    /// Its number.
    pub(super) index: usize,
    /// Its token.
    pub(super) token: String,
    /// The rooms that it asks for, among them perhaps some that it has no right to.
    pub(super) asks: Vec<String>,
    /// Where it may connect.
    pub(super) gateways: Rc<[Endpoint]>,
    /// What its choices follow from.
    pub(super) seed: u64,
}

/// What a gateway says, as far as a client of a chaos run cares.
#[derive(Debug, Deserialize)]
struct Said {
    #[serde(rename = "type")]
    kind: String,
    room: Option<String>,
    channel: Option<String>,
    position: Option<Position>,
    #[serde(rename = "messageId")]
    message_id: Option<String>,
    recovered: Option<bool>,
    reason: Option<Reason>,
    retryable: Option<bool>,
    data: Option<Body>,
}

/// The content of a publication of a chaos run.
#[derive(Debug, Deserialize)]
struct Body {
    room: String,
}

/// Stays connected until the orders say that it is over.
pub(super) async fn run(terms: Terms, control: Control, notes: SharedNotes) {
    let mut random = StdRng::seed_from_u64(terms.seed);
    let buffer = SharedBuffer::default();
    let mut last = usize::MAX;
    while !control.orders().borrow().over {
        // Back to where it just failed only by chance.
        let mut gateway = random.random_range(0..terms.gateways.len());
        if gateway == last {
            gateway = random.random_range(0..terms.gateways.len());
        }
        last = gateway;
        let Some(endpoint) = terms.gateways.get(gateway) else { return };
        if let Ok(Ok(connection)) = timeout(CONNECT, Connection::open(endpoint, None, &terms.token)).await {
            notes.borrow_mut().saw(control.now(), What::Connected { gateway });
            let mut visit =
                Visit { terms: &terms, control: &control, notes: &notes, refused: BTreeSet::new() };
            let code = visit.stay(connection, &buffer).await;
            notes.borrow_mut().saw(control.now(), What::Closed { code });
        }
        sleep(Duration::from_millis(random.random_range(20..200))).await;
    }
}

/// The time on one connection.
struct Visit<'a> {
    terms: &'a Terms,
    control: &'a Control,
    notes: &'a SharedNotes,
    /// Rooms to ask for again.
    refused: BTreeSet<String>,
}

impl Visit<'_> {
    /// Listens until the connection ends, and gives the close code.
    async fn stay(&mut self, mut connection: Connection, buffer: &SharedBuffer) -> Option<u16> {
        let mut orders = self.control.orders();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        self.refused = self.terms.asks.iter().cloned().collect();
        loop {
            let (paused, over) = {
                let now = orders.borrow_and_update();
                (now.paused == Some(self.terms.index % 3), now.over)
            };
            if over {
                return None;
            }
            tokio::select! {
                received = connection.receive(buffer, |text| self.hear(text)), if !paused => match received {
                    Ok(true) => heard = Instant::now(),
                    Ok(false) | Err(_) => return connection.goodbye(),
                },
                changed = orders.changed() => {
                    changed.ok()?;
                    heard = Instant::now();
                }
                _ = tick.tick() => {
                    if paused {
                        continue;
                    }
                    let spoke = timeout(TICK, connection.send(&self.requests())).await;
                    if heard.elapsed() > SILENCE || !matches!(spoke, Ok(Ok(()))) {
                        return None;
                    }
                }
            }
        }
    }

    /// A sign of life, and the joins that are due.
    fn requests(&mut self) -> Vec<u8> {
        let mut requests = prebuilt(r#"{"type":"ping"}"#);
        for room in std::mem::take(&mut self.refused) {
            let since = match self.notes.borrow().places.get(&room) {
                Some(place) => format!(r#","since":"{place}""#),
                None => String::new(),
            };
            requests.extend(prebuilt(&format!(r#"{{"type":"join","room":"{room}"{since}}}"#)));
        }
        requests
    }

    fn hear(&mut self, text: &[u8]) -> Result<()> {
        let said: Said = serde_json::from_slice(text)?;
        let room = said.channel.as_deref().and_then(|name| name.strip_prefix("room:")).map(str::to_owned);
        let what = match (said.kind.as_str(), said.position) {
            ("joined", Some(position)) => {
                let room = said.room.unwrap_or_default();
                let since = self.notes.borrow().places.get(&room).copied();
                What::Joined { room, since, position, recovered: said.recovered.unwrap_or_default() }
            }
            ("message", Some(position)) => What::Message {
                room: room.unwrap_or_default(),
                meant_for: said.data.map(|body| body.room).unwrap_or_default(),
                position,
                id: said.message_id.unwrap_or_default(),
            },
            ("gap", Some(position)) => {
                let reason = said.reason.unwrap_or(Reason::Reset);
                What::Gap { room: room.unwrap_or_default(), reason, position }
            }
            ("error", _) => {
                if let Some(room) = said.room.filter(|_| said.retryable == Some(true)) {
                    self.refused.insert(room);
                }
                return Ok(());
            }
            _ => return Ok(()),
        };
        self.notes.borrow_mut().saw(self.control.now(), what);
        Ok(())
    }
}
