//! Engine.IO and Socket.IO over real sockets.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod app;
mod client;
mod http;
mod probes;
mod requests;
