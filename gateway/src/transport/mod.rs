//! The ways in to an endpoint: what a request has to pass is its [`door`]; what follows is a connection whose client speaks
//! over a WebSocket, listens to a stream of events or speaks Socket.IO, or the answer to a poll.

pub(crate) mod door;
pub(crate) mod events;
pub(crate) mod long_poll;
pub(crate) mod socketio;
pub(crate) mod websocket;
