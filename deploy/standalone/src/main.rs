//! Gateway, fanout and broker in one process.
fn main() {}
