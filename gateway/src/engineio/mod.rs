//! Engine.IO, for clients that speak it already: messages by polling, over a WebSocket, or by one and then the other.
//!
//! A [`Server`] gives the sessions of a [`Service`] their messages: `server` finds the session of a request in the `table`,
//! `driver` is the session's task, `engine` decides, `link` is what others may do to it, `agenda` calls it in time. What is
//! said in messages is for the service to know.
//!
//! What a client is sent is built once, as frames of WebSocket, and shared; they are taken apart only for a client that
//! polls. Nothing is lost and nothing changes places when the transport changes.

mod agenda;
mod appointment;
mod config;
mod cors;
mod driver;
mod engine;
mod frames;
mod link;
pub(crate) mod neighbours;
mod polling;
mod query;
mod refusal;
mod server;
mod service;
mod table;
mod websocket;

pub use config::Config;
pub use frames::Frames;
pub use link::{Link, Message, SendError};
pub use refusal::Refusal;
pub use server::Server;
pub use service::{Ended, Service, Session};
