//! Load scenarios with their floor, and faults with their proof.

#![forbid(unsafe_code)]

pub mod audience;
pub mod chaos;
pub mod checker;
pub mod connection;
pub mod floor;
pub mod frame;
pub mod framing;
pub mod handshake;
pub mod http;
pub mod ledger;
pub mod measurement;
pub mod monitor;
pub mod native;
pub mod payload;
pub mod process;
pub mod publisher;
pub mod recovery;
pub mod report;
pub mod returning;
pub mod run;
pub mod scenario;
pub mod server;
pub mod socketio;
pub mod target;
pub mod token;
