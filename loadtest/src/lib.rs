//! Load scenarios with their floor.

pub mod checker;
pub mod frame;
pub mod payload;
