//! Load scenarios with their floor.

#![forbid(unsafe_code)]

pub mod audience;
pub mod checker;
pub mod connection;
pub mod frame;
pub mod handshake;
pub mod http;
pub mod native;
pub mod payload;
pub mod publisher;
pub mod token;
