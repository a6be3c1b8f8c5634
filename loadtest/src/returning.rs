//! Receivers that lose their connections and come back, over Socket.IO, as its
//! reference client does: after half a second to one and a half, then after
//! twice as long, up to five seconds, give or take half of it; with the session
//! and the last offset that they know, to the next server in turn.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rand::random_range;
use tokio::sync::{Notify, Semaphore, watch};
use tokio::task::{JoinHandle, spawn_local, yield_now};
use tokio::time::{sleep, timeout};

use crate::audience::Seat;
use crate::checker::Tally;
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt, source_of};
use crate::framing::Kind;
use crate::ledger::Ledger;
use crate::payload::Clock;
use crate::socketio::{self, Place, offset_of, pid_of};

/// How long one attempt may take: the reference client's `timeout`.
const ATTEMPT: Duration = Duration::from_secs(20);
/// The reference client's `reconnectionDelay` and `reconnectionDelayMax`, seconds.
const DELAY: f64 = 1.0;
const LONGEST_DELAY: f64 = 5.0;
/// How long all of them together may take to come for the first time.
const GATHERING: Duration = Duration::from_secs(120);
/// Clients that come for the first time at the same time.
const GATHERING_AT_ONCE: usize = 64;
/// How long an old connection stays open that nobody reads any more.
const HALF_OPEN: Duration = Duration::from_secs(5);

/// What becomes of connections.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Order {
    /// They stay.
    Stay,
    /// All are cut, now.
    Cut,
    /// Each is cut at random, after so many seconds on average; every second
    /// time without a word, so that the server still believes in it.
    CutAtRandom(f64),
}

/// Receivers that come back until they are dropped.
pub struct Company {
    shared: Rc<Shared>,
    members: Vec<JoinHandle<()>>,
    orders: watch::Sender<Order>,
}

struct Shared {
    ledger: Ledger,
    endpoints: Vec<Endpoint>,
    buffer: SharedBuffer,
    /// Let in by turns, for the first time.
    gate: Semaphore,
    /// Connections that stand now, rooms joined.
    there: Cell<usize>,
    /// Somebody came.
    came: Notify,
    returns: Cell<Returns>,
    /// When everybody was cut, and how long it took until each one was back.
    cut_at: Cell<Option<Instant>>,
    back_after: RefCell<Vec<Duration>>,
}

/// What became of those who were cut.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Returns {
    /// Times that a connection was cut.
    pub cuts: u64,
    /// Of these, how often the client was back.
    pub back: u64,
    /// And how often the server said that it went on with its session.
    pub recovered: u64,
}

impl Company {
    /// Connects one client per seat, each of which joins its room.
    ///
    /// # Errors
    /// One of them is refused, or all together take too long.
    pub async fn gather(
        endpoints: &[Endpoint],
        seats: Vec<Seat>,
        clock: Clock,
        buffer: &SharedBuffer,
    ) -> Result<Self> {
        let (mut people, mut checkers) = (Vec::with_capacity(seats.len()), Vec::with_capacity(seats.len()));
        for (index, seat) in seats.into_iter().enumerate() {
            people.push((index, seat.token, seat.room.context("everybody has a room")?));
            checkers.push(seat.checker);
        }
        let shared = Rc::new(Shared {
            ledger: Ledger::new(clock, checkers)?,
            endpoints: endpoints.to_vec(),
            buffer: buffer.clone(),
            gate: Semaphore::new(GATHERING_AT_ONCE),
            there: Cell::default(),
            came: Notify::new(),
            returns: Cell::default(),
            cut_at: Cell::default(),
            back_after: RefCell::default(),
        });
        let (orders, heard) = watch::channel(Order::Stay);
        let members = people.into_iter().map(|(index, token, room)| {
            let shared = Rc::clone(&shared);
            let client = Client { shared, index, token, room, joined: false, place: None, attempts: 0 };
            spawn_local(client.live(heard.clone()))
        });
        let members = members.collect();
        let company = Self { shared, members, orders };
        ensure!(company.all_there(GATHERING).await, "not everybody could connect within two minutes");
        Ok(company)
    }

