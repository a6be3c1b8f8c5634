//! The subscription link: the connections on which Redis pushes published messages.
//!
//! Client libraries drop confirmations, lose subscriptions when slots move, or queue without bound between the socket and
//! the application. This link does one thing, and says so whenever it cannot.

pub mod resp;
