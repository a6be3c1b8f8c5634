//! The broker that joins the nodes of a cluster through Redis.

mod config;
pub mod link;

pub use config::{Address, ConfigError, Credentials, RedisConfig, Topology};