    /// Cuts all connections at once, and waits until nobody is there.
    pub async fn cut(&self) {
        self.shared.cut_at.set(Some(Instant::now()));
        self.orders.send_replace(Order::Cut);
        while self.shared.there.get() > 0 {
            yield_now().await;
        }
    }

    /// From now on cuts each connection at random, after `mean` seconds on average.
    pub fn cut_at_random(&self, mean: f64) {
        self.orders.send_replace(Order::CutAtRandom(mean));
    }

    /// Cuts no more, and waits until everybody heard of it.
    pub async fn leave_alone(&self) {
        self.orders.send_replace(Order::Stay);
        yield_now().await;
    }

    /// Waits until all are connected, no longer than `patience`.
    pub async fn all_there(&self, patience: Duration) -> bool {
        let everybody = async {
            while self.shared.there.get() < self.members.len() {
                self.shared.came.notified().await;
            }
        };
        timeout(patience, everybody).await.is_ok()
    }

    /// Waits until `total` messages have arrived since the beginning, no longer
    /// than `patience`.
    ///
    /// # Errors
    /// A server said what it should not.
    pub async fn wait_for(&self, total: u64, patience: Duration) -> Result<bool> {
        timeout(patience, self.shared.ledger.wait_for(total, patience)).await.unwrap_or(Ok(false))
    }

    /// How many were cut and came back so far.
    #[must_use]
    pub fn returns(&self) -> Returns {
        self.shared.returns.get()
    }

    /// How long it took from [`cut`](Self::cut) until this share of
    /// everybody was back.
    #[must_use]
    pub fn back_after(&self, share: f64) -> Option<Duration> {
        let mut times = self.shared.back_after.borrow().clone();
        times.sort_unstable();
        // A share of a count is no larger than the count.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let count = (self.members.len() as f64 * share).ceil() as usize;
        times.get(count.max(1) - 1).copied()
    }

    /// The verdict of all, `published` messages having been given numbers.
    ///
    /// # Errors
    /// A server said what it should not.
    pub fn verdict(&self, published: u64) -> Result<Tally> {
        let Returns { cuts, recovered, .. } = self.returns();
        Ok(Tally { unrecovered: cuts.saturating_sub(recovered), ..self.shared.ledger.verdict(published)? })
    }
}

impl Shared {
    fn came(&self, is_back: bool, recovered: bool) {
        self.there.set(self.there.get() + 1);
        if is_back {
            let Returns { cuts, back, recovered: before } = self.returns.get();
            self.returns.set(Returns { cuts, back: back + 1, recovered: before + u64::from(recovered) });
        }
        if let Some(cut_at) = self.cut_at.get() {
            self.back_after.borrow_mut().push(cut_at.elapsed());
        }
        self.came.notify_one();
    }

    fn gone(&self) {
        self.there.set(self.there.get() - 1);
        let returns = self.returns.get();
        self.returns.set(Returns { cuts: returns.cuts + 1, ..returns });
    }
}

impl Drop for Company {
    fn drop(&mut self) {
        for member in &self.members {
            member.abort();
        }
    }
}

/// One of them.
struct Client {
    shared: Rc<Shared>,
    index: usize,
    token: String,
    room: String,
    joined: bool,
    /// Where it was, once it was somewhere.
    place: Option<Place>,
    /// How often it tried to connect in all.
    attempts: usize,
}

impl Client {
    async fn live(mut self, mut orders: watch::Receiver<Order>) {
        let shared = Rc::clone(&self.shared);
        let mut delay = DELAY;
        loop {
            // Only the return is to be a rush.
            let turn = if self.joined { None } else { shared.gate.acquire().await.ok() };
            let came = timeout(ATTEMPT, self.come()).await;
            drop(turn);
            let ended = match came {
                Ok(Ok(connection)) => {
                    delay = DELAY;
                    let stayed = self.stay(connection, &mut orders).await;
                    self.shared.gone();
                    stayed
                }
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(()),
            };
            if let Err(error) = ended
                && error.is::<Refused>()
            {
                // The reference client does not come back after that.
                return self.shared.ledger.fail(error.to_string());
            }
            sleep(Duration::from_secs_f64(delay * random_range(0.5..1.5))).await;
            delay = (2.0 * delay).min(LONGEST_DELAY);
        }
    }

