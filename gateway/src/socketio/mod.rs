//! Engine.IO and Socket.IO, for clients that speak them already.
//!
//! Two layers, each of use alone. A [`Server`] gives the sessions of a [`Service`] their messages, by polling or over a
//! WebSocket or by one and then the other: `server` finds the session of a request in the `table`, `driver` is the
//! session's task, `engine` decides, `link` is what others may do to it, `agenda` calls it in time. [`SocketIo`] is a
//! service that makes of messages the events of an [`App`]: `assembly` joins packets and their attachments, `app` knows
//! the namespaces.
//!
//! What a client is sent is built once, as frames of WebSocket, and shared; they are taken apart only for a client that
//! polls. Nothing is lost and nothing changes places when the transport changes.

mod agenda;
mod app;
mod appointment;
pub(crate) mod assembly;
mod config;
mod cors;
mod driver;
mod engine;
mod frames;
pub(crate) mod link;
pub(crate) mod neighbours;
mod polling;
mod query;
mod refusal;
mod server;
mod service;
mod socket;
mod table;
mod websocket;

pub use app::{App, Client, Handler, NotConnected, SocketIo};
pub use assembly::{Arguments, Event};
pub use config::Config;
pub use frames::Frames;
pub use link::{Link, Message, SendError};
pub use refusal::Refusal;
pub use server::Server;
pub use service::{Ended, Service, Session};
pub use socket::{Acknowledgement, EmitError, Socket, Unacknowledged, event};
