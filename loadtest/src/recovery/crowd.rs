//! Clients that remember their places, and a publisher that does not give up.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use proto::Position;
use rand::random_range;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::chaos::node::Node;
use crate::connection::{Connection, Endpoint, SharedBuffer, prebuilt, source_of};
use crate::http;
use crate::token::Mint;

/// How many clients come at a time at the beginning.
const COMING: usize = 64;

/// How long one attempt to connect may take.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long one attempt to publish may take.
const PUBLISH: Duration = Duration::from_secs(1);

/// Who a client is.
pub(super) struct Seat {
    /// The gateway that it connects to, by its number, until it is told to go elsewhere.
    pub(super) home: usize,
    /// Its rooms.
    pub(super) rooms: Vec<String>,
}

/// What a client saw.
pub(super) struct Delivery {
    /// Which client.
    pub(super) client: usize,
    /// When it was published, and how long it took until it was here.
    pub(super) published: Instant,
    pub(super) after: Duration,
}

/// All clients. They end with this value.
pub(super) struct Crowd {
    pub(super) shared: Rc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

/// What all clients share.
pub(super) struct Shared {
    gateways: Vec<Endpoint>,
    buffer: SharedBuffer,
    gate: Semaphore,
    began: Instant,
    /// How long clients wait at random before they connect again.
    spread: Duration,
    /// The gateway that all go to that lost theirs; their own if absent.
    pub(super) elsewhere: Cell<Option<usize>>,
    /// When each client was last in all its rooms, with which answers.
    pub(super) arrived: RefCell<Vec<Option<Instant>>>,
    /// Rooms that were joined again with nothing missing.
    pub(super) recovered: Cell<usize>,
    /// Places that were passed over or came twice, and gaps that were told.
    pub(super) holes: Cell<usize>,
    pub(super) gaps: Cell<usize>,
    /// Where each client stands in each of its rooms.
    pub(super) places: RefCell<Vec<HashMap<String, Position>>>,
    pub(super) deliveries: RefCell<Vec<Delivery>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    room: Option<&'a str>,
    channel: Option<&'a str>,
    position: Option<Position>,
    recovered: Option<bool>,
    data: Option<Body>,
}

/// What is published: when, in microseconds since the clients began.
#[derive(Deserialize)]
struct Body {
    at: u64,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Crowd {
    /// Brings everybody in, and waits until they are.
    pub(super) async fn gather(
        gateways: &[Node],
        mint: &Mint,
        seats: Vec<Seat>,
        spread: Duration,
        patience: Duration,
    ) -> Result<Self> {
        let gateways = gateways.iter().map(|node| format!("ws://{}/ws", node.address()).parse());
        let count = seats.len();
        let shared = Rc::new(Shared {
            gateways: gateways.collect::<Result<_>>()?,
            buffer: SharedBuffer::default(),
            gate: Semaphore::new(COMING),
            began: Instant::now(),
            spread,
            elsewhere: Cell::default(),
            arrived: RefCell::new(vec![None; count]),
            recovered: Cell::default(),
            holes: Cell::default(),
            gaps: Cell::default(),
            places: RefCell::new(vec![HashMap::new(); count]),
            deliveries: RefCell::default(),
        });
        let mut tasks = Vec::with_capacity(count);
        for (index, seat) in seats.into_iter().enumerate() {
            let token = mint.token(&format!("user-{index}"))?;
            let client = Client { shared: Rc::clone(&shared), index, seat, token };
            tasks.push(spawn_local(client.live()));
        }
        let crowd = Self { shared, tasks };
        let began = crowd.shared.began;
        ensure!(crowd.all_since(began, patience).await == count, "not everybody gets in");
        Ok(crowd)
    }

    /// Waits until everybody was in all rooms after this moment, and tells how many were in time.
    pub(super) async fn all_since(&self, moment: Instant, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        loop {
            let there = self.shared.since(moment).len();
            if there == self.tasks.len() || Instant::now() > deadline {
                return there;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Shared {
    /// How long after this moment each client was in all rooms again, of those that were.
    pub(super) fn since(&self, moment: Instant) -> Vec<Duration> {
        let arrived = self.arrived.borrow();
        arrived.iter().flatten().filter_map(|at| at.checked_duration_since(moment)).collect()
    }

    /// The time, as it is published.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

struct Client {
    shared: Rc<Shared>,
    index: usize,
    seat: Seat,
    token: String,
}

impl Client {
    async fn live(self) {
        let mut first = true;
        loop {
            let gate = if first { self.shared.gate.acquire().await.ok() } else { None };
            let coming = timeout(ATTEMPT, self.come()).await;
            drop(gate);
            if let Ok(Ok(mut connection)) = coming {
                first = false;
                while let Ok(true) = connection.receive(&self.shared.buffer, |text| self.hear(text)).await {}
            }
            sleep(self.shared.spread.mul_f64(random_range(0.0..1.0))).await;
        }
    }

    /// Connects and asks for all rooms. At the beginning it waits for the first of them, so that not too many come at once.
    async fn come(&self) -> Result<Connection> {
        let home = self.shared.elsewhere.get().unwrap_or(self.seat.home);
        let endpoint = self.shared.gateways.get(home).context("no such gateway")?;
        let source = source_of(self.index, endpoint.address);
        let mut connection = Connection::open(endpoint, source, &self.token).await?;
        let mut joins = Vec::new();
        for room in &self.seat.rooms {
            let place =
                self.shared.places.borrow().get(self.index).and_then(|places| places.get(room).copied());
            let since = place.map_or_else(String::new, |place| format!(r#","since":"{place}""#));
            joins.extend(prebuilt(&format!(r#"{{"type":"join","room":"{room}"{since}}}"#)));
        }
        connection.send(&joins).await?;
        if self.shared.arrived.borrow().get(self.index).is_some_and(Option::is_none) {
            connection.receive(&self.shared.buffer, |text| self.hear(text)).await?;
        }
        Ok(connection)
    }

    fn hear(&self, text: &[u8]) -> Result<()> {
        let Ok(said) = serde_json::from_slice::<Said<'_>>(text) else { return Ok(()) };
        let shared = &self.shared;
        let mut places = shared.places.borrow_mut();
        let Some(places) = places.get_mut(self.index) else { return Ok(()) };
        let room = said.room.or_else(|| said.channel?.strip_prefix("room:"));
        let (Some(room), Some(position)) = (room, said.position) else { return Ok(()) };
        match said.kind {
            "joined" => {
                if said.recovered == Some(true) {
                    shared.recovered.set(shared.recovered.get() + 1);
                }
                places.entry(room.to_owned()).or_insert(position);
                if self.seat.rooms.last().is_some_and(|last| last == room)
                    && let Some(arrived) = shared.arrived.borrow_mut().get_mut(self.index)
                {
                    *arrived = Some(Instant::now());
                }
            }
            "gap" => {
                shared.gaps.set(shared.gaps.get() + 1);
                places.insert(room.to_owned(), position);
            }
            "message" => {
                let before = places.insert(room.to_owned(), position);
                let follows = |at: Position| at.epoch == position.epoch && at.offset + 1 == position.offset;
                if !before.is_some_and(follows) {
                    shared.holes.set(shared.holes.get() + 1);
                }
                if let Some(Body { at }) = said.data {
                    let published = shared.began + Duration::from_micros(at);
                    let after = Duration::from_micros(shared.now().saturating_sub(at));
                    shared.deliveries.borrow_mut().push(Delivery { client: self.index, published, after });
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// Publishes over HTTP, again and again until that succeeds.
pub(super) struct Publisher {
    shared: Rc<Shared>,
    fanout: Endpoint,
    token: String,
    connection: Option<http::Client>,
}

impl Publisher {
    pub(super) fn new(crowd: &Crowd, fanouts: &[Node], mint: &Mint) -> Result<Self> {
        let fanout = fanouts.first().context("no fanout")?;
        let fanout = format!("http://{}/v1/publish", fanout.address()).parse()?;
        let token = mint.token("publisher")?;
        Ok(Self { shared: Rc::clone(&crowd.shared), fanout, token, connection: None })
    }

    /// Publishes to a room; each attempt says the time anew.
    pub(super) async fn publish(&mut self, room: &str) -> Position {
        loop {
            match timeout(PUBLISH, self.attempt(room)).await {
                Ok(Ok(position)) => return position,
                Ok(Err(_)) | Err(_) => {
                    self.connection = None;
                    sleep(Duration::from_millis(10)).await;
                }
            }
        }
    }

    async fn attempt(&mut self, room: &str) -> Result<Position> {
        let body = json!({ "to": { "room": room }, "event": "e", "data": { "at": self.shared.now() } });
        let client = match &mut self.connection {
            Some(client) => client,
            None => self.connection.insert(http::Client::open(&self.fanout, &self.token).await?),
        };
        client.publish(body.to_string().as_bytes()).await
    }
}
