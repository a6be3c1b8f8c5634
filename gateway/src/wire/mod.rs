//! Bytes to and from one client, whoever it is: WebSockets (RFC 6455) from their handshake on, event streams, and the queue
//! of what waits to be written.

pub(crate) mod event_stream;
pub(crate) mod outbound;
pub(crate) mod ws_frame;
pub(crate) mod ws_handshake;
mod ws_place;
pub(crate) mod ws_reader;
