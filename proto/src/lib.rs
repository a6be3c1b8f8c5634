//! The pure part of Switchboard: names, channels, positions, publications, framings and the catalogues of
//! endings and errors.
//!
//! Nothing here awaits, opens a socket or reads a clock. This is the only crate that knows what a frame looks
//! like on the wire, and the only place where text from outside becomes a name that may reach a key of Redis.

#![forbid(unsafe_code)]

mod binary;
mod channel;
mod close;
mod cursor;
mod error;
mod message;
mod name;
mod options;
mod pattern;
mod position;
mod profile;
mod publication;

pub mod framing;
pub mod template;
pub mod vocabulary;

pub use binary::{BinaryPlaces, PlaceError};
pub use channel::{Channel, ChannelError, Kind};
pub use close::{Close, Retry};
pub use cursor::Cursor;
pub use error::ErrorCode;
pub use message::{
    About, Action, Command, GapReason, HistoryItem, Invalid, Outgoing, PresenceEntry, Request, RequestId,
    SessionInfo,
};
pub use name::{DeviceId, EventName, MessageId, NameError, NodeId, Room, SessionId, Tenant, UserId};
pub use options::{Access, ChannelOptions, ChannelRules, Durability};
pub use pattern::{Pattern, PatternError};
pub use position::{Epoch, Nonce, Position, PositionError, Step};
pub use profile::{Profile, ProfileError};
pub use publication::{Publication, PublicationError, Sender, Timestamp};
