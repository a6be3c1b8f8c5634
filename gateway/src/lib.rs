//! The node that holds client connections.

#![forbid(unsafe_code)]

pub mod follower;
