//! Breaks a cluster while it works, and proves what it promised.
//!
//! ```text
//! run ── world      Redis, gateways and fanouts as processes       ── node
//!   ├─── client     remembers its places and brings them           ── control  what all are told to do, and what
//!   ├─── publisher  repeats under one id until acknowledged            they write down
//!   ├─── nemesis    breaks and mends, in the order of a fault plan (a value that follows from a seed)
//!   └─── outcome    the verdict of the checker (pure), with figures and a timeline
//! ```

mod auditor;
pub mod checker;
mod client;
mod control;
pub mod fault;
pub mod history;
mod nemesis;
pub(crate) mod node;
pub mod outcome;
mod publisher;
mod run;
pub mod timeline;
pub(crate) mod world;

pub use run::{ChaosOptions, run};
