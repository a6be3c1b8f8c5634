//! Redis servers of every topology for tests, as plain processes on free ports.
//!
//! ```no_run
//! # use switchboard_testkit as testkit;
//! # async fn run() -> anyhow::Result<()> {
//! let mut redis = testkit::Standalone::start(testkit::Options::default()).await?;
//! redis.command(&["SET", "greeting", "hello"]).await?;
//! redis.kill().await?;
//! redis.restart().await?; // the same port and the same data
//! # Ok(()) }
//! ```
//!
//! Whatever was started is gone when its value is dropped, and also when the test process dies without dropping
//! anything. Every server listens on loopback only. Nothing here knows what the servers are tested for.

#![forbid(unsafe_code)]

mod cluster;
mod newer;
mod poll;
mod ports;
mod process;
mod proxy;
mod resp;
mod sentinel;
mod server;
mod tls;

pub use cluster::Cluster;
pub use newer::redis_8;
pub use poll::until;
pub use ports::Lease;
pub use proxy::Proxy;
pub use resp::Reply;
pub use sentinel::Sentinel;
pub use server::{Access, Options, Server};

/// A server on its own, which no other server knows.
pub type Standalone = Server;
