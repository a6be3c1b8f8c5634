//! Breaks a cluster while it works, and proves what it promised.

pub mod checker;
pub mod history;
