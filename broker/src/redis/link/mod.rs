//! The subscription link: the connections on which Redis pushes published messages.
//!
//! Client libraries drop confirmations, lose subscriptions when slots move, or queue without bound between the socket and
//! the application. This link does one thing, and says so whenever it cannot.

#[cfg_attr(not(test), expect(dead_code, reason = "the connections that use it come next"))]
mod interest;
pub mod resp;
mod slot;
