//! How frames look on the wire: text in, [`Request`](crate::Request) out; [`Outgoing`](crate::Outgoing) in, text out.
//!
//! A framing is a small pure module. It decodes a complete text message to a request or says what is wrong with it
//! ([`Invalid`](crate::Invalid), after which the connection stays open); it never keeps state between two messages.

pub mod engineio;
pub mod native;
pub mod socketio;
