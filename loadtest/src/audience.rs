//! The receivers of a run: connected, listening, each checking what it gets.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tokio::task::{JoinHandle, JoinSet, spawn_local};
use tokio::time::timeout;

use crate::checker::Checker;
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt, source_of};
use crate::framing::Kind;
use crate::ledger::Ledger;
use crate::payload::Clock;

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

/// Receivers that are connected and listen until they are dropped.
pub struct Audience {
    ledger: Rc<Ledger>,
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

        let ledger = Rc::new(Ledger::new(clock, checkers)?);
        let listen =
            |(index, connection)| spawn_local(listen(Rc::clone(&ledger), index, connection, buffer.clone()));
        let listeners = opened.into_iter().map(listen).collect();
        Ok(Self { ledger, listeners, connecting })
    }

    /// Waits until `total` messages have arrived since the beginning, all
    /// receivers together. `false` means that nothing came any more.
    ///
    /// # Errors
    /// A receiver was disconnected.
    pub async fn wait_for(&self, total: u64) -> Result<bool> {
        self.ledger.wait_for(total, SILENCE).await
    }

    /// What the receivers got.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }
}

impl Drop for Audience {
    fn drop(&mut self) {
        for listener in &self.listeners {
            listener.abort();
        }
    }
}

async fn listen(ledger: Rc<Ledger>, index: usize, mut connection: Connection, buffer: SharedBuffer) {
    let framing = connection.framing();
    loop {
        // One look at the clock serves all that came in one read.
        let mut now = None;
        let received = connection.receive(&buffer, |text| {
            if !ledger.enter(index, text, &mut now) && framing.kind_of(text) == Kind::Error {
                bail!("{}", String::from_utf8_lossy(text));
            }
            Ok(())
        });
        let reason = match received.await {
            Ok(true) => continue,
            Ok(false) => "the server closed its connection".to_owned(),
            Err(error) => error.to_string(),
        };
        return ledger.fail(reason);
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
