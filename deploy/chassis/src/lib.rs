//! What every Switchboard process is built on: options, logs, listener, operations endpoints, tokens

#![forbid(unsafe_code)]

pub mod auth;
pub mod lifecycle;
pub mod listener;
pub mod log;
pub mod ops;
pub mod options;
pub mod problem;
pub mod process;