    /// Connects, and goes on with the session if there was one.
    async fn come(&mut self) -> Result<Connection> {
        let turn = self.index + self.attempts;
        self.attempts += 1;
        let endpoints = &self.shared.endpoints;
        let endpoint = endpoints.get(turn % endpoints.len().max(1)).context("no endpoint")?.clone();
        let source = source_of(self.index, endpoint.address);
        let mut connection = Connection::upgrade(&endpoint, source, &self.token).await?;
        let login = socketio::connect(&self.token, self.place.as_ref());
        connection.send(&prebuilt(&login)).await?;
        let was = self.place.as_ref().map(|place| place.pid.clone());
        // What was missed comes before the answer.
        self.hear_until(&mut connection, Kind::AuthSuccess).await?;
        let is = self.place.as_ref().map(|place| &place.pid);
        let recovered = was.is_some() && was.as_ref() == is;
        if !(recovered && self.joined) {
            connection.send(&prebuilt(&socketio::join(&self.room))).await?;
            self.hear_until(&mut connection, Kind::Joined).await?;
        }
        self.shared.came(self.joined, recovered);
        self.joined = true;
        Ok(connection)
    }

    async fn hear_until(&mut self, connection: &mut Connection, kind: Kind) -> Result<()> {
        let buffer = self.shared.buffer.clone();
        let mut heard = false;
        while !heard {
            let received = connection.receive(&buffer, |text| {
                heard |= self.hear(text)? == kind;
                Ok(())
            });
            ensure!(received.await?, "the server hung up before it sent {kind:?}");
        }
        Ok(())
    }

    /// Listens until the connection is cut, or the server ends it.
    async fn stay(&mut self, mut connection: Connection, orders: &mut watch::Receiver<Order>) -> Result<()> {
        let buffer = self.shared.buffer.clone();
        // An order that was given while it was away is not for it.
        orders.mark_unchanged();
        loop {
            let until_cut = match *orders.borrow() {
                // Exponential, so that no moment is safer than another.
                Order::CutAtRandom(mean) => Duration::from_secs_f64(-mean * random_range(1e-9..1.0_f64).ln()),
                Order::Stay | Order::Cut => Duration::MAX,
            };
            let cut = sleep(until_cut);
            tokio::pin!(cut);
            loop {
                tokio::select! {
                    received = connection.receive(&buffer, |text| self.hear(text).map(drop)) => {
                        if !received? {
                            return Ok(());
                        }
                    }
                    () = &mut cut => {
                        if random_range(0..2) == 0 {
                            spawn_local(async move {
                                sleep(HALF_OPEN).await;
                                drop(connection);
                            });
                        }
                        return Ok(());
                    }
                    changed = orders.changed() => {
                        changed?;
                        if *orders.borrow() == Order::Cut {
                            return Ok(());
                        }
                        break;
                    }
                }
            }
        }
    }

    fn hear(&mut self, text: &[u8]) -> Result<Kind> {
        let is_message = self.shared.ledger.enter(self.index, text, &mut None);
        let kind = if is_message { Kind::Message } else { socketio::kind_of(text) };
        match kind {
            Kind::Error => bail!(Refused(String::from_utf8_lossy(text).into_owned())),
            Kind::AuthSuccess => {
                let pid = pid_of(text).context("a session that cannot be come back to: recovery is off")?;
                let place = self.place.get_or_insert_default();
                if place.pid != pid {
                    *place = Place { pid: pid.to_owned(), offset: String::new() };
                }
            }
            _ => {
                if let (Some(offset), Some(place)) = (offset_of(text), &mut self.place) {
                    offset.clone_into(&mut place.offset);
                }
            }
        }
        Ok(kind)
    }
}

/// What no client that keeps to the rules should be told.
#[derive(Debug)]
struct Refused(String);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "refused: {}", self.0)
    }
}

impl std::error::Error for Refused {}
