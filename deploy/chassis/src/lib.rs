//! What every Switchboard process is built on: options, logs, listener, operations endpoints, tokens

#![forbid(unsafe_code)]

pub mod auth;
pub mod listener;
pub mod options;
pub mod problem;
