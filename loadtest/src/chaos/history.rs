//! What happened in a run, as it was seen from outside: by clients, by publishers, by whoever broke things.

use std::collections::BTreeMap;

use proto::Position;
use serde::Serialize;

/// Milliseconds since the run began.
pub type Millis = u64;

/// A run.
#[derive(Debug, Clone, Default, Serialize)]
pub struct History {
    /// Nothing was broken that could make Redis forget what it acknowledged.
    pub lossless: bool,
    /// What each client saw.
    pub clients: Vec<Client>,
    /// What was published.
    pub publications: Vec<Publication>,
    /// What the stream of each room holds at the end, oldest first.
    pub streams: BTreeMap<String, Vec<Entry>>,
    /// What was broken, and when.
    pub faults: Vec<Span>,
    /// What the processes took.
    pub samples: Vec<Sample>,
    /// When everything was whole again and nobody published any more.
    pub healed: Millis,
}

/// What one client saw.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Client {
    /// Its name.
    pub name: String,
    /// The rooms that its token lists.
    pub rooms: Vec<String>,
    /// In the order in which it saw them.
    pub events: Vec<Event>,
}

/// Something that a client saw.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// When.
    pub at: Millis,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// The sorts of things that a client sees.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// A gateway accepted its token.
    Connected {
        /// Which gateway.
        gateway: usize,
    },
    /// It is in a room.
    Joined {
        /// The room.
        room: String,
        /// The place that it brought.
        since: Option<Position>,
        /// The place from which it is fed.
        position: Position,
        /// Whether it is said to miss nothing.
        recovered: bool,
    },
    /// A publication was delivered.
    Message {
        /// The room of the delivery.
        room: String,
        /// The room that the publication was made for, from its content.
        meant_for: String,
        /// Its place.
        position: Position,
        /// Its publisher's id.
        id: String,
    },
    /// It was told that it misses something.
    Gap {
        /// The room.
        room: String,
        /// Why.
        reason: Reason,
        /// Where delivery goes on.
        position: Position,
    },
    /// The connection ended.
    Closed {
        /// The close code; absent if the server said nothing.
        code: Option<u16>,
    },
}

/// Why something is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The history no longer reaches back that far.
    Trimmed,
    /// The stream began anew.
    Reset,
    /// The stream holds other publications than were delivered.
    Fork,
}

/// A message that somebody tried to publish until it was acknowledged, or for too long.
#[derive(Debug, Clone, Serialize)]
pub struct Publication {
    /// Unique in the run; every attempt carries it.
    pub id: String,
    /// The room.
    pub room: String,
    /// When the first attempt was made.
    pub begun: Millis,
    /// When it was acknowledged or given up.
    pub ended: Millis,
    /// How often it was tried.
    pub attempts: u32,
    /// The place that was acknowledged; absent when it was given up: then nobody knows whether it is in.
    pub acknowledged: Option<Position>,
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its place.
    pub position: Position,
    /// Its publisher's id.
    pub id: String,
}

/// Something that was broken for a while.
#[derive(Debug, Clone, Serialize)]
pub struct Span {
    /// Which fault, and what it hit.
    pub fault: String,
    /// When it began.
    pub begun: Millis,
    /// When it was mended.
    pub ended: Millis,
}

/// What a process took at one moment.
#[derive(Debug, Clone, Serialize)]
pub struct Sample {
    /// Which process.
    pub process: String,
    /// When.
    pub at: Millis,
    /// Resident memory, bytes.
    pub resident: u64,
    /// Open files.
    pub files: u64,
}
