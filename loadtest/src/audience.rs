//! The receivers of a run: connected, listening, each checking what it gets.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::timeout;

use crate::checker::{Checker, Tally};
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt, source_of};
use crate::framing::Kind;
use crate::payload::{Clock, Finder, Mark};

/// Connections that are being opened at the same time.
const OPENING: usize = 64;
/// How long all connections together may take.
const OPENING_DEADLINE: Duration = Duration::from_secs(120);
/// How long nothing may arrive before what is outstanding counts as lost.
const SILENCE: Duration = Duration::from_secs(5);

/// One receiver to be.
#[derive(Debug)]
pub struct Seat {
    /// The token to connect with.
    pub token: String,
    /// The room to join.
    pub room: Option<String>,
    /// What it should get.
    pub checker: Checker,
}

/// What the receivers of a run share.
struct Hall {
    clock: Clock,
    latency: RefCell<Histogram<u64>>,
    finder: RefCell<Finder>,
    arrived: Cell<u64>,
    awaited: Cell<u64>,
    complete: Notify,
    checkers: RefCell<Vec<Checker>>,
    broken: RefCell<Option<String>>,
}

/// Receivers that are connected and listen until they are dropped.
pub struct Audience {
    hall: Rc<Hall>,
    listeners: Vec<JoinHandle<()>>,
    /// How long connecting all of them took.
    pub connecting: Duration,
}

impl Audience {
    /// Connects one receiver per seat, spread over the endpoints in turn.
    ///
    /// # Errors
    /// One of them is refused, or all together take too long.
    pub async fn seat(
        endpoints: &[Endpoint],
        seats: Vec<Seat>,
        clock: Clock,
        buffer: &SharedBuffer,
    ) -> Result<Self> {
        let (mut people, mut checkers) = (Vec::new(), Vec::new());
        for (index, seat) in seats.into_iter().enumerate() {
            let endpoint = endpoints.get(index % endpoints.len().max(1)).context("no endpoint")?;
            people.push((index, endpoint.clone(), seat.token, seat.room));
            checkers.push(seat.checker);
        }
        let began = Instant::now();
        let opened = timeout(OPENING_DEADLINE, open_all(people)).await;
        let opened = opened.context("connecting took longer than two minutes")??;
        let connecting = began.elapsed();

        let hall = Rc::new(Hall {
            clock,
            // One microsecond to one minute, three digits.
            latency: RefCell::new(Histogram::new_with_bounds(1, 60_000_000, 3)?),
            finder: RefCell::default(),
            arrived: Cell::default(),
            awaited: Cell::new(u64::MAX),
            complete: Notify::new(),
            checkers: RefCell::new(checkers),
            broken: RefCell::default(),
        });
        let listen = |(index, connection)| {
            let listener = Rc::clone(&hall).listen(index, connection, buffer.clone());
            spawn_local(listener)
        };
        let listeners = opened.into_iter().map(listen).collect();
        Ok(Self { hall, listeners, connecting })
    }

    /// Waits until `total` messages have arrived since the beginning, all
    /// receivers together. `false` means that nothing came any more.
    ///
    /// # Errors
    /// A receiver was disconnected.
    pub async fn wait_for(&self, total: u64) -> Result<bool> {
        self.hall.awaited.set(total);
        loop {
            if let Some(reason) = self.hall.broken.borrow().as_ref() {
                bail!("a receiver failed: {reason}");
            }
            let before = self.hall.arrived.get();
            if before >= total {
                return Ok(true);
            }
            let silent = timeout(SILENCE, self.hall.complete.notified()).await.is_err();
            if silent && self.hall.arrived.get() == before {
                return Ok(false);
            }
        }
    }

    /// Forgets the latencies measured so far.
    pub fn forget_latency(&self) {
        self.hall.latency.borrow_mut().reset();
    }

    /// The latency that `quantile` of all deliveries stayed within, milliseconds.
    #[must_use]
    pub fn latency(&self, quantile: f64) -> f64 {
        let microseconds = self.hall.latency.borrow().value_at_quantile(quantile);
        Duration::from_micros(microseconds).as_secs_f64() * 1e3
    }

    /// The verdict of all receivers, `published` messages having been given
    /// numbers in the run.
    ///
    /// # Errors
    /// A receiver was disconnected.
    pub fn verdict(&self, published: u64) -> Result<Tally> {
        let broken = self.hall.broken.borrow();
        ensure!(broken.is_none(), "a receiver failed: {}", broken.as_deref().unwrap_or_default());
        let mut sum = Tally::default();
        for checker in self.hall.checkers.borrow().iter() {
            sum.add(checker.finish(published));
        }
        Ok(sum)
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

impl Hall {
    async fn listen(self: Rc<Self>, index: usize, mut connection: Connection, buffer: SharedBuffer) {
        let framing = connection.framing();
        loop {
            // One look at the clock serves all that came in one read.
            let mut now = None;
            let received = connection.receive(&buffer, |text| {
                if let Some(mark) = self.finder.borrow_mut().find(text) {
                    let now = *now.get_or_insert_with(|| self.clock.now());
                    self.take(index, mark, now);
                } else if framing.kind_of(text) == Kind::Error {
                    bail!("{}", String::from_utf8_lossy(text));
                }
                Ok(())
            });
            let reason = match received.await {
                Ok(true) => continue,
                Ok(false) => "the server closed its connection".to_owned(),
                Err(error) => error.to_string(),
            };
            *self.broken.borrow_mut() = Some(reason);
            self.complete.notify_one();
            return;
        }
    }

    fn take(&self, index: usize, mark: Mark, now: u64) {
        let mut checkers = self.checkers.borrow_mut();
        if !checkers.get_mut(index).is_some_and(|checker| checker.saw(mark.seq)) {
            return;
        }
        let microseconds = now.saturating_sub(mark.published) / 1000;
        self.latency.borrow_mut().saturating_record(microseconds);
        self.arrived.set(self.arrived.get() + 1);
        if self.arrived.get() == self.awaited.get() {
            self.complete.notify_one();
        }
    }
}

type Person = (usize, Endpoint, String, Option<String>);

async fn open_all(people: Vec<Person>) -> Result<Vec<(usize, Connection)>> {
    let total = people.len();
    let queue = Rc::new(RefCell::new(people.into_iter()));
    let mut openers = JoinSet::new();
    for _ in 0..OPENING.min(total) {
        let queue = Rc::clone(&queue);
        openers.spawn_local(async move {
            let mut opened = Vec::new();
            let next = || queue.borrow_mut().next();
            while let Some((index, endpoint, token, room)) = next() {
                let source = source_of(index, endpoint.address);
                let mut connection = Connection::open(&endpoint, source, &token).await?;
                if let Some(room) = room {
                    connection.send(&prebuilt(&endpoint.framing.join(&room))).await?;
                    connection.expect(Kind::Joined).await?;
                }
                opened.push((index, connection));
            }
            anyhow::Ok(opened)
        });
    }
    let mut all = Vec::with_capacity(total);
    while let Some(opened) = openers.join_next().await {
        all.extend(opened??);
    }
    Ok(all)
}
