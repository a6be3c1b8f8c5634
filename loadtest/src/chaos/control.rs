//! What clients and publishers are told to do, and what they tell of themselves.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

use proto::Position;
use tokio::sync::watch;

use super::history::{Client, Event, Millis, Publication, What};

/// How much is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Load {
    /// How long each publisher rests between two messages.
    pub(super) rest: Duration,
    /// How large the messages are, bytes.
    pub(super) size: usize,
}

impl Load {
    /// Enough that something is always under way.
    pub(super) const CALM: Self = Self { rest: Duration::from_millis(40), size: 100 };
    /// More than a slow reader's buffers hold.
    pub(super) const BURST: Self = Self { rest: Duration::from_millis(3), size: 16 << 10 };
}

/// What everybody is to do.
#[derive(Debug, Clone)]
pub(super) struct Orders {
    /// How much to publish; nothing more if absent.
    pub(super) load: Option<Load>,
    /// Clients whose number has this remainder modulo 3 read nothing.
    pub(super) paused: Option<usize>,
    /// Clients go home.
    pub(super) over: bool,
}

/// The run's clock and order book, shared by everybody in it.
#[derive(Debug, Clone)]
pub(super) struct Control {
    began: Instant,
    orders: watch::Sender<Orders>,
}

impl Control {
    /// Begins now, with a calm load.
    #[must_use]
    pub(super) fn start() -> Self {
        let orders = Orders { load: Some(Load::CALM), paused: None, over: false };
        Self { began: Instant::now(), orders: watch::Sender::new(orders) }
    }

    /// The time since the beginning.
    #[must_use]
    pub(super) fn now(&self) -> Millis {
        Millis::try_from(self.began.elapsed().as_millis()).unwrap_or(Millis::MAX)
    }

    /// Changes the orders.
    pub(super) fn order(&self, change: impl FnOnce(&mut Orders)) {
        self.orders.send_modify(change);
    }

    /// Listens to the orders.
    #[must_use]
    pub(super) fn orders(&self) -> watch::Receiver<Orders> {
        self.orders.subscribe()
    }
}

/// What one client writes down.
#[derive(Debug, Default)]
pub(super) struct Notes {
    /// What it saw.
    pub(super) client: Client,
    /// Where it stands in each room that it got into.
    pub(super) places: BTreeMap<String, Position>,
}

impl Notes {
    /// Writes down what was seen, and moves on with it.
    pub(super) fn saw(&mut self, at: Millis, what: What) {
        match &what {
            What::Joined { room, since: None, position, .. }
            | What::Message { room, position, .. }
            | What::Gap { room, position, .. } => _ = self.places.insert(room.clone(), *position),
            What::Joined { since: Some(_), .. } | What::Connected { .. } | What::Closed { .. } => {}
        }
        self.client.events.push(Event { at, what });
    }
}

/// Notes that the run reads while they are written.
pub(super) type SharedNotes = Rc<RefCell<Notes>>;

/// What the publishers write down.
pub(super) type Ledger = Rc<RefCell<Vec<Publication>>>;
