//! Bytes to and from one client, whoever it is: the queue of what waits for it and the writing of that, and the two formats
//! that leave this node as bytes, WebSocket frames (RFC 6455) and event streams.

pub(crate) mod event_stream;
pub(crate) mod outbound;
pub(crate) mod ws_frame;
mod ws_place;
pub(crate) mod ws_reader;
